// Depthwise convolution of channels-last images, the layout of transformer tokens:
// y[b, o, p, c] = bias[c] + sum over i, j of x[b, o s - pad + i d, p s - pad + j d, c] w[c, i, j].
//
// Shapes: x, dx (batch, h, w, c); y, g (batch, oh, ow, c); weight (c, kh, kw) and bias (c), F32.
// Channels are contiguous, so that the threads of a warp read neighbours. The input gradient
// gathers from the results that an element has been used in: no atomics, deterministic.
#include "common.cuh"

// Sizes of a convolution; strides, paddings and dilations of rows and columns.
struct Window {
    int h, w, c, oh, ow, kh, kw;
    int stride_y, stride_x, pad_y, pad_x, dilation_y, dilation_x;
};

// Launch: ceil(batch * oh * ow * c / 256) blocks of 256 threads. `bias` may be null.
extern "C" __global__ void depthwise_forward(const storage* __restrict__ x,
                                             const float* __restrict__ weight,
                                             const float* __restrict__ bias, long long count,
                                             Window k, storage* __restrict__ y) {
    long long index = thread_index();
    if (index >= count) {
        return;
    }
    int c = static_cast<int>(index % k.c);
    long long position = index / k.c;
    int ox = static_cast<int>(position % k.ow);
    int oy = static_cast<int>(position / k.ow % k.oh);
    x += position / k.ow / k.oh * k.h * k.w * k.c + c;
    weight += static_cast<long long>(c) * k.kh * k.kw;
    float sum = bias ? bias[c] : 0.0f;
    for (int i = 0; i < k.kh; i++) {
        int sy = oy * k.stride_y - k.pad_y + i * k.dilation_y;
        if (sy < 0 || sy >= k.h) {
            continue;
        }
        for (int j = 0; j < k.kw; j++) {
            int sx = ox * k.stride_x - k.pad_x + j * k.dilation_x;
            if (sx >= 0 && sx < k.w) {
                long long at = (static_cast<long long>(sy) * k.w + sx) * k.c;
                sum = fmaf(to_float(x[at]), weight[i * k.kw + j], sum);
            }
        }
    }
    put(y + index, sum);
}

// The result along one axis that tap `tap` links to input `at`, or -1.
__device__ inline int linked(int at, int tap, int pad, int stride, int dilation, int outputs) {
    int shifted = at + pad - tap * dilation;
    if (shifted < 0 || shifted % stride != 0 || shifted / stride >= outputs) {
        return -1;
    }
    return shifted / stride;
}

// Launch: ceil(batch * h * w * c / 256) blocks of 256 threads.
extern "C" __global__ void depthwise_backward_input(const storage* __restrict__ g,
                                                    const float* __restrict__ weight,
                                                    long long count, Window k,
                                                    storage* __restrict__ dx) {
    long long index = thread_index();
    if (index >= count) {
        return;
    }
    int c = static_cast<int>(index % k.c);
    long long position = index / k.c;
    int sx = static_cast<int>(position % k.w);
    int sy = static_cast<int>(position / k.w % k.h);
    g += position / k.w / k.h * k.oh * k.ow * k.c + c;
    weight += static_cast<long long>(c) * k.kh * k.kw;
    float sum = 0.0f;
    for (int i = 0; i < k.kh; i++) {
        int oy = linked(sy, i, k.pad_y, k.stride_y, k.dilation_y, k.oh);
        if (oy < 0) {
            continue;
        }
        for (int j = 0; j < k.kw; j++) {
            int ox = linked(sx, j, k.pad_x, k.stride_x, k.dilation_x, k.ow);
            if (ox >= 0) {
                long long at = (static_cast<long long>(oy) * k.ow + ox) * k.c;
                sum = fmaf(to_float(g[at]), weight[i * k.kw + j], sum);
            }
        }
    }
    put(dx + index, sum);
}

// Partial sums (sets, kh * kw + 1, c) of the gradients of the kernels, tap by tap, and of the bias
// in the last row, to be added up by sum_rows. A block sums one tap of 32 channels over the results
// from set * per_set on. Launch: (ceil(c / 32), sets, kh * kw + 1) blocks of (32, 8) threads.
extern "C" __global__ void depthwise_backward_parameters(const storage* __restrict__ x,
                                                         const storage* __restrict__ g,
                                                         long long results, long long per_set,
                                                         Window k, float* __restrict__ partials) {
    __shared__ float sums[8][WARP];
    int c = blockIdx.x * WARP + threadIdx.x;
    int tap = blockIdx.z, taps = k.kh * k.kw;
    int i = tap / k.kw, j = tap % k.kw;
    long long first = blockIdx.y * per_set;
    long long end = first + per_set < results ? first + per_set : results;
    float sum = 0.0f;
    if (c < k.c) {
        for (long long position = first + threadIdx.y; position < end; position += 8) {
            float gradient = to_float(g[position * k.c + c]);
            if (tap == taps) {
                sum += gradient;
                continue;
            }
            int ox = static_cast<int>(position % k.ow);
            int oy = static_cast<int>(position / k.ow % k.oh);
            int sy = oy * k.stride_y - k.pad_y + i * k.dilation_y;
            int sx = ox * k.stride_x - k.pad_x + j * k.dilation_x;
            if (sy >= 0 && sy < k.h && sx >= 0 && sx < k.w) {
                long long row = position / k.ow / k.oh * k.h + sy;
                sum = fmaf(gradient, to_float(x[(row * k.w + sx) * k.c + c]), sum);
            }
        }
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && c < k.c) {
        for (int y = 1; y < 8; y++) {
            sum += sums[y][threadIdx.x];
        }
        partials[(static_cast<long long>(blockIdx.y) * (taps + 1) + tap) * k.c + c] = sum;
    }
}

// The kernels' gradient (c, taps) from sums (taps, c).
// Launch: ceil(c * taps / 256) blocks of 256 threads.
extern "C" __global__ void depthwise_turn(const float* __restrict__ sums, int c, int taps,
                                          float* __restrict__ dweight) {
    long long index = thread_index();
    if (index < static_cast<long long>(c) * taps) {
        dweight[index] = sums[index % taps * c + index / taps];
    }
}
