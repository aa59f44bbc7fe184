// Adds up partial sums: the second step of every gradient that gathers from a whole batch.
//
// Shapes: partials (rows, columns), out (columns), both F32. Rows are added in order.
// Launch: ceil(columns / 256) blocks of 256 threads.
#include "common.cuh"

extern "C" __global__ void sum_rows(const float* __restrict__ partials, float* __restrict__ out,
                                    int rows, long long columns) {
    long long column = thread_index();
    if (column >= columns) {
        return;
    }
    float total = 0.0f;
    for (int row = 0; row < rows; row++) {
        total += partials[row * columns + column];
    }
    out[column] = total;
}
