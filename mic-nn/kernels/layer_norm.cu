// Layer normalisation over the last dimension (Ba et al., 2016), with the biased variance:
// y = (x - mean) rstd gamma + beta,  rstd = 1 / sqrt(var + eps).
//
// Shapes: x, y, g, dx (rows, c); gamma, beta (c); mean, rstd (rows), kept for the backward pass.
// Launch, by rows: ceil(rows / 8) blocks of 256 threads, one warp a row.
// Deterministic: sums have a fixed order.
#include "common.cuh"

constexpr int ROWS = THREADS / WARP;

extern "C" __global__ void layer_norm_forward(const storage* __restrict__ x,
                                              const float* __restrict__ gamma,
                                              const float* __restrict__ beta, float eps,
                                              long long rows, int c, storage* __restrict__ y,
                                              float* __restrict__ mean_out,
                                              float* __restrict__ rstd_out) {
    long long row = static_cast<long long>(blockIdx.x) * ROWS + threadIdx.x / WARP;
    int lane = threadIdx.x % WARP;
    if (row >= rows) {
        return;
    }
    x += row * c;
    y += row * c;
    float total = 0.0f;
    for (int i = lane; i < c; i += WARP) {
        total += to_float(x[i]);
    }
    float mean = warp_sum(total) / c;
    float squares = 0.0f;
    for (int i = lane; i < c; i += WARP) {
        float distance = to_float(x[i]) - mean;
        squares += distance * distance;
    }
    float rstd = 1.0f / sqrtf(warp_sum(squares) / c + eps);
    for (int i = lane; i < c; i += WARP) {
        put(y + i, (to_float(x[i]) - mean) * rstd * gamma[i] + beta[i]);
    }
    if (lane == 0) {
        mean_out[row] = mean;
        rstd_out[row] = rstd;
    }
}

// dx = rstd (g gamma - a - (x - mean) b),  a = mean of g gamma,  b = rstd^2 mean of g gamma (x - mean).
extern "C" __global__ void layer_norm_backward_input(
    const storage* __restrict__ x, const float* __restrict__ gamma,
    const float* __restrict__ mean_in, const float* __restrict__ rstd_in,
    const storage* __restrict__ g, long long rows, int c, storage* __restrict__ dx) {
    long long row = static_cast<long long>(blockIdx.x) * ROWS + threadIdx.x / WARP;
    int lane = threadIdx.x % WARP;
    if (row >= rows) {
        return;
    }
    x += row * c;
    g += row * c;
    dx += row * c;
    float mean = mean_in[row], rstd = rstd_in[row];
    float total = 0.0f, moment = 0.0f;
    for (int i = lane; i < c; i += WARP) {
        float scaled = to_float(g[i]) * gamma[i];
        total += scaled;
        moment += scaled * (to_float(x[i]) - mean);
    }
    float a = warp_sum(total) / c;
    float b = warp_sum(moment) * rstd * rstd / c;
    for (int i = lane; i < c; i += WARP) {
        float scaled = to_float(g[i]) * gamma[i];
        put(dx + i, (scaled - a - (to_float(x[i]) - mean) * b) * rstd);
    }
}

// Partial sums of dgamma = sum of g (x - mean) rstd and dbeta = sum of g: partials (sets, 2, c),
// to be added up by sum_rows. A block sums `per_set` rows of 32 channels.
// Launch: (ceil(c / 32), sets) blocks of (32, 8) threads.
extern "C" __global__ void layer_norm_backward_parameters(
    const storage* __restrict__ x, const float* __restrict__ mean, const float* __restrict__ rstd,
    const storage* __restrict__ g, long long rows, int c, long long per_set,
    float* __restrict__ partials) {
    __shared__ float scales[8][WARP], shifts[8][WARP];
    int channel = blockIdx.x * WARP + threadIdx.x;
    long long first = blockIdx.y * per_set;
    long long end = first + per_set < rows ? first + per_set : rows;
    float scale = 0.0f, shift = 0.0f;
    if (channel < c) {
        for (long long row = first + threadIdx.y; row < end; row += 8) {
            float gradient = to_float(g[row * c + channel]);
            scale += gradient * (to_float(x[row * c + channel]) - mean[row]) * rstd[row];
            shift += gradient;
        }
    }
    scales[threadIdx.y][threadIdx.x] = scale;
    shifts[threadIdx.y][threadIdx.x] = shift;
    __syncthreads();
    if (threadIdx.y == 0 && channel < c) {
        for (int i = 1; i < 8; i++) {
            scale += scales[i][threadIdx.x];
            shift += shifts[i][threadIdx.x];
        }
        float* out = partials + static_cast<long long>(blockIdx.y) * 2 * c;
        out[channel] = scale;
        out[c + channel] = shift;
    }
}
