// Gaussian error linear unit, the exact form: y = x P(X <= x) for a standard normal X
// (Hendrycks and Gimpel, 2016).
//
// Shapes: n elements each. Launch: ceil(n / 256) blocks of 256 threads.
#include "common.cuh"

// P(X <= x). The complementary error function keeps the small half accurate.
__device__ inline float below(float x) { return 0.5f * erfcf(-0.70710678f * x); }

extern "C" __global__ void gelu_forward(const storage* __restrict__ x, storage* __restrict__ y,
                                        long long n) {
    long long i = thread_index();
    if (i < n) {
        float value = to_float(x[i]);
        put(y + i, value * below(value));
    }
}

// dx = g (P(X <= x) + x p(x)) with the density p.
extern "C" __global__ void gelu_backward(const storage* __restrict__ x,
                                         const storage* __restrict__ g, storage* __restrict__ dx,
                                         long long n) {
    long long i = thread_index();
    if (i < n) {
        float value = to_float(x[i]);
        float density = 0.39894228f * expf(-0.5f * value * value);
        put(dx + i, to_float(g[i]) * (below(value) + value * density));
    }
}
