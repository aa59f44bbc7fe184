// Rectified linear unit: y = max(x, 0), NaN stays NaN; the gradient at 0 is 0.
//
// Shapes: n elements each. Launch: ceil(n / 256) blocks of 256 threads.
#include "common.cuh"

extern "C" __global__ void relu_forward(const storage* __restrict__ x, storage* __restrict__ y,
                                        long long n) {
    long long i = thread_index();
    if (i < n) {
        put(y + i, positive(to_float(x[i])));
    }
}

// From the result: dx = g where y > 0.
extern "C" __global__ void relu_backward(const storage* __restrict__ y,
                                         const storage* __restrict__ g, storage* __restrict__ dx,
                                         long long n) {
    long long i = thread_index();
    if (i < n) {
        put(dx + i, to_float(y[i]) > 0.0f ? to_float(g[i]) : 0.0f);
    }
}
