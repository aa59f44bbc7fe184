// Colour jitter of normalised RGB images: brightness, contrast, saturation and hue in a given
// order, each clamped to [0, 1] (DACS, section 4, with kornia's definitions).
//
// Shapes: x, y (batch, 3, pixels), which may be the same; factors (4, batch): brightness, contrast,
// saturation, and hue in turns. Launch: (batch, ceil(pixels / 256)) blocks of 256 threads.
#include "common.cuh"

struct Jitter {
    // 0 brightness, 1 contrast, 2 saturation, 3 hue.
    int order[4];
    // To [0, 1] and back: value * scale + offset by channel.
    float scale[3], offset[3], back_scale[3], back_offset[3];
};

struct Color {
    float r, g, b;
};

__device__ inline float unit(float x) { return fminf(fmaxf(x, 0.0f), 1.0f); }

// With V the largest channel and D its distance to the smallest, S = D / (V + 1e-6) is scaled.
__device__ inline Color saturate(Color x, float factor) {
    float value = fmaxf(fmaxf(x.r, x.g), x.b);
    float delta = value - fminf(fminf(x.r, x.g), x.b);
    float saturation = unit(delta / (value + 1e-6f) * factor);
    float pull = value * saturation / (delta == 0.0f ? 1.0f : delta);
    return Color{value - pull * (value - x.r), value - pull * (value - x.g),
                 value - pull * (value - x.b)};
}

// How far a channel lies below the value: a trapezium over the colour circle.
__device__ inline float channel_of(float sixths, float offset, float value, float saturation) {
    float k = sixths + offset;
    k = k >= 6.0f ? k - 6.0f : k;
    return value - value * saturation * fmaxf(0.0f, fminf(fminf(k, 4.0f - k), 1.0f));
}

__device__ inline Color turn(Color x, float turns) {
    float value = fmaxf(fmaxf(x.r, x.g), x.b);
    float delta = value - fminf(fminf(x.r, x.g), x.b);
    float scale = 1.0f / (delta == 0.0f ? 1.0f : delta);
    // The hue counts from the first largest channel.
    float sixths = x.r == value   ? (x.g - x.b) * scale
                   : x.g == value ? 2.0f + (x.b - x.r) * scale
                                  : 4.0f + (x.r - x.g) * scale;
    float hue = sixths / 6.0f;
    hue = (hue < 0.0f ? hue + 1.0f : hue) + turns;
    hue = hue < 0.0f ? hue + 1.0f : hue;
    hue = hue >= 1.0f ? hue - 1.0f : hue;
    float saturation = delta / (value + 1e-6f);
    return Color{channel_of(6.0f * hue, 5.0f, value, saturation),
                 channel_of(6.0f * hue, 3.0f, value, saturation),
                 channel_of(6.0f * hue, 1.0f, value, saturation)};
}

// In place or not: a thread reads all channels of its pixel before it writes.
extern "C" __global__ void color_jitter(const storage* x, const float* __restrict__ factors,
                                        Jitter j, int pixels, storage* y) {
    int pixel = blockIdx.y * THREADS + threadIdx.x;
    if (pixel >= pixels) {
        return;
    }
    int image = blockIdx.x, batch = gridDim.x;
    long long at = static_cast<long long>(image) * 3 * pixels + pixel;
    Color color{to_float(x[at]) * j.scale[0] + j.offset[0],
                to_float(x[at + pixels]) * j.scale[1] + j.offset[1],
                to_float(x[at + 2 * pixels]) * j.scale[2] + j.offset[2]};
    for (int i = 0; i < 4; i++) {
        float factor = factors[j.order[i] * batch + image];
        if (j.order[i] == 0) {
            float shift = factor - 1.0f;
            color = Color{unit(color.r + shift), unit(color.g + shift), unit(color.b + shift)};
        } else if (j.order[i] == 1) {
            color = Color{unit(color.r * factor), unit(color.g * factor), unit(color.b * factor)};
        } else if (j.order[i] == 2) {
            color = saturate(color, factor);
        } else {
            color = turn(color, factor);
        }
    }
    put(y + at, color.r * j.back_scale[0] + j.back_offset[0]);
    put(y + at + pixels, color.g * j.back_scale[1] + j.back_offset[1]);
    put(y + at + 2 * pixels, color.b * j.back_scale[2] + j.back_offset[2]);
}
