// Sharpness-aware minimisation (Foret et al., 2021), over all parameters in few launches and without
// a look at the norm on the host: p <- p + rho g / (||g|| + 1e-12), adaptive
// p <- p + rho p^2 g / (|| |p| g || + 1e-12); and back.
//
// Shapes: params, saved, grads: pointers to the tensors (tensors), F32; the norm is one F64.
// Launch: all blocks of the list, 256 threads each. Deterministic: the blocks' sums are added up in
// order.
#include "tensor_list.cuh"

// The blocks' sums of squares (blocks), F64.
extern "C" __global__ void sam_squares(TensorList list, const float* const* __restrict__ params,
                                       const float* const* __restrict__ grads, int adaptive,
                                       double* __restrict__ partials) {
    __shared__ double sums[THREADS];
    Piece piece = piece_of(list, blockIdx.x);
    const float* p = params[piece.tensor];
    const float* g = grads[piece.tensor];
    double sum = 0.0;
    for (long long i = piece.first + threadIdx.x; i < piece.end; i += THREADS) {
        double value = g[i];
        if (adaptive) {
            value *= p[i];
        }
        sum += value * value;
    }
    sums[threadIdx.x] = sum;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (static_cast<int>(threadIdx.x) < half) {
            sums[threadIdx.x] += sums[threadIdx.x + half];
        }
    }
    if (threadIdx.x == 0) {
        partials[blockIdx.x] = sums[0];
    }
}

// The norm from the blocks' sums. Launch: one block of 256 threads.
extern "C" __global__ void sam_norm(const double* __restrict__ partials, int blocks,
                                    double* __restrict__ norm) {
    double sum = sum_of_blocks(partials, blocks);
    if (threadIdx.x == 0) {
        *norm = sqrt(sum);
    }
}

// Saves the parameters and moves them. A norm that is not finite moves nothing: the host, which
// reads it later, finds the parameters as they were.
extern "C" __global__ void sam_ascend(TensorList list, float* const* __restrict__ params,
                                      float* const* __restrict__ saved,
                                      const float* const* __restrict__ grads,
                                      const double* __restrict__ norm, double rho, int adaptive) {
    Piece piece = piece_of(list, blockIdx.x);
    float* p = params[piece.tensor];
    float* kept = saved[piece.tensor];
    const float* g = grads[piece.tensor];
    // Not finite: the difference is NaN.
    bool finite = *norm - *norm == 0.0;
    float scale = static_cast<float>(rho / (*norm + 1e-12));
    for (long long i = piece.first + threadIdx.x; i < piece.end; i += THREADS) {
        float value = p[i];
        kept[i] = value;
        if (finite) {
            p[i] = value + (adaptive ? value * value * g[i] * scale : g[i] * scale);
        }
    }
}

// Puts the parameters back, to the bit.
extern "C" __global__ void sam_restore(TensorList list, float* const* __restrict__ params,
                                       const float* const* __restrict__ saved) {
    Piece piece = piece_of(list, blockIdx.x);
    float* p = params[piece.tensor];
    const float* kept = saved[piece.tensor];
    for (long long i = piece.first + threadIdx.x; i < piece.end; i += THREADS) {
        p[i] = kept[i];
    }
}
