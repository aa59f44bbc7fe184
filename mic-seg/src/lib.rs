//! Domain-adaptive semantic segmentation with Masked Image Consistency.
//!
//! - [`config`]: one TOML file, checked before anything runs.
//! - [`model`]: backbones, heads, and HRDA over any of them.
//! - [`uda`]: the training steps: source only, DACS, adversarial, entropy, each with masked image
//!   consistency.
//! - [`train`], [`inference`], [`evaluate`], [`predict`]: the runs around them.

pub mod cli;
pub mod config;
pub mod error;
pub mod evaluate;
pub mod footprint;
pub mod inference;
mod learner;
pub mod metrics;
pub mod model;
mod optimise;
pub mod predict;
pub mod sets;
pub mod slide;
pub mod subset;
pub mod train;
pub mod uda;
pub mod weights;

pub use error::{Error, Result};
