// Many tensors in one launch: what optimisers need, whose parameters are many and often small.
//
// The blocks of tensor t are first_block[t] to first_block[t + 1]; each has CHUNK elements of it.
#ifndef MIC_TENSOR_LIST_CUH
#define MIC_TENSOR_LIST_CUH

#include "common.cuh"

// Elements of a block.
constexpr int CHUNK = 4096;

struct TensorList {
    // (tensors + 1)
    const int* first_block;
    // (tensors)
    const long long* counts;
    int tensors;
};

// The part of a tensor that is this block's: elements `first` to `end` of `tensor`.
struct Piece {
    int tensor;
    long long first, end;
};

__device__ inline Piece piece_of(TensorList list, int block) {
    int low = 0, high = list.tensors - 1;
    // The last tensor that begins at or before the block; empty ones have no block.
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (list.first_block[middle] <= block) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    long long first = static_cast<long long>(block - list.first_block[low]) * CHUNK;
    long long count = list.counts[low];
    return Piece{low, first, first + CHUNK < count ? first + CHUNK : count};
}

#endif
