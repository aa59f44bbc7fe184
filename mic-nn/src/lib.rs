//! What training vision models on candle needs and candle lacks: differentiable ops, layers,
//! backbones, named parameters, optimisers and schedules.
//!
//! The crate knows nothing of domain adaptation.

pub mod autograd;
#[cfg(feature = "cuda")]
mod cuda;
pub mod files;
pub mod forward;
pub mod gradcheck;
pub mod init;
pub mod layers;
pub mod memory;
pub mod models;
pub mod ops;
pub mod optim;
pub mod params;
pub mod recompute;
pub mod schedule;
pub mod threads;
pub mod weights;

// The unit tests run on the crate's own allocator.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: memory::TensorAllocator = memory::TensorAllocator;
