//! Segmentation networks: any backbone, any head, in one resolution or in two.

mod adapter;
mod aspp;
mod backbone;
mod conv_module;
mod daformer_head;
mod deeplab_head;
mod discriminator;
mod from_config;
mod head;
mod hrda;
mod isa;
mod layer;
mod linear_head;
mod segformer_head;
mod segmentor;
mod vit_backbone;

pub use aspp::AsppConfig;
pub use backbone::{Backbone, BackboneConfig};
pub use daformer_head::{DaformerHead, DaformerHeadConfig, separable_aspp};
pub use deeplab_head::{DeeplabHead, DeeplabHeadConfig};
pub use discriminator::{Discriminator, DiscriminatorConfig};
pub use head::{Head, HeadConfig};
pub use hrda::{CropBox, Detail, DetailCrop, DetailFeatures, HrdaConfig, ScaleAttention};
pub use isa::IsaConfig;
pub use layer::LayerConfig;
pub use linear_head::{LinearHead, LinearHeadConfig};
pub use segformer_head::{SegformerHead, SegformerHeadConfig};
pub use segmentor::{Output, Segmentor, SegmentorConfig};
pub use vit_backbone::{VitBackbone, VitBackboneConfig};
