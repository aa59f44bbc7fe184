// Resizing of (B, C, H, W) images: bilinear, with and without align_corners, and nearest.
// Source positions as in PyTorch: o (in - 1) / (out - 1) with align_corners, else
// max((o + 1/2) in / out - 1/2, 0); nearest takes floor(o in / out).
//
// Shapes: x, dx (planes, h, w); y, g (planes, oh, ow), planes = B C. Launch: (planes,
// ceil(oh * ow / 256)) blocks of 256 threads, backward (planes, ceil(h * w / 256)).
// The gradient gathers from the results that an element has been used in: no atomics,
// deterministic.
#include "common.cuh"

// One direction.
struct Axis {
    int input, output;
    // Input pixels for an output pixel.
    float step;
    int align_corners;
};

struct Tap {
    int first, second;
    // Of the second.
    float weight;
};

// Without contraction of products and sums: positions are rounded as on the CPU.
__device__ inline Tap tap_of(Axis axis, int output) {
    float source = axis.align_corners
                       ? __fmul_rn(output, axis.step)
                       : fmaxf(__fsub_rn(__fmul_rn(output + 0.5f, axis.step), 0.5f), 0.0f);
    int first = smaller(static_cast<int>(source), axis.input - 1);
    return Tap{first, smaller(first + 1, axis.input - 1), fminf(source - first, 1.0f)};
}

extern "C" __global__ void resize_bilinear_forward(const storage* __restrict__ x, Axis rows,
                                                   Axis columns, storage* __restrict__ y) {
    int pixel = blockIdx.y * THREADS + threadIdx.x;
    if (pixel >= rows.output * columns.output) {
        return;
    }
    long long plane = blockIdx.x;
    Tap down = tap_of(rows, pixel / columns.output);
    Tap across = tap_of(columns, pixel % columns.output);
    const storage* upper = x + (plane * rows.input + down.first) * columns.input;
    const storage* lower = x + (plane * rows.input + down.second) * columns.input;
    float keep = 1.0f - across.weight;
    float above = to_float(upper[across.first]) * keep + to_float(upper[across.second]) * across.weight;
    float below = to_float(lower[across.first]) * keep + to_float(lower[across.second]) * across.weight;
    put(y + plane * rows.output * columns.output + pixel,
        above * (1.0f - down.weight) + below * down.weight);
}

// How much input `input` counts for output `output`.
__device__ inline float weight_of(Axis axis, int output, int input) {
    Tap tap = tap_of(axis, output);
    float weight = tap.first == input ? 1.0f - tap.weight : 0.0f;
    return tap.second == input ? weight + tap.weight : weight;
}

// Outputs that may use `input`, a few more than do: those whose source lies within a pixel of it.
__device__ inline void users(Axis axis, int input, int* first, int* last) {
    *first = 0;
    *last = axis.output - 1;
    if (axis.step > 0.0f) {
        float shift = axis.align_corners ? 0.0f : 0.5f;
        // The first pixel also takes the sources before it, the last one those behind it.
        if (input > 0) {
            *first = larger(0, static_cast<int>((input - 1 + shift) / axis.step - shift) - 1);
        }
        if (input < axis.input - 1) {
            *last = smaller(*last, static_cast<int>((input + 1 + shift) / axis.step - shift) + 2);
        }
    }
}

extern "C" __global__ void resize_bilinear_backward(const storage* __restrict__ g, Axis rows,
                                                    Axis columns, storage* __restrict__ dx) {
    int pixel = blockIdx.y * THREADS + threadIdx.x;
    if (pixel >= rows.input * columns.input) {
        return;
    }
    int row = pixel / columns.input, column = pixel % columns.input;
    long long plane = blockIdx.x;
    g += plane * rows.output * columns.output;
    int top, bottom, left, right;
    users(rows, row, &top, &bottom);
    users(columns, column, &left, &right);
    float sum = 0.0f;
    for (int oy = top; oy <= bottom; oy++) {
        float down = weight_of(rows, oy, row);
        if (down == 0.0f) {
            continue;
        }
        float line = 0.0f;
        for (int ox = left; ox <= right; ox++) {
            float across = weight_of(columns, ox, column);
            if (across != 0.0f) {
                line = fmaf(to_float(g[static_cast<long long>(oy) * columns.output + ox]), across, line);
            }
        }
        sum = fmaf(line, down, sum);
    }
    put(dx + plane * rows.input * columns.input + pixel, sum);
}

extern "C" __global__ void resize_nearest_forward(const storage* __restrict__ x, int h, int w,
                                                  int oh, int ow, storage* __restrict__ y) {
    int pixel = blockIdx.y * THREADS + threadIdx.x;
    if (pixel >= oh * ow) {
        return;
    }
    long long plane = blockIdx.x;
    long long row = static_cast<long long>(pixel / ow) * h / oh;
    long long column = static_cast<long long>(pixel % ow) * w / ow;
    y[plane * oh * ow + pixel] = x[(plane * h + row) * w + column];
}

// The first output whose source is at least `input`.
__device__ inline int first_user(long long input, int inputs, int outputs) {
    return static_cast<int>((input * outputs + inputs - 1) / inputs);
}

extern "C" __global__ void resize_nearest_backward(const storage* __restrict__ g, int h, int w,
                                                   int oh, int ow, storage* __restrict__ dx) {
    int pixel = blockIdx.y * THREADS + threadIdx.x;
    if (pixel >= h * w) {
        return;
    }
    long long plane = blockIdx.x;
    int row = pixel / w, column = pixel % w;
    g += plane * oh * ow;
    float sum = 0.0f;
    for (int oy = first_user(row, h, oh); oy < first_user(row + 1, h, oh); oy++) {
        for (int ox = first_user(column, w, ow); ox < first_user(column + 1, w, ow); ox++) {
            sum += to_float(g[static_cast<long long>(oy) * ow + ox]);
        }
    }
    put(dx + plane * h * w + pixel, sum);
}
