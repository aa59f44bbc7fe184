// Softmax over one dimension of a tensor: y = exp(x - max) / sum of exp(x - max).
//
// Shapes: all (outer, n, inner), softmax over n. A thread has one row, whose elements are `inner`
// apart: neighbouring threads read neighbours, which suits class maps (B, C, H W).
// Launch: ceil(outer * inner / 256) blocks of 256 threads.
#include "common.cuh"

extern "C" __global__ void softmax_forward(const storage* __restrict__ x, long long rows, int n,
                                           long long inner, storage* __restrict__ y) {
    long long row = thread_index();
    if (row >= rows) {
        return;
    }
    long long at = row / inner * n * inner + row % inner;
    float largest = -infinity();
    for (int i = 0; i < n; i++) {
        largest = fmaxf(largest, to_float(x[at + i * inner]));
    }
    float total = 0.0f;
    for (int i = 0; i < n; i++) {
        total += expf(to_float(x[at + i * inner]) - largest);
    }
    for (int i = 0; i < n; i++) {
        put(y + at + i * inner, expf(to_float(x[at + i * inner]) - largest) / total);
    }
}

// dx = y (g - sum of y g).
extern "C" __global__ void softmax_backward(const storage* __restrict__ y,
                                            const storage* __restrict__ g, long long rows, int n,
                                            long long inner, storage* __restrict__ dx) {
    long long row = thread_index();
    if (row >= rows) {
        return;
    }
    long long at = row / inner * n * inner + row % inner;
    float along = 0.0f;
    for (int i = 0; i < n; i++) {
        along = fmaf(to_float(y[at + i * inner]), to_float(g[at + i * inner]), along);
    }
    for (int i = 0; i < n; i++) {
        long long element = at + i * inner;
        put(dx + element, to_float(y[element]) * (to_float(g[element]) - along));
    }
}
