// RoIAlign (He et al., 2017, "Mask R-CNN", section 3): means of bilinear samples in the bins of
// regions. Order of operations and border rule are torchvision's: a sample more than one pixel
// outside is zero, and the rounding of its place decides that, so products and sums are not
// contracted there.
//
// Shapes: features, dx (batch, channels, h, w); rois (regions, 5) F32, rows of image, x1, y1, x2,
// y2; y, g (regions, channels, bins_y, bins_x).
#include "common.cuh"

struct Align {
    int channels, h, w, bins_y, bins_x;
    float scale;
    // Samples of a bin in each direction; 0 for as many as the bin has pixels, rounded up.
    int samples;
    int aligned;
};

// A region along one direction.
struct Side {
    float start, bin;
    int samples, size;
};

__device__ inline Side side_of(Align a, float low, float high, int bins, int size) {
    float shift = a.aligned ? 0.5f : 0.0f;
    float start = __fsub_rn(__fmul_rn(low, a.scale), shift);
    float length = __fsub_rn(__fsub_rn(__fmul_rn(high, a.scale), shift), start);
    if (!a.aligned) {
        length = fmaxf(length, 1.0f);
    }
    float bin = length / bins;
    return Side{start, bin, a.samples > 0 ? a.samples : static_cast<int>(ceilf(bin)), size};
}

struct Sample {
    int low, high;
    // Both are 0 outside.
    float low_weight, high_weight;
};

__device__ inline Sample sample_of(Side side, int bin, int i) {
    float corner = __fadd_rn(side.start, __fmul_rn(bin, side.bin));
    float at = __fadd_rn(corner, __fdiv_rn(__fmul_rn(i + 0.5f, side.bin), side.samples));
    if (!(at >= -1.0f && at <= side.size)) {
        return Sample{0, 0, 0.0f, 0.0f};
    }
    at = fmaxf(at, 0.0f);
    int low = static_cast<int>(at);
    if (low + 1 >= side.size) {
        return Sample{side.size - 1, side.size - 1, 1.0f, 0.0f};
    }
    float fraction = at - low;
    return Sample{low, low + 1, 1.0f - fraction, fraction};
}

// Launch: ceil(regions * channels * bins_y * bins_x / 256) blocks of 256 threads.
extern "C" __global__ void roi_align_forward(const storage* __restrict__ features,
                                             const float* __restrict__ rois, long long count,
                                             Align a, storage* __restrict__ y) {
    long long index = thread_index();
    if (index >= count) {
        return;
    }
    int bx = static_cast<int>(index % a.bins_x);
    int by = static_cast<int>(index / a.bins_x % a.bins_y);
    long long rest = index / a.bins_x / a.bins_y;
    int channel = static_cast<int>(rest % a.channels);
    const float* roi = rois + rest / a.channels * 5;
    Side rows = side_of(a, roi[2], roi[4], a.bins_y, a.h);
    Side columns = side_of(a, roi[1], roi[3], a.bins_x, a.w);
    long long image = static_cast<long long>(roi[0]);
    features += (image * a.channels + channel) * a.h * a.w;
    float sum = 0.0f;
    for (int i = 0; i < rows.samples; i++) {
        Sample down = sample_of(rows, by, i);
        if (down.low_weight == 0.0f && down.high_weight == 0.0f) {
            continue;
        }
        const storage* upper = features + static_cast<long long>(down.low) * a.w;
        const storage* lower = features + static_cast<long long>(down.high) * a.w;
        for (int j = 0; j < columns.samples; j++) {
            Sample across = sample_of(columns, bx, j);
            float above = to_float(upper[across.low]) * across.low_weight +
                          to_float(upper[across.high]) * across.high_weight;
            float below = to_float(lower[across.low]) * across.low_weight +
                          to_float(lower[across.high]) * across.high_weight;
            sum += above * down.low_weight + below * down.high_weight;
        }
    }
    int samples = rows.samples * columns.samples;
    put(y + index, sum / larger(samples, 1));
}

// The sum of the weights with which the samples of a bin read `element`.
__device__ inline float bin_weight(Side side, int bin, int element) {
    float weight = 0.0f;
    for (int i = 0; i < side.samples; i++) {
        Sample sample = sample_of(side, bin, i);
        weight += sample.low == element ? sample.low_weight : 0.0f;
        weight += sample.high == element ? sample.high_weight : 0.0f;
    }
    return weight;
}

// Whether samples of the side can read `element`, a pixel more than they do.
__device__ inline bool reaches(Side side, int bins, int element) {
    float low = fminf(side.start, side.start + bins * side.bin) - 2.0f;
    float high = fmaxf(side.start, side.start + bins * side.bin) + 2.0f;
    return element >= low && element <= high;
}

constexpr int CHANNELS = 8;

// The features' gradient. A thread has a pixel in 8 channels and goes through all regions, whose
// sides the block keeps in shared memory: no atomics, regions in order, deterministic.
// Launch: (ceil(h * w / 256), ceil(channels / 8), batch) blocks of 256 threads.
extern "C" __global__ void roi_align_backward(const storage* __restrict__ g,
                                              const float* __restrict__ rois, int regions, Align a,
                                              storage* __restrict__ dx) {
    __shared__ Side rows[THREADS], columns[THREADS];
    __shared__ int images[THREADS];
    int pixel = blockIdx.x * THREADS + threadIdx.x;
    int row = pixel / a.w, column = pixel % a.w;
    int first_channel = blockIdx.y * CHANNELS;
    int channels = smaller(CHANNELS, a.channels - first_channel);
    int bins = a.bins_y * a.bins_x;
    float sums[CHANNELS];
    for (int c = 0; c < CHANNELS; c++) {
        sums[c] = 0.0f;
    }
    for (int first = 0; first < regions; first += THREADS) {
        __syncthreads();
        int own = first + threadIdx.x;
        if (own < regions) {
            const float* roi = rois + static_cast<long long>(own) * 5;
            images[threadIdx.x] = static_cast<int>(roi[0]);
            rows[threadIdx.x] = side_of(a, roi[2], roi[4], a.bins_y, a.h);
            columns[threadIdx.x] = side_of(a, roi[1], roi[3], a.bins_x, a.w);
        }
        __syncthreads();
        for (int r = 0; r < smaller(THREADS, regions - first); r++) {
            if (pixel >= a.h * a.w || images[r] != static_cast<int>(blockIdx.z) ||
                !reaches(rows[r], a.bins_y, row) || !reaches(columns[r], a.bins_x, column)) {
                continue;
            }
            const storage* gradient =
                g + (static_cast<long long>(first + r) * a.channels + first_channel) * bins;
            float samples = larger(rows[r].samples * columns[r].samples, 1);
            for (int by = 0; by < a.bins_y; by++) {
                float down = bin_weight(rows[r], by, row);
                if (down == 0.0f) {
                    continue;
                }
                for (int bx = 0; bx < a.bins_x; bx++) {
                    float weight = down * bin_weight(columns[r], bx, column) / samples;
                    for (int c = 0; c < channels && weight != 0.0f; c++) {
                        float value = to_float(gradient[c * bins + by * a.bins_x + bx]);
                        sums[c] = fmaf(value, weight, sums[c]);
                    }
                }
            }
        }
    }
    if (pixel < a.h * a.w) {
        for (int c = 0; c < channels; c++) {
            long long plane = static_cast<long long>(blockIdx.z) * a.channels + first_channel + c;
            put(dx + plane * a.h * a.w + pixel, sums[c]);
        }
    }
}
