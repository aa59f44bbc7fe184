// Batch normalisation of (B, C, H, W) images (Ioffe and Szegedy, 2015), alone or followed by a
// residual sum and a rectifier:
// y = (x - mean) gamma rstd + beta [+ residual] [, max(y, 0)],  rstd = 1 / sqrt(var + eps).
//
// Shapes: x, y, g, dx, residual (batch, channels, pixels); all else F32 (channels).
// A channel is read by `splits` blocks; what they find is merged in order: deterministic.
// Statistics are merged by Chan's formula, as sums of squares would cancel.
#include "common.cuh"

// Element `i` of a channel, counted over the whole batch.
__device__ inline long long place(long long i, int channel, int channels, int pixels) {
    long long image = i / pixels;
    return (image * channels + channel) * pixels + (i - image * pixels);
}

// Partial moments (channels, splits, 3) of `per_split` elements each.
// Launch: (channels, splits) blocks of 256 threads.
extern "C" __global__ void batch_norm_moments(const storage* __restrict__ x, int batch,
                                              int channels, int pixels, long long per_split,
                                              float* __restrict__ partials) {
    long long count = static_cast<long long>(batch) * pixels;
    long long first = blockIdx.y * per_split;
    long long end = first + per_split < count ? first + per_split : count;
    Moments own{0.0f, 0.0f, 0.0f};
    for (long long i = first + threadIdx.x; i < end; i += THREADS) {
        own.add(to_float(x[place(i, blockIdx.x, channels, pixels)]));
    }
    own = block_moments<THREADS>(own);
    if (threadIdx.x == 0) {
        float* out = partials + (static_cast<long long>(blockIdx.x) * gridDim.y + blockIdx.y) * 3;
        out[0] = own.count;
        out[1] = own.mean;
        out[2] = own.squares;
    }
}

// Mean, biased variance and reciprocal standard deviation from the partial moments.
// Launch: ceil(channels / 256) blocks of 256 threads.
extern "C" __global__ void batch_norm_statistics(const float* __restrict__ partials, int channels,
                                                 int splits, float eps, float* __restrict__ mean,
                                                 float* __restrict__ var,
                                                 float* __restrict__ rstd) {
    int channel = static_cast<int>(thread_index());
    if (channel >= channels) {
        return;
    }
    Moments all{0.0f, 0.0f, 0.0f};
    for (int i = 0; i < splits; i++) {
        const float* part = partials + (static_cast<long long>(channel) * splits + i) * 3;
        all.merge(Moments{part[0], part[1], part[2]});
    }
    mean[channel] = all.mean;
    var[channel] = all.squares / all.count;
    rstd[channel] = 1.0f / sqrtf(all.squares / all.count + eps);
}

// The reciprocal standard deviation of given statistics.
// Launch: ceil(channels / 256) blocks of 256 threads.
extern "C" __global__ void batch_norm_rstd(const float* __restrict__ var, float eps,
                                           float* __restrict__ rstd, int channels) {
    int channel = static_cast<int>(thread_index());
    if (channel < channels) {
        rstd[channel] = 1.0f / sqrtf(var[channel] + eps);
    }
}

// The result. `residual` may be null; `relu` is 0 or 1.
// Launch: (batch * channels, ceil(pixels / 256)) blocks of 256 threads.
extern "C" __global__ void batch_norm_apply(
    const storage* __restrict__ x, const storage* __restrict__ residual,
    const float* __restrict__ gamma, const float* __restrict__ beta,
    const float* __restrict__ mean, const float* __restrict__ rstd, int channels, int pixels,
    int relu, storage* __restrict__ y) {
    int pixel = blockIdx.y * THREADS + threadIdx.x;
    if (pixel >= pixels) {
        return;
    }
    int channel = blockIdx.x % channels;
    long long i = static_cast<long long>(blockIdx.x) * pixels + pixel;
    float value = (to_float(x[i]) - mean[channel]) * (gamma[channel] * rstd[channel]) + beta[channel];
    if (residual) {
        value += to_float(residual[i]);
    }
    put(y + i, relu ? positive(value) : value);
}

