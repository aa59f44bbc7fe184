// Greedy non-maximum suppression of boxes that are sorted by descending score: all pairs are
// compared at once, as bits; then the boxes are gone through in order.
//
// Shapes: boxes (count, 4) F32, x1, y1, x2, y2; classes (count), I64, or null for one class;
// overlaps (count, words) of 64 bits, words = ceil(count / 64); keeps (count) U8.
// Deterministic. Products and sums are not contracted: an overlap is what the CPU computes.
#include "common.cuh"

constexpr int BITS = 64;

__device__ inline float area_of(const float* box, float extra) {
    return __fmul_rn(__fadd_rn(__fsub_rn(box[2], box[0]), extra),
                     __fadd_rn(__fsub_rn(box[3], box[1]), extra));
}

// Comparisons without care for NaN, as on the CPU.
__device__ inline float lesser(float a, float b) { return a < b ? a : b; }

__device__ inline float greater(float a, float b) { return a > b ? a : b; }

__device__ inline float overlap_of(const float* a, const float* b, float extra) {
    float width = __fadd_rn(__fsub_rn(lesser(a[2], b[2]), greater(a[0], b[0])), extra);
    float height = __fadd_rn(__fsub_rn(lesser(a[3], b[3]), greater(a[1], b[1])), extra);
    float shared = __fmul_rn(greater(width, 0.0f), greater(height, 0.0f));
    float all = __fsub_rn(__fadd_rn(area_of(a, extra), area_of(b, extra)), shared);
    return __fdiv_rn(shared, all);
}

// Which later boxes each box overlaps by more than the threshold. `extra` is 1 where the last row
// and column of a box belong to it. Launch: (words, words) blocks of 64 threads.
extern "C" __global__ void nms_overlaps(const float* __restrict__ boxes,
                                        const long long* __restrict__ classes, int count,
                                        float extra, double threshold,
                                        unsigned long long* __restrict__ overlaps) {
    __shared__ float others[BITS][4];
    __shared__ long long other_classes[BITS];
    int own = blockIdx.y * BITS + threadIdx.x, first = blockIdx.x * BITS;
    int other = first + threadIdx.x;
    if (other < count) {
        for (int i = 0; i < 4; i++) {
            others[threadIdx.x][i] = boxes[other * 4 + i];
        }
        other_classes[threadIdx.x] = classes ? classes[other] : 0;
    }
    __syncthreads();
    if (own >= count) {
        return;
    }
    long long own_class = classes ? classes[own] : 0;
    unsigned long long bits = 0;
    for (int i = 0; i < smaller(BITS, count - first); i++) {
        bool later = first + i > own && other_classes[i] == own_class;
        if (later && overlap_of(boxes + own * 4, others[i], extra) > threshold) {
            bits |= 1ull << i;
        }
    }
    overlaps[static_cast<long long>(own) * gridDim.x + blockIdx.x] = bits;
}

// Goes through the boxes in order. `dropped` (words) is scratch. Launch: one block of 256 threads.
extern "C" __global__ void nms_select(const unsigned long long* __restrict__ overlaps, int count,
                                      unsigned long long* __restrict__ dropped,
                                      unsigned char* __restrict__ keeps) {
    __shared__ unsigned long long kept;
    int words = (count + BITS - 1) / BITS;
    for (int i = threadIdx.x; i < words; i += THREADS) {
        dropped[i] = 0;
    }
    __syncthreads();
    for (int word = 0; word < words; word++) {
        int first = word * BITS, boxes = smaller(BITS, count - first);
        if (threadIdx.x == 0) {
            unsigned long long gone = dropped[word], stays = 0;
            for (int i = 0; i < boxes; i++) {
                if (!(gone >> i & 1)) {
                    stays |= 1ull << i;
                    gone |= overlaps[static_cast<long long>(first + i) * words + word];
                }
            }
            kept = stays;
        }
        __syncthreads();
        if (static_cast<int>(threadIdx.x) < boxes) {
            keeps[first + threadIdx.x] = kept >> threadIdx.x & 1;
        }
        for (int later = word + 1 + threadIdx.x; later < words; later += THREADS) {
            unsigned long long gone = dropped[later];
            for (int i = 0; i < boxes; i++) {
                if (kept >> i & 1) {
                    gone |= overlaps[static_cast<long long>(first + i) * words + later];
                }
            }
            dropped[later] = gone;
        }
        __syncthreads();
    }
}
