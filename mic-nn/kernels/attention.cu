// Multi-head attention: softmax(q k^T / sqrt(D)) v for every head (Vaswani et al., 2017, eq. 1),
// tiled with a running maximum and sum; the backward pass computes the probabilities again from
// one number a query and head (Dao et al., 2022, "FlashAttention", algorithms 1 and 4).
//
// Shapes: q, keys and values are rows of `query_row` and `key_row` elements, an image's rows
// following each other (batch, queries | keys, row), heads of `depth` neighbouring elements; that
// holds for separate tensors and for parts of one. y, g (batch, queries, heads * depth);
// log_sums, dots (batch, heads, queries) F32.
// Launch: (ceil(queries | keys / TILE), heads, batch) blocks of TILE * 8 threads; the suffix of a
// kernel is the largest depth that it takes. TILE is 32 up to depth 64, and 16 for depth 128.
// Deterministic: a block owns what it writes. On the arithmetic units, not the tensor cores.
#include "common.cuh"

struct Sizes {
    int queries, keys, heads, depth, query_row, key_row;
    float scale;
};

// Threads that share a query (or a key); neighbours in a warp.
constexpr int SHARE = 8;

__device__ inline float share_sum(float value) {
    for (int distance = SHARE / 2; distance > 0; distance /= 2) {
        value += __shfl_xor_sync(ALL_LANES, value, distance);
    }
    return value;
}

__device__ inline float share_max(float value) {
    for (int distance = SHARE / 2; distance > 0; distance /= 2) {
        value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, distance));
    }
    return value;
}

// Copies rows from `first` on, zeros behind the last row and the last element.
template <int TILE, int DEPTH>
__device__ inline void load_tile(float (*tile)[DEPTH + 1], const storage* from, int first,
                                 int rows, int row, int depth) {
    for (int i = threadIdx.x; i < TILE * DEPTH; i += TILE * SHARE) {
        int r = i / DEPTH, d = i % DEPTH;
        bool inside = first + r < rows && d < depth;
        tile[r][d] = inside ? to_float(from[static_cast<long long>(first + r) * row + d]) : 0.0f;
    }
}

template <int DEPTH>
__device__ inline float dot(const float* a, const float* b) {
    float sum = 0.0f;
    for (int d = 0; d < DEPTH; d++) {
        sum = fmaf(a[d], b[d], sum);
    }
    return sum;
}

