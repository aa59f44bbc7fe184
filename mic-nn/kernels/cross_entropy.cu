// Pixel-wise cross-entropy: factor (log sum exp z - z[label]) as a mean over all pixels, ignored
// ones included (mmsegmentation's cross_entropy with avg_factor of all pixels).
//
// Shapes: z, dz (batch, classes, pixels); labels (batch, pixels), U8 or U32, the other pointer is
// null; weight (batch, pixels) and class_weight (classes), F32, may be null; log_sums
// (batch, pixels) F32. The factor of a pixel is weight times class weight, 0 where it is ignored.
// A thread has a pixel: neighbours read neighbours of every class. Deterministic.
#include "common.cuh"

struct Labels {
    const unsigned char* bytes;
    const unsigned* words;
    const float* weight;
    const float* class_weight;
    // -1 for none.
    long long ignore;
};

__device__ inline long long label_of(Labels labels, long long pixel) {
    return labels.bytes ? labels.bytes[pixel] : labels.words[pixel];
}

__device__ inline float factor_of(Labels labels, long long pixel, long long label) {
    if (label == labels.ignore) {
        return 0.0f;
    }
    float factor = labels.weight ? labels.weight[pixel] : 1.0f;
    return labels.class_weight ? factor * labels.class_weight[label] : factor;
}

// The log sums and, for every block, the sum of its pixels' losses. `invalid` gets the first pixel
// whose label is neither a class nor ignored, by an atomic minimum, whose order does not matter;
// such pixels count as ignored. Launch: ceil(batch * pixels / 256) blocks of 256 threads.
extern "C" __global__ void cross_entropy_forward(const storage* __restrict__ z, Labels labels,
                                                 long long count, int classes, long long pixels,
                                                 float* __restrict__ log_sums,
                                                 float* __restrict__ partials,
                                                 long long* __restrict__ invalid) {
    long long pixel = thread_index();
    float loss = 0.0f;
    if (pixel < count) {
        const storage* own = z + pixel / pixels * classes * pixels + pixel % pixels;
        float largest = -infinity();
        for (int c = 0; c < classes; c++) {
            largest = fmaxf(largest, to_float(own[c * pixels]));
        }
        float total = 0.0f;
        for (int c = 0; c < classes; c++) {
            total += expf(to_float(own[c * pixels]) - largest);
        }
        float log_sum = largest + logf(total);
        log_sums[pixel] = log_sum;
        long long label = label_of(labels, pixel);
        if (label != labels.ignore && label >= classes) {
            atomicMin(invalid, pixel);
        } else {
            float factor = factor_of(labels, pixel, label);
            // An ignored pixel's loss is 0 whatever its logits are.
            loss = factor == 0.0f ? 0.0f : (log_sum - to_float(own[label * pixels])) * factor;
        }
    }
    loss = block_sum<THREADS>(loss);
    if (threadIdx.x == 0) {
        partials[blockIdx.x] = loss;
    }
}

// The mean from the blocks' sums. Launch: one block of 256 threads.
extern "C" __global__ void cross_entropy_mean(const float* __restrict__ partials, int blocks,
                                              long long count, float* __restrict__ mean) {
    double sum = sum_of_blocks(partials, blocks);
    if (threadIdx.x == 0) {
        *mean = static_cast<float>(sum / count);
    }
}

// dz = (softmax(z) - [class = label]) factor g / count, with the scalar g.
// Launch: ceil(batch * pixels / 256) blocks of 256 threads.
extern "C" __global__ void cross_entropy_backward(const storage* __restrict__ z, Labels labels,
                                                  const float* __restrict__ log_sums,
                                                  const float* __restrict__ g, long long count,
                                                  int classes, long long pixels,
                                                  storage* __restrict__ dz) {
    long long pixel = thread_index();
    if (pixel >= count) {
        return;
    }
    long long at = pixel / pixels * classes * pixels + pixel % pixels;
    long long label = label_of(labels, pixel);
    bool counts = label != labels.ignore && label < classes;
    float scale = counts ? factor_of(labels, pixel, label) * (*g / count) : 0.0f;
    float log_sum = log_sums[pixel];
    for (int c = 0; c < classes; c++) {
        float p = expf(to_float(z[at + c * pixels]) - log_sum);
        float value = (p - (c == label ? 1.0f : 0.0f)) * scale;
        // Exactly 0 where the pixel is ignored, also for logits that are not finite.
        put(dz + at + c * pixels, scale == 0.0f ? 0.0f : value);
    }
}
