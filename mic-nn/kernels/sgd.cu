// Stochastic gradient descent with momentum (Sutskever et al., 2013, in PyTorch's form) over all
// parameters in one launch: g <- g + decay p;  u <- momentum u + g;  p <- p - lr u, or with
// Nesterov's momentum p <- p - lr (g + momentum u).
//
// Shapes: params, memory (u), grads: pointers to the tensors (tensors), F32, `memory` is null
// without momentum; factors (tensors, 2): lr, decay. Launch: all blocks of the list, 256 threads each.
#include "tensor_list.cuh"

extern "C" __global__ void sgd(TensorList list, float* const* __restrict__ params,
                               float* const* __restrict__ memory,
                               const float* const* __restrict__ grads,
                               const float* __restrict__ factors, float momentum, int nesterov) {
    Piece piece = piece_of(list, blockIdx.x);
    float* p = params[piece.tensor];
    float* u = memory ? memory[piece.tensor] : nullptr;
    const float* g = grads[piece.tensor];
    float lr = factors[2 * piece.tensor], decay = factors[2 * piece.tensor + 1];
    for (long long i = piece.first + threadIdx.x; i < piece.end; i += THREADS) {
        float gradient = g[i] + decay * p[i];
        float direction = gradient;
        if (u) {
            // A zero buffer takes up the first gradient as it is.
            float buffer = momentum * u[i] + gradient;
            u[i] = buffer;
            direction = nesterov ? gradient + momentum * buffer : buffer;
        }
        p[i] -= lr * direction;
    }
}
