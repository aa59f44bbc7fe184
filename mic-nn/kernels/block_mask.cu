// Block masks (MIC, section 3.2): a block is visible iff its draw is greater than the ratio; hidden
// pixels are 0 in all channels.
//
// Shapes: x, y (batch, channels, h, w), which may be the same; draws (batch, rows, columns) F32.
// The block of pixel i is floor(i * (blocks / pixels)) with an F32 quotient, as on the CPU.
// Launch: (batch * channels, ceil(h * w / 256)) blocks of 256 threads.
#include "common.cuh"

__device__ inline int block_of(int pixel, int blocks, int pixels) {
    float scale = __fdiv_rn(blocks, pixels);
    return smaller(static_cast<int>(__fmul_rn(pixel, scale)), blocks - 1);
}

extern "C" __global__ void block_mask(const storage* x, const float* __restrict__ draws,
                                      float ratio, int channels, int h, int w, int rows,
                                      int columns, storage* y) {
    int pixel = blockIdx.y * THREADS + threadIdx.x;
    if (pixel >= h * w) {
        return;
    }
    long long image = blockIdx.x / channels;
    int row = block_of(pixel / w, rows, h), column = block_of(pixel % w, columns, w);
    long long at = static_cast<long long>(blockIdx.x) * h * w + pixel;
    float draw = draws[(image * rows + row) * columns + column];
    put(y + at, draw > ratio ? to_float(x[at]) : 0.0f);
}
