// Maximum over windows of (B, C, H, W) images. NaN counts as largest; of equal values the first.
//
// Shapes: x, dx (planes, h, w); y, g and the chosen places, pixels of the plane (planes, oh, ow).
// Launch: (planes, ceil(oh * ow / 256)) blocks of 256 threads, backward (planes, ceil(h * w / 256)).
// The gradient gathers from the windows over an element: no atomics, deterministic.
#include "common.cuh"

struct Pool {
    int h, w, oh, ow, kernel_y, kernel_x, stride_y, stride_x, pad_y, pad_x;
};

extern "C" __global__ void max_pool_forward(const storage* __restrict__ x, Pool p,
                                            storage* __restrict__ y, int* __restrict__ chosen) {
    int pixel = blockIdx.y * THREADS + threadIdx.x;
    if (pixel >= p.oh * p.ow) {
        return;
    }
    long long plane = blockIdx.x;
    x += plane * p.h * p.w;
    int top = pixel / p.ow * p.stride_y - p.pad_y, left = pixel % p.ow * p.stride_x - p.pad_x;
    int bottom = smaller(top + p.kernel_y, p.h), right = smaller(left + p.kernel_x, p.w);
    float best = -infinity();
    int place = larger(top, 0) * p.w + larger(left, 0);
    for (int sy = larger(top, 0); sy < bottom; sy++) {
        for (int sx = larger(left, 0); sx < right; sx++) {
            float value = to_float(x[sy * p.w + sx]);
            if (value > best || value != value) {
                best = value;
                place = sy * p.w + sx;
            }
        }
    }
    put(y + plane * p.oh * p.ow + pixel, best);
    chosen[plane * p.oh * p.ow + pixel] = place;
}

extern "C" __global__ void max_pool_backward(const storage* __restrict__ g,
                                             const int* __restrict__ chosen, Pool p,
                                             storage* __restrict__ dx) {
    int pixel = blockIdx.y * THREADS + threadIdx.x;
    if (pixel >= p.h * p.w) {
        return;
    }
    long long plane = blockIdx.x;
    g += plane * p.oh * p.ow;
    chosen += plane * p.oh * p.ow;
    int sy = pixel / p.w + p.pad_y, sx = pixel % p.w + p.pad_x;
    int top = sy < p.kernel_y ? 0 : (sy - p.kernel_y) / p.stride_y + 1;
    int left = sx < p.kernel_x ? 0 : (sx - p.kernel_x) / p.stride_x + 1;
    float sum = 0.0f;
    for (int oy = top; oy <= smaller(sy / p.stride_y, p.oh - 1); oy++) {
        for (int ox = left; ox <= smaller(sx / p.stride_x, p.ow - 1); ox++) {
            if (chosen[oy * p.ow + ox] == pixel) {
                sum += to_float(g[oy * p.ow + ox]);
            }
        }
    }
    put(dx + plane * p.h * p.w + pixel, sum);
}
