//! Residual networks (He et al., 2016): torchvision's, MMSegmentation's V1c with a deep stem and
//! dilation, and the one of maskrcnn-benchmark with frozen batch norm.
//!
//! One configuration describes them all; [`ResNetConfig::torchvision`], [`ResNetConfig::v1c`] and
//! [`ResNetConfig::detection`] are the published ones. Parameter names are those of the published
//! checkpoints.

mod block;
mod config;
mod network;

pub use config::{BlockKind, ConvInit, NormKind, ResNetConfig, Stem};
pub use network::{ResNet, detectron_names};
