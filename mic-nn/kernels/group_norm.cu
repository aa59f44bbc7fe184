// Group normalisation of (B, C, H, W) images (Wu and He, 2018): every image normalises groups of
// C / groups neighbouring channels over channels and pixels, then y = gamma x + beta by channel.
//
// Shapes: x, y, g, dx (batch, channels, pixels); gamma, beta (channels); mean, rstd (batch, groups).
// Launch, by groups: batch * groups blocks of 256 threads. Deterministic.
#include "common.cuh"

extern "C" __global__ void group_norm_forward(const storage* __restrict__ x,
                                              const float* __restrict__ gamma,
                                              const float* __restrict__ beta, float eps,
                                              int channels, int pixels, int groups,
                                              storage* __restrict__ y,
                                              float* __restrict__ mean_out,
                                              float* __restrict__ rstd_out) {
    int members = channels / groups;
    int first = blockIdx.x % groups * members;
    long long count = static_cast<long long>(members) * pixels;
    x += blockIdx.x * count;
    y += blockIdx.x * count;
    Moments own{0.0f, 0.0f, 0.0f};
    for (long long i = threadIdx.x; i < count; i += THREADS) {
        own.add(to_float(x[i]));
    }
    own = block_moments<THREADS>(own);
    float rstd = 1.0f / sqrtf(own.squares / own.count + eps);
    for (long long i = threadIdx.x; i < count; i += THREADS) {
        int channel = first + static_cast<int>(i / pixels);
        put(y + i, (to_float(x[i]) - own.mean) * (gamma[channel] * rstd) + beta[channel]);
    }
    if (threadIdx.x == 0) {
        mean_out[blockIdx.x] = own.mean;
        rstd_out[blockIdx.x] = rstd;
    }
}

// dx, and for every plane the sums (batch, channels, 2) of g and of g times normalised x.
// With h = g gamma and normalised x^: dx = rstd (h - mean of h - x^ mean of h x^).
extern "C" __global__ void group_norm_backward_input(
    const storage* __restrict__ x, const float* __restrict__ gamma,
    const float* __restrict__ mean_in, const float* __restrict__ rstd_in,
    const storage* __restrict__ g, int channels, int pixels, int groups,
    storage* __restrict__ dx, float* __restrict__ sums) {
    int members = channels / groups;
    int first = blockIdx.x % groups * members;
    long long count = static_cast<long long>(members) * pixels;
    x += blockIdx.x * count;
    g += blockIdx.x * count;
    dx += blockIdx.x * count;
    float mean = mean_in[blockIdx.x], rstd = rstd_in[blockIdx.x];
    float total = 0.0f, moment = 0.0f;
    for (int member = 0; member < members; member++) {
        float plain = 0.0f, weighted = 0.0f;
        for (int i = threadIdx.x; i < pixels; i += THREADS) {
            long long at = static_cast<long long>(member) * pixels + i;
            float gradient = to_float(g[at]);
            plain += gradient;
            weighted += gradient * (to_float(x[at]) - mean) * rstd;
        }
        plain = block_sum<THREADS>(plain);
        weighted = block_sum<THREADS>(weighted);
        total += gamma[first + member] * plain;
        moment += gamma[first + member] * weighted;
        if (threadIdx.x == 0) {
            float* out = sums + (static_cast<long long>(blockIdx.x) * members + member) * 2;
            out[0] = plain;
            out[1] = weighted;
        }
    }
    for (long long i = threadIdx.x; i < count; i += THREADS) {
        float scaled = to_float(g[i]) * gamma[first + static_cast<int>(i / pixels)];
        float normalised = (to_float(x[i]) - mean) * rstd;
        put(dx + i, rstd * (scaled - (total + normalised * moment) / count));
    }
}

// dgamma and dbeta from the planes' sums, images in order.
// Launch: ceil(channels / 256) blocks of 256 threads.
extern "C" __global__ void group_norm_backward_parameters(const float* __restrict__ sums,
                                                          int batch, int channels,
                                                          float* __restrict__ dgamma,
                                                          float* __restrict__ dbeta) {
    int channel = static_cast<int>(thread_index());
    if (channel >= channels) {
        return;
    }
    float shift = 0.0f, scale = 0.0f;
    for (int image = 0; image < batch; image++) {
        const float* part = sums + (static_cast<long long>(image) * channels + channel) * 2;
        shift += part[0];
        scale += part[1];
    }
    dbeta[channel] = shift;
    dgamma[channel] = scale;
}
