// Means over windows of (B, C, H, W) images: windows of one size at equal steps, windows that cover
// the image (adaptive pooling), and whole planes.
//
// Shapes: x, dx (planes, h, w); y, g (planes, oh, ow).
// Launch: (planes, ceil(oh * ow / 256)) blocks of 256 threads, backward (planes, ceil(h * w / 256)).
// The gradient gathers from the windows over an element: no atomics, deterministic.
#include "common.cuh"

// Windows along one direction. Of kernel 0: window i is from floor(i size / outputs) up to, not
// including, ceil((i + 1) size / outputs), PyTorch's adaptive pooling.
struct Windows {
    int size, outputs, kernel, stride, padding;
    // Whether the padding counts in the divisor.
    int padded;
};

__device__ inline int first_of(Windows a, int output) {
    if (a.kernel == 0) {
        return static_cast<int>(static_cast<long long>(output) * a.size / a.outputs);
    }
    return larger(output * a.stride - a.padding, 0);
}

__device__ inline int end_of(Windows a, int output) {
    if (a.kernel == 0) {
        long long past = static_cast<long long>(output + 1) * a.size;
        return static_cast<int>((past + a.outputs - 1) / a.outputs);
    }
    return smaller(output * a.stride - a.padding + a.kernel, a.size);
}

__device__ inline float divisor_of(Windows a, int output) {
    return a.kernel != 0 && a.padded ? a.kernel : end_of(a, output) - first_of(a, output);
}

// The outputs whose windows hold `element`: from `*first` to `*last`.
__device__ inline void holders(Windows a, int element, int* first, int* last) {
    if (a.kernel == 0) {
        *first = static_cast<int>(static_cast<long long>(element) * a.outputs / a.size);
        *last = static_cast<int>((static_cast<long long>(element + 1) * a.outputs - 1) / a.size);
    } else {
        int padded = element + a.padding;
        *first = padded < a.kernel ? 0 : (padded - a.kernel) / a.stride + 1;
        *last = smaller(padded / a.stride, a.outputs - 1);
    }
}

extern "C" __global__ void avg_pool_forward(const storage* __restrict__ x, Windows rows,
                                            Windows columns, storage* __restrict__ y) {
    int pixel = blockIdx.y * THREADS + threadIdx.x;
    if (pixel >= rows.outputs * columns.outputs) {
        return;
    }
    long long plane = blockIdx.x;
    x += plane * rows.size * columns.size;
    int oy = pixel / columns.outputs, ox = pixel % columns.outputs;
    float sum = 0.0f;
    for (int sy = first_of(rows, oy); sy < end_of(rows, oy); sy++) {
        for (int sx = first_of(columns, ox); sx < end_of(columns, ox); sx++) {
            sum += to_float(x[sy * columns.size + sx]);
        }
    }
    put(y + plane * rows.outputs * columns.outputs + pixel,
        sum / (divisor_of(rows, oy) * divisor_of(columns, ox)));
}

extern "C" __global__ void avg_pool_backward(const storage* __restrict__ g, Windows rows,
                                             Windows columns, storage* __restrict__ dx) {
    int pixel = blockIdx.y * THREADS + threadIdx.x;
    if (pixel >= rows.size * columns.size) {
        return;
    }
    long long plane = blockIdx.x;
    g += plane * rows.outputs * columns.outputs;
    int top, bottom, left, right;
    holders(rows, pixel / columns.size, &top, &bottom);
    holders(columns, pixel % columns.size, &left, &right);
    float sum = 0.0f;
    for (int oy = top; oy <= bottom; oy++) {
        for (int ox = left; ox <= right; ox++) {
            float divisor = divisor_of(rows, oy) * divisor_of(columns, ox);
            sum += to_float(g[oy * columns.outputs + ox]) / divisor;
        }
    }
    put(dx + plane * rows.size * columns.size + pixel, sum);
}

// The mean of every plane: y (planes). Launch: `planes` blocks of 256 threads.
extern "C" __global__ void global_avg_pool_forward(const storage* __restrict__ x, int pixels,
                                                   storage* __restrict__ y) {
    x += static_cast<long long>(blockIdx.x) * pixels;
    float sum = 0.0f;
    for (int i = threadIdx.x; i < pixels; i += THREADS) {
        sum += to_float(x[i]);
    }
    sum = block_sum<THREADS>(sum);
    if (threadIdx.x == 0) {
        put(y + blockIdx.x, sum / pixels);
    }
}

// Launch: (planes, ceil(pixels / 256)) blocks of 256 threads.
extern "C" __global__ void global_avg_pool_backward(const storage* __restrict__ g, int pixels,
                                                    storage* __restrict__ dx) {
    int pixel = blockIdx.y * THREADS + threadIdx.x;
    if (pixel < pixels) {
        put(dx + static_cast<long long>(blockIdx.x) * pixels + pixel,
            to_float(g[blockIdx.x]) / pixels);
    }
}
