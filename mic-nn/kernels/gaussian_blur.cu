// Separable Gaussian blur with reflected borders (the border pixel is not repeated): rows, then
// columns, with a symmetric kernel.
//
// Shapes: x, y (planes, h, w), different tensors; taps (radius + 1), F32, from the centre outwards;
// radius < the side that is blurred. Launch: (planes, ceil(h * w / 256)) blocks of 256 threads.
#include "common.cuh"

__device__ inline int reflect(int index, int size) {
    index = index < 0 ? -index : index;
    return index > size - 1 ? 2 * (size - 1) - index : index;
}

extern "C" __global__ void gaussian_blur_rows(const storage* __restrict__ x,
                                              const float* __restrict__ taps, int radius, int h,
                                              int w, storage* __restrict__ y) {
    int pixel = blockIdx.y * THREADS + threadIdx.x;
    if (pixel >= h * w) {
        return;
    }
    long long plane = static_cast<long long>(blockIdx.x) * h * w;
    int column = pixel % w;
    const storage* row = x + plane + (pixel - column);
    float sum = taps[0] * to_float(row[column]);
    for (int d = 1; d <= radius; d++) {
        float left = to_float(row[reflect(column - d, w)]);
        sum = fmaf(taps[d], left + to_float(row[reflect(column + d, w)]), sum);
    }
    put(y + plane + pixel, sum);
}

extern "C" __global__ void gaussian_blur_columns(const storage* __restrict__ x,
                                                 const float* __restrict__ taps, int radius, int h,
                                                 int w, storage* __restrict__ y) {
    int pixel = blockIdx.y * THREADS + threadIdx.x;
    if (pixel >= h * w) {
        return;
    }
    long long plane = static_cast<long long>(blockIdx.x) * h * w;
    int row = pixel / w;
    const storage* column = x + plane + pixel % w;
    float sum = taps[0] * to_float(column[row * w]);
    for (int d = 1; d <= radius; d++) {
        float above = to_float(column[reflect(row - d, h) * w]);
        sum = fmaf(taps[d], above + to_float(column[reflect(row + d, h) * w]), sum);
    }
    put(y + plane + pixel, sum);
}
