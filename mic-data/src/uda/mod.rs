//! The batches of unsupervised domain adaptation: labelled source images with target images.
//!
//! The batch of a step is a function of (files, configuration, seed, step), so batches can be made
//! by any thread in any order, and training can resume at any step.

mod assemble;
mod config;
mod pipeline;

pub use config::{Photometric, PipelineConfig};
pub use pipeline::UdaPipeline;
