//! Differentiable ops with PyTorch's semantics.
//!
//! Each op computes its result outside candle's graph and attaches a hand-written backward pass
//! that keeps only what it needs. Nothing here cuts the graph silently: an op either has a
//! gradient for every floating-point input or returns an error.

pub(crate) mod attach;
pub(crate) mod cpu;
pub(crate) mod simd;

mod layout;
mod relu;

pub use layout::{map_to_tokens, patchify, swap_last, tokens_to_map};
pub use relu::relu;
