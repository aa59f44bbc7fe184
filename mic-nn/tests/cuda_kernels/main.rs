//! The CUDA kernels without a GPU.
//!
//! `kernels/*.cu` are compiled as C++ behind `kernels/emulation/cuda.hpp` and compared with the
//! crate's own ops in F64, forward and gradient, on random shapes, for F32 and BF16 activations.
//! Every launch runs twice, with blocks and threads in opposite orders: results must be equal to
//! the bit, and nothing may be written outside the buffers. Needs a C++ compiler; without one,
//! these tests say so and check nothing. `ptx.rs` compiles the same sources for real GPUs.

#![allow(clippy::unwrap_used)]

mod attention;
mod augment;
mod boxes;
mod convolution;
mod elementwise;
mod emulation;
mod emulator;
mod loss;
mod memory;
mod norm;
mod optimizers;
mod pool;
mod ptx;
mod reference;
mod resize;
mod sources;
