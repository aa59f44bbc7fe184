//! Object detection across domains with Masked Image Consistency: Faster R-CNN FPN with SADA, with
//! and without MIC.
//!
//! - [`detector`]: the network, out of [`anchors`], [`rpn`], [`roi`] and, for training, [`sada`].
//! - [`uda`]: the training step: SADA and masked image consistency.

pub mod anchors;
pub mod batch;
pub mod box_coder;
pub mod boxes;
mod conventions;
pub mod detector;
pub mod error;
pub mod matcher;
pub mod roi;
pub mod rpn;
pub mod sada;
pub mod sampler;
mod tap;
pub mod uda;

pub use conventions::Conventions;
pub use error::{Error, Result};
pub use tap::Tap;

/// What the binary says while there is nothing to run.
pub const NOT_YET: &str = "mic-det has no training, evaluation or prediction yet. mic-seg \
(segmentation) is complete enough to use; mic-core adds masked image consistency to a training loop \
of your own.";
