// What all kernels share: the storage type of activations, indices, sums over warps and blocks.
//
// Every source is compiled once for F32 and once, with MIC_BF16 defined, for BF16 activations.
// Arithmetic, parameters and statistics are F32 in both. Nothing here includes a header, so that
// the run-time compiler needs no toolkit. Compiled by NVRTC or nvcc for a GPU, and as plain C++
// behind emulation/cuda.hpp for tests.
#ifndef MIC_COMMON_CUH
#define MIC_COMMON_CUH

// Threads of a block wherever a kernel's header does not say otherwise.
constexpr int THREADS = 256;
constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

// The upper 16 bits of an F32.
struct bf16 {
    unsigned short bits;
};

__device__ inline float to_float(float value) { return value; }

__device__ inline float to_float(bf16 value) {
    return __uint_as_float(static_cast<unsigned>(value.bits) << 16);
}

// Rounds to the nearest, halves to even; NaN stays NaN.
__device__ inline void put(bf16* to, float value) {
    unsigned bits = __float_as_uint(value);
    bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
    unsigned rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    to->bits = static_cast<unsigned short>(is_nan ? (bits >> 16) | 0x40u : rounded);
}

__device__ inline void put(float* to, float value) { *to = value; }

#ifdef MIC_BF16
typedef bf16 storage;
#else
typedef float storage;
#endif

__device__ inline float infinity() { return __uint_as_float(0x7f800000u); }

__device__ inline float not_a_number() { return __uint_as_float(0x7fc00000u); }

// The place of this thread among all of a one-dimensional launch.
__device__ inline long long thread_index() {
    return static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
}

// max(x, 0) that keeps NaN.
__device__ inline float positive(float x) { return x < 0.0f ? 0.0f : x; }

__device__ inline int smaller(int a, int b) { return a < b ? a : b; }

__device__ inline int larger(int a, int b) { return a > b ? a : b; }

// The sum over the lanes of a warp, in all of them. Lanes are paired in a fixed order.
__device__ inline float warp_sum(float value) {
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        value += __shfl_xor_sync(ALL_LANES, value, distance);
    }
    return value;
}

// The sum over a block of COUNT threads, in all of them and in a fixed order. Every thread of the
// block must call it.
template <int COUNT>
__device__ inline float block_sum(float value) {
    __shared__ float parts[COUNT / WARP];
    value = warp_sum(value);
    if (threadIdx.x % WARP == 0) {
        parts[threadIdx.x / WARP] = value;
    }
    __syncthreads();
    float total = 0.0f;
    for (int i = 0; i < COUNT / WARP; i++) {
        total += parts[i];
    }
    __syncthreads();
    return total;
}

// The sum of what the blocks of an earlier launch left, in F64 and in a fixed order; thread 0 has it.
// Every thread of a block of THREADS must call it.
template <typename Part>
__device__ inline double sum_of_blocks(const Part* __restrict__ partials, int blocks) {
    __shared__ double sums[THREADS];
    double sum = 0.0;
    for (int i = threadIdx.x; i < blocks; i += THREADS) {
        sum += partials[i];
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int i = 1; i < THREADS; i++) {
            sum += sums[i];
        }
    }
    return sum;
}

// Number, mean and sum of squared distances from the mean of a set of values (Welford, 1962).
struct Moments {
    float count;
    float mean;
    float squares;

    __device__ void add(float value) {
        count += 1.0f;
        float distance = value - mean;
        mean += distance / count;
        squares += distance * (value - mean);
    }

    // Takes up another set (Chan et al., 1979).
    __device__ void merge(const Moments& other) {
        if (other.count == 0.0f) {
            return;
        }
        float total = count + other.count;
        float distance = other.mean - mean;
        float share = other.count / total;
        mean += distance * share;
        squares += other.squares + distance * distance * count * share;
        count = total;
    }
};

// The moments of a block of COUNT threads (a power of 2), in all of them and in a fixed order.
template <int COUNT>
__device__ inline Moments block_moments(Moments own) {
    __shared__ float counts[COUNT], means[COUNT], squares[COUNT];
    int i = threadIdx.x;
    for (int half = COUNT / 2; half > 0; half /= 2) {
        counts[i] = own.count;
        means[i] = own.mean;
        squares[i] = own.squares;
        __syncthreads();
        if (i < half) {
            own.merge(Moments{counts[i + half], means[i + half], squares[i + half]});
        }
        __syncthreads();
    }
    if (i == 0) {
        counts[0] = own.count;
        means[0] = own.mean;
        squares[0] = own.squares;
    }
    __syncthreads();
    own = Moments{counts[0], means[0], squares[0]};
    __syncthreads();
    return own;
}

#endif