template <int TILE, int DEPTH>
__device__ inline void attention_forward(const storage* q, const storage* keys,
                                         const storage* values, Sizes s, storage* y,
                                         float* log_sums) {
    __shared__ float q_tile[TILE][DEPTH + 1], k_tile[TILE][DEPTH + 1], v_tile[TILE][DEPTH + 1];
    __shared__ float p_tile[TILE][TILE + 1];
    constexpr int OWN = DEPTH / SHARE, SCORES = TILE / SHARE;
    int first = blockIdx.x * TILE, head = blockIdx.y;
    long long image = blockIdx.z;
    int row = threadIdx.x / SHARE, lane = threadIdx.x % SHARE;
    q += image * s.queries * s.query_row + head * s.depth;
    keys += image * s.keys * s.key_row + head * s.depth;
    values += image * s.keys * s.key_row + head * s.depth;
    load_tile<TILE, DEPTH>(q_tile, q, first, s.queries, s.query_row, s.depth);
    float sums[OWN];
#pragma unroll
    for (int i = 0; i < OWN; i++) {
        sums[i] = 0.0f;
    }
    float largest = -infinity(), total = 0.0f;
    for (int start = 0; start < s.keys; start += TILE) {
        __syncthreads();
        load_tile<TILE, DEPTH>(k_tile, keys, start, s.keys, s.key_row, s.depth);
        load_tile<TILE, DEPTH>(v_tile, values, start, s.keys, s.key_row, s.depth);
        __syncthreads();
        float scores[SCORES];
        float highest = largest;
        for (int i = 0; i < SCORES; i++) {
            int key = i * SHARE + lane;
            scores[i] = start + key < s.keys
                            ? dot<DEPTH>(q_tile[row], k_tile[key]) * s.scale
                            : -infinity();
            highest = fmaxf(highest, scores[i]);
        }
        highest = share_max(highest);
        // Everything so far was relative to the old maximum.
        float shrink = expf(largest - highest);
        largest = highest;
        float part = 0.0f;
        for (int i = 0; i < SCORES; i++) {
            float p = expf(scores[i] - largest);
            p_tile[row][i * SHARE + lane] = p;
            part += p;
        }
        total = total * shrink + share_sum(part);
        // The probabilities of a row come from its own share of a warp.
        __syncwarp();
#pragma unroll
        for (int i = 0; i < OWN; i++) {
            int d = i * SHARE + lane;
            float sum = sums[i] * shrink;
            for (int key = 0; key < TILE; key++) {
                sum = fmaf(p_tile[row][key], v_tile[key][d], sum);
            }
            sums[i] = sum;
        }
    }
    int query = first + row;
    if (query >= s.queries) {
        return;
    }
    y += (image * s.queries + query) * s.heads * s.depth + head * s.depth;
#pragma unroll
    for (int i = 0; i < OWN; i++) {
        int d = i * SHARE + lane;
        if (d < s.depth) {
            put(y + d, sums[i] / total);
        }
    }
    if (lane == 0) {
        log_sums[(image * s.heads + head) * s.queries + query] = largest + logf(total);
    }
}

// The products of result and gradient of every query and head, which all its scores' gradients
// need. Launch: ceil(batch * heads * queries / 256) blocks of 256 threads.
extern "C" __global__ void attention_dots(const storage* __restrict__ y,
                                          const storage* __restrict__ g, long long count, Sizes s,
                                          float* __restrict__ dots) {
    long long index = thread_index();
    if (index >= count) {
        return;
    }
    int query = static_cast<int>(index % s.queries);
    long long head = index / s.queries;
    long long image = head / s.heads;
    long long at = ((image * s.queries + query) * s.heads + head % s.heads) * s.depth;
    float sum = 0.0f;
    for (int d = 0; d < s.depth; d++) {
        sum = fmaf(to_float(y[at + d]), to_float(g[at + d]), sum);
    }
    dots[index] = sum;
}

