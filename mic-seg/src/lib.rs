//! Domain-adaptive semantic segmentation with Masked Image Consistency.
//!
//! - [`config`]: one TOML file, checked before anything runs.
//! - [`model`]: MiT with the DAFormer head.
//! - [`uda`]: the training step: DACS self-training and masked image consistency.
//! - [`train`], [`inference`], [`evaluate`], [`predict`]: the runs around them.

pub mod cli;
pub mod config;
pub mod error;
pub mod evaluate;
pub mod inference;
pub mod memory;
pub mod metrics;
pub mod model;
mod optimise;
pub mod predict;
pub mod progress;
pub mod record;
pub mod sets;
pub mod train;
pub mod uda;
pub mod weights;

pub use error::{Error, Result};
