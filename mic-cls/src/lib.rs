//! Domain-adaptive image classification with Masked Image Consistency.
//!
//! - [`config`]: one TOML file, checked before anything runs.
//! - [`model`]: backbone, bottleneck and head; the domain discriminator.
//! - [`losses`]: minimum class confusion and conditional adversarial adaptation.
//! - [`uda`]: the training step: source only, CDAN, CDAN with MCC, SDAT, each with or without masked
//!   image consistency.
//! - [`sets`], [`train`], [`evaluate`], [`metrics`]: the runs around it; [`inference`] and
//!   [`predict`] use what they leave.

pub mod config;
pub mod error;
pub mod evaluate;
pub mod inference;
mod learner;
pub mod losses;
pub mod metrics;
pub mod model;
pub mod predict;
pub mod sets;
pub mod train;
pub mod uda;
pub mod weights;

pub use error::{Error, Result};

/// What the binary says while there is nothing to run.
pub const NOT_YET: &str = "the program mic-cls has no training, evaluation or prediction yet: what \
there is of them is in the library. mic-seg (segmentation) is complete enough to use.";
