// ClassMix (Olsson et al., 2021; DACS, section 3.2): the pixels of some source classes pasted onto a
// target image.
//
// Shapes: labels, mask (batch, pixels) U8; table (batch, 256) U8, 1 for the classes that are
// pasted; source, target, out (batch, channels, pixels).
#include "common.cuh"

// mask = table[label]. Launch: (batch, ceil(pixels / 256)) blocks of 256 threads.
extern "C" __global__ void class_mix_mask(const unsigned char* __restrict__ labels,
                                          const unsigned char* __restrict__ table, int pixels,
                                          unsigned char* __restrict__ mask) {
    int pixel = blockIdx.y * THREADS + threadIdx.x;
    if (pixel < pixels) {
        long long at = static_cast<long long>(blockIdx.x) * pixels + pixel;
        mask[at] = table[blockIdx.x * 256 + labels[at]];
    }
}

template <typename T>
__device__ inline void mix(const unsigned char* mask, const T* source, const T* target,
                           int channels, int pixels, T* out) {
    int pixel = blockIdx.y * THREADS + threadIdx.x;
    if (pixel < pixels) {
        long long image = blockIdx.x / channels;
        long long at = static_cast<long long>(blockIdx.x) * pixels + pixel;
        out[at] = mask[image * pixels + pixel] ? source[at] : target[at];
    }
}

// Images and weights. Launch: (batch * channels, ceil(pixels / 256)) blocks of 256 threads.
extern "C" __global__ void class_mix(const unsigned char* __restrict__ mask,
                                     const storage* __restrict__ source,
                                     const storage* __restrict__ target, int channels, int pixels,
                                     storage* __restrict__ out) {
    mix(mask, source, target, channels, pixels, out);
}

// Labels.
extern "C" __global__ void class_mix_labels(const unsigned char* __restrict__ mask,
                                            const unsigned char* __restrict__ source,
                                            const unsigned char* __restrict__ target, int channels,
                                            int pixels, unsigned char* __restrict__ out) {
    mix(mask, source, target, channels, pixels, out);
}
