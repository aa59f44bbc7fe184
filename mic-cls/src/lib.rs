//! Domain-adaptive image classification with Masked Image Consistency.
//!
//! - [`config`]: one TOML file, checked before anything runs.
//! - [`model`]: backbone, bottleneck and head; the domain discriminator.
//! - [`losses`]: minimum class confusion and conditional adversarial adaptation.
//! - [`uda`]: the training step: source only, CDAN, CDAN with MCC, SDAT, each with or without masked
//!   image consistency.
//! - [`sets`], [`train`], [`evaluate`], [`metrics`]: the runs around it; [`inference`],
//!   [`predict`] and [`features`] use what they leave, [`cli`] is the program.

pub mod cli;
pub mod config;
pub mod error;
pub mod evaluate;
pub mod features;
pub mod inference;
mod learner;
pub mod losses;
pub mod metrics;
pub mod model;
pub mod pictures;
pub mod predict;
pub mod sets;
pub mod train;
pub mod uda;
pub mod weights;

pub use error::{Error, Result};
