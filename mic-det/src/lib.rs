//! Object detection across domains with Masked Image Consistency: Faster R-CNN FPN with SADA, with
//! and without MIC.
//!
//! - [`config`]: one TOML file, checked before anything runs.
//! - [`detector`]: the network, out of [`anchors`], [`rpn`], [`roi`] and, for training, [`sada`].
//! - [`uda`]: the training step: source only or SADA, each with or without masked image consistency.
//! - [`sets`], [`train`], [`evaluate`], [`metrics`]: the runs around it; [`checkpoint`] and
//!   [`inference`] use what they leave, [`cli`] is the program.
//! - [`predict`], [`draw`]: detections in image files, as pictures and as a COCO file.
//! - [`weights`]: published weights in and out.

pub mod anchors;
pub mod batch;
pub mod box_coder;
pub mod boxes;
pub mod checkpoint;
pub mod cli;
pub mod config;
mod conventions;
pub mod detector;
pub mod draw;
pub mod error;
pub mod evaluate;
pub mod inference;
mod learner;
pub mod matcher;
pub mod metrics;
mod pictures;
pub mod predict;
pub mod roi;
pub mod rpn;
pub mod sada;
pub mod sampler;
pub mod sets;
mod tap;
pub mod train;
pub mod uda;
pub mod weights;

pub use conventions::Conventions;
pub use error::{Error, Result};
pub use tap::Tap;
