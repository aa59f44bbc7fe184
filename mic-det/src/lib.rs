//! Object detection across domains with Masked Image Consistency: Faster R-CNN FPN with SADA, with
//! and without MIC.
//!
//! - [`config`]: one TOML file, checked before anything runs.
//! - [`detector`]: the network, out of [`anchors`], [`rpn`], [`roi`] and, for training, [`sada`].
//! - [`uda`]: the training step: source only or SADA, each with or without masked image consistency.
//! - [`metrics`]: how good detections are.
//! - [`sets`], [`train`], [`inference`]: the runs around it; [`checkpoint`] reads what they leave.

pub mod anchors;
pub mod batch;
pub mod box_coder;
pub mod boxes;
pub mod checkpoint;
pub mod config;
mod conventions;
pub mod detector;
pub mod error;
pub mod inference;
mod learner;
pub mod matcher;
pub mod metrics;
pub mod roi;
pub mod rpn;
pub mod sada;
pub mod sampler;
pub mod sets;
mod tap;
pub mod train;
pub mod uda;

pub use conventions::Conventions;
pub use error::{Error, Result};
pub use tap::Tap;

/// What the binary says while there is nothing to run.
pub const NOT_YET: &str = "mic-det has no training, evaluation or prediction yet. mic-seg \
(segmentation) is complete enough to use; mic-core adds masked image consistency to a training loop \
of your own.";