// dq = scale sum over keys of p (g v - dot) k.
template <int TILE, int DEPTH>
__device__ inline void attention_backward_queries(const storage* q, const storage* keys,
                                                  const storage* values, const storage* g,
                                                  const float* log_sums, const float* dots,
                                                  Sizes s, storage* dq) {
    __shared__ float q_tile[TILE][DEPTH + 1], g_tile[TILE][DEPTH + 1];
    __shared__ float k_tile[TILE][DEPTH + 1], v_tile[TILE][DEPTH + 1];
    __shared__ float d_tile[TILE][TILE + 1];
    constexpr int OWN = DEPTH / SHARE, SCORES = TILE / SHARE;
    int first = blockIdx.x * TILE, head = blockIdx.y;
    long long image = blockIdx.z;
    int row = threadIdx.x / SHARE, lane = threadIdx.x % SHARE;
    long long offset = image * s.queries * s.query_row + head * s.depth;
    keys += image * s.keys * s.key_row + head * s.depth;
    values += image * s.keys * s.key_row + head * s.depth;
    g += (image * s.queries * s.heads + head) * s.depth;
    load_tile<TILE, DEPTH>(q_tile, q + offset, first, s.queries, s.query_row, s.depth);
    load_tile<TILE, DEPTH>(g_tile, g, first, s.queries, s.heads * s.depth, s.depth);
    int query = first + row;
    long long at = (image * s.heads + head) * s.queries + query;
    // Queries behind the last one read zeros and write nothing.
    float log_sum = query < s.queries ? log_sums[at] : 0.0f;
    float along = query < s.queries ? dots[at] : 0.0f;
    float sums[OWN];
#pragma unroll
    for (int i = 0; i < OWN; i++) {
        sums[i] = 0.0f;
    }
    for (int start = 0; start < s.keys; start += TILE) {
        __syncthreads();
        load_tile<TILE, DEPTH>(k_tile, keys, start, s.keys, s.key_row, s.depth);
        load_tile<TILE, DEPTH>(v_tile, values, start, s.keys, s.key_row, s.depth);
        __syncthreads();
        for (int i = 0; i < SCORES; i++) {
            int key = i * SHARE + lane;
            float gradient = 0.0f;
            if (start + key < s.keys) {
                float p = expf(dot<DEPTH>(q_tile[row], k_tile[key]) * s.scale - log_sum);
                gradient = p * (dot<DEPTH>(g_tile[row], v_tile[key]) - along) * s.scale;
            }
            d_tile[row][key] = gradient;
        }
        __syncwarp();
#pragma unroll
        for (int i = 0; i < OWN; i++) {
            int d = i * SHARE + lane;
            for (int key = 0; key < TILE; key++) {
                sums[i] = fmaf(d_tile[row][key], k_tile[key][d], sums[i]);
            }
        }
    }
    if (query < s.queries) {
#pragma unroll
        for (int i = 0; i < OWN; i++) {
            int d = i * SHARE + lane;
            if (d < s.depth) {
                put(dq + offset + static_cast<long long>(query) * s.query_row + d, sums[i]);
            }
        }
    }
}

// dv = sum over queries of p g, dk = scale sum over queries of p (g v - dot) q.
template <int TILE, int DEPTH>
__device__ inline void attention_backward_keys(const storage* q, const storage* keys,
                                               const storage* values, const storage* g,
                                               const float* log_sums, const float* dots, Sizes s,
                                               storage* dk, storage* dv) {
    __shared__ float q_tile[TILE][DEPTH + 1], g_tile[TILE][DEPTH + 1];
    __shared__ float k_tile[TILE][DEPTH + 1], v_tile[TILE][DEPTH + 1];
    __shared__ float p_tile[TILE][TILE + 1], d_tile[TILE][TILE + 1];
    constexpr int OWN = DEPTH / SHARE, SCORES = TILE / SHARE;
    int first = blockIdx.x * TILE, head = blockIdx.y;
    long long image = blockIdx.z;
    // Here a row is a key.
    int row = threadIdx.x / SHARE, lane = threadIdx.x % SHARE;
    long long offset = image * s.keys * s.key_row + head * s.depth;
    q += image * s.queries * s.query_row + head * s.depth;
    g += (image * s.queries * s.heads + head) * s.depth;
    log_sums += (image * s.heads + head) * s.queries;
    dots += (image * s.heads + head) * s.queries;
    load_tile<TILE, DEPTH>(k_tile, keys + offset, first, s.keys, s.key_row, s.depth);
    load_tile<TILE, DEPTH>(v_tile, values + offset, first, s.keys, s.key_row, s.depth);
    float key_sums[OWN], value_sums[OWN];
#pragma unroll
    for (int i = 0; i < OWN; i++) {
        key_sums[i] = 0.0f;
        value_sums[i] = 0.0f;
    }
    for (int start = 0; start < s.queries; start += TILE) {
        __syncthreads();
        load_tile<TILE, DEPTH>(q_tile, q, start, s.queries, s.query_row, s.depth);
        load_tile<TILE, DEPTH>(g_tile, g, start, s.queries, s.heads * s.depth, s.depth);
        __syncthreads();
        for (int i = 0; i < SCORES; i++) {
            int query = i * SHARE + lane;
            float p = 0.0f, gradient = 0.0f;
            if (start + query < s.queries) {
                p = expf(dot<DEPTH>(q_tile[query], k_tile[row]) * s.scale - log_sums[start + query]);
                float product = dot<DEPTH>(g_tile[query], v_tile[row]);
                gradient = p * (product - dots[start + query]) * s.scale;
            }
            p_tile[row][query] = p;
            d_tile[row][query] = gradient;
        }
        __syncwarp();
#pragma unroll
        for (int i = 0; i < OWN; i++) {
            int d = i * SHARE + lane;
            for (int query = 0; query < TILE; query++) {
                key_sums[i] = fmaf(d_tile[row][query], q_tile[query][d], key_sums[i]);
                value_sums[i] = fmaf(p_tile[row][query], g_tile[query][d], value_sums[i]);
            }
        }
    }
    int key = first + row;
    if (key < s.keys) {
#pragma unroll
        for (int i = 0; i < OWN; i++) {
            int d = i * SHARE + lane;
            if (d < s.depth) {
                long long at = offset + static_cast<long long>(key) * s.key_row + d;
                put(dk + at, key_sums[i]);
                put(dv + at, value_sums[i]);
            }
        }
    }
}

