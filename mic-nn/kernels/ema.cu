// The teacher's exponential moving average (MIC, section 3.2) over all weights in one launch:
// teacher <- momentum teacher + (1 - momentum) student.
//
// Shapes: teacher, student: pointers to the tensors (tensors), F32. Launch: all blocks of the list,
// 256 threads each.
#include "tensor_list.cuh"

extern "C" __global__ void ema(TensorList list, float* const* __restrict__ teacher,
                               const float* const* __restrict__ student, float momentum,
                               float rest) {
    Piece piece = piece_of(list, blockIdx.x);
    float* t = teacher[piece.tensor];
    const float* s = student[piece.tensor];
    for (long long i = piece.first + threadIdx.x; i < piece.end; i += THREADS) {
        t[i] = momentum * t[i] + rest * s[i];
    }
}
