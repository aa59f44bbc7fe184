//! Detail and context at once: a small crop in high resolution, the whole image in low resolution,
//! and a learned attention that decides between them (HRDA, sec. 3).

mod config;
mod crop;
mod decoder;

pub use config::{DetailFeatures, HrdaConfig, ScaleAttention};
pub use crop::{CropBox, DetailCrop};
pub use decoder::Detail;
pub(super) use decoder::Hrda;
