//! Segmentation networks.

mod daformer_head;
mod from_config;
mod segmentor;

pub use daformer_head::{DaformerHead, DaformerHeadConfig};
pub use segmentor::{Output, Segmentor, SegmentorConfig};