// Partial sums (channels, splits, 2) of g and g (x - mean). With `y` not null, g counts only where
// y > 0. Launch: (channels, splits) blocks of 256 threads.
extern "C" __global__ void batch_norm_backward_sums(
    const storage* __restrict__ x, const storage* __restrict__ y, const storage* __restrict__ g,
    const float* __restrict__ mean, int batch, int channels, int pixels, long long per_split,
    float* __restrict__ partials) {
    long long count = static_cast<long long>(batch) * pixels;
    long long first = blockIdx.y * per_split;
    long long end = first + per_split < count ? first + per_split : count;
    float center = mean[blockIdx.x];
    float total = 0.0f, moment = 0.0f;
    for (long long i = first + threadIdx.x; i < end; i += THREADS) {
        long long at = place(i, blockIdx.x, channels, pixels);
        float gradient = !y || to_float(y[at]) > 0.0f ? to_float(g[at]) : 0.0f;
        total += gradient;
        moment += gradient * (to_float(x[at]) - center);
    }
    total = block_sum<THREADS>(total);
    moment = block_sum<THREADS>(moment);
    if (threadIdx.x == 0) {
        float* out = partials + (static_cast<long long>(blockIdx.x) * gridDim.y + blockIdx.y) * 2;
        out[0] = total;
        out[1] = moment;
    }
}

// dbeta = sum of g, dgamma = rstd sum of g (x - mean).
// Launch: ceil(channels / 256) blocks of 256 threads.
extern "C" __global__ void batch_norm_backward_parameters(const float* __restrict__ partials,
                                                          const float* __restrict__ rstd,
                                                          int channels, int splits,
                                                          float* __restrict__ dgamma,
                                                          float* __restrict__ dbeta) {
    int channel = static_cast<int>(thread_index());
    if (channel >= channels) {
        return;
    }
    float total = 0.0f, moment = 0.0f;
    for (int i = 0; i < splits; i++) {
        const float* part = partials + (static_cast<long long>(channel) * splits + i) * 2;
        total += part[0];
        moment += part[1];
    }
    dbeta[channel] = total;
    dgamma[channel] = moment * rstd[channel];
}

// dx = gamma rstd (g - [dbeta + (x - mean) rstd dgamma] / count), the bracket only with `count`
// > 0, that is where the statistics are the batch's own. With `y` not null, g counts only where
// y > 0. `dresidual`, which may be null, gets that g.
// Launch: (batch * channels, ceil(pixels / 256)) blocks of 256 threads.
extern "C" __global__ void batch_norm_backward_input(
    const storage* __restrict__ x, const storage* __restrict__ y, const storage* __restrict__ g,
    const float* __restrict__ gamma, const float* __restrict__ mean,
    const float* __restrict__ rstd, const float* __restrict__ dgamma,
    const float* __restrict__ dbeta, int channels, int pixels, float count,
    storage* __restrict__ dx, storage* __restrict__ dresidual) {
    int pixel = blockIdx.y * THREADS + threadIdx.x;
    if (pixel >= pixels) {
        return;
    }
    int channel = blockIdx.x % channels;
    long long i = static_cast<long long>(blockIdx.x) * pixels + pixel;
    float gradient = !y || to_float(y[i]) > 0.0f ? to_float(g[i]) : 0.0f;
    float along = 0.0f;
    if (count > 0.0f) {
        float normalised = (to_float(x[i]) - mean[channel]) * rstd[channel];
        along = (dbeta[channel] + normalised * dgamma[channel]) / count;
    }
    put(dx + i, gamma[channel] * rstd[channel] * (gradient - along));
    if (dresidual) {
        put(dresidual + i, gradient);
    }
}
