// AdamW (Loshchilov and Hutter, 2019) over all parameters in one launch, with PyTorch's arithmetic:
// m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;  p <- keep p - step m / (sqrt(v) root + eps),
// keep = 1 - lr decay, step = lr / (1 - b1^k), root = 1 / sqrt(1 - b2^k), computed on the host.
//
// Shapes: params, grads: pointers to the tensors (tensors), F32; memory: pointers to (2, elements),
// m and v; factors (tensors, 3): keep, step, root. Launch: all blocks of the list, 256 threads each.
#include "tensor_list.cuh"

struct Adam {
    float beta1, rest1, beta2, rest2, eps;
};

extern "C" __global__ void adamw(TensorList list, float* const* __restrict__ params,
                                 float* const* __restrict__ memory,
                                 const float* const* __restrict__ grads,
                                 const float* __restrict__ factors, Adam a) {
    Piece piece = piece_of(list, blockIdx.x);
    float* p = params[piece.tensor];
    float* m = memory[piece.tensor];
    float* v = m + list.counts[piece.tensor];
    const float* g = grads[piece.tensor];
    const float* factor = factors + 3 * piece.tensor;
    for (long long i = piece.first + threadIdx.x; i < piece.end; i += THREADS) {
        float gradient = g[i];
        float first = a.beta1 * m[i] + a.rest1 * gradient;
        float second = a.beta2 * v[i] + a.rest2 * gradient * gradient;
        m[i] = first;
        v[i] = second;
        p[i] = factor[0] * p[i] - factor[1] * first / (sqrtf(second) * factor[2] + a.eps);
    }
}