extern "C" __global__ void attention_forward_32(const storage* q, const storage* keys,
                                                const storage* values, Sizes s, storage* y,
                                                float* log_sums) {
    attention_forward<32, 32>(q, keys, values, s, y, log_sums);
}

extern "C" __global__ void attention_forward_64(const storage* q, const storage* keys,
                                                const storage* values, Sizes s, storage* y,
                                                float* log_sums) {
    attention_forward<32, 64>(q, keys, values, s, y, log_sums);
}

extern "C" __global__ void attention_forward_128(const storage* q, const storage* keys,
                                                 const storage* values, Sizes s, storage* y,
                                                 float* log_sums) {
    attention_forward<16, 128>(q, keys, values, s, y, log_sums);
}

extern "C" __global__ void attention_backward_queries_32(const storage* q, const storage* keys,
                                                         const storage* values, const storage* g,
                                                         const float* log_sums, const float* dots,
                                                         Sizes s, storage* dq) {
    attention_backward_queries<32, 32>(q, keys, values, g, log_sums, dots, s, dq);
}

extern "C" __global__ void attention_backward_queries_64(const storage* q, const storage* keys,
                                                         const storage* values, const storage* g,
                                                         const float* log_sums, const float* dots,
                                                         Sizes s, storage* dq) {
    attention_backward_queries<32, 64>(q, keys, values, g, log_sums, dots, s, dq);
}

extern "C" __global__ void attention_backward_queries_128(const storage* q, const storage* keys,
                                                          const storage* values, const storage* g,
                                                          const float* log_sums, const float* dots,
                                                          Sizes s, storage* dq) {
    attention_backward_queries<16, 128>(q, keys, values, g, log_sums, dots, s, dq);
}

extern "C" __global__ void attention_backward_keys_32(const storage* q, const storage* keys,
                                                      const storage* values, const storage* g,
                                                      const float* log_sums, const float* dots,
                                                      Sizes s, storage* dk, storage* dv) {
    attention_backward_keys<32, 32>(q, keys, values, g, log_sums, dots, s, dk, dv);
}

extern "C" __global__ void attention_backward_keys_64(const storage* q, const storage* keys,
                                                      const storage* values, const storage* g,
                                                      const float* log_sums, const float* dots,
                                                      Sizes s, storage* dk, storage* dv) {
    attention_backward_keys<32, 64>(q, keys, values, g, log_sums, dots, s, dk, dv);
}

extern "C" __global__ void attention_backward_keys_128(const storage* q, const storage* keys,
                                                       const storage* values, const storage* g,
                                                       const float* log_sums, const float* dots,
                                                       Sizes s, storage* dk, storage* dv) {
    attention_backward_keys<16, 128>(q, keys, values, g, log_sums, dots, s, dk, dv);
}
