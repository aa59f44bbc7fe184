//! The backbones under one name.

use candle_core::{Result, Tensor};
use mic_nn::forward::Forward;
use mic_nn::models::mit::{Mit, MitConfig};
use mic_nn::models::resnet::{NormKind, ResNet, ResNetConfig};
use mic_nn::params::Scope;

use super::vit_backbone::{VitBackbone, VitBackboneConfig};

/// Which backbone, and its shape.
#[derive(Clone, Debug, PartialEq)]
pub enum BackboneConfig {
    /// A Mix Transformer.
    Mit(MitConfig),
    /// A residual network.
    ResNet(ResNetConfig),
    /// A plain vision transformer.
    Vit(VitBackboneConfig),
}

impl BackboneConfig {
    /// Channels of every level, in the order of the maps.
    pub fn channels(&self) -> Vec<usize> {
        match self {
            Self::Mit(mit) => mit.embed_dims.clone(),
            Self::ResNet(resnet) => resnet.channels(),
            Self::Vit(vit) => vec![vit.vit.dim; vit.blocks.len()],
        }
    }

    /// Pixels of the image between neighbouring positions of every level.
    pub fn strides(&self) -> Vec<f64> {
        match self {
            Self::Mit(mit) => (0..mit.embed_dims.len())
                .map(|stage| f64::from(4u32 << stage.min(16)))
                .collect(),
            Self::ResNet(resnet) => {
                let mut stride = 4;
                let next = |&factor: &usize| {
                    stride *= factor;
                    stride as f64
                };
                resnet.strides.iter().map(next).collect()
            }
            Self::Vit(vit) => {
                let patch = vit.vit.patch as f64;
                vit.scales.iter().map(|scale| patch / scale).collect()
            }
        }
    }

    /// Whether images of one batch influence each other in training mode.
    pub fn mixes_images(&self) -> bool {
        matches!(self, Self::ResNet(resnet) if resnet.norm == NormKind::Batch)
    }

    /// Checks that the options fit together.
    ///
    /// # Errors
    /// Names the option that does not fit.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Mit(mit) => mit.check(),
            Self::ResNet(resnet) => resnet.check(),
            Self::Vit(vit) => vit.check(),
        }
    }
}

impl From<MitConfig> for BackboneConfig {
    fn from(mit: MitConfig) -> Self {
        Self::Mit(mit)
    }
}

impl From<ResNetConfig> for BackboneConfig {
    fn from(resnet: ResNetConfig) -> Self {
        Self::ResNet(resnet)
    }
}

impl From<VitBackboneConfig> for BackboneConfig {
    fn from(vit: VitBackboneConfig) -> Self {
        Self::Vit(vit)
    }
}

/// A built backbone.
#[allow(clippy::large_enum_variant)] // one a network: its size is nothing beside its tensors
pub enum Backbone {
    /// A Mix Transformer.
    Mit(Mit),
    /// A residual network.
    ResNet(ResNet),
    /// A plain vision transformer.
    Vit(VitBackbone),
}

impl Backbone {
    /// Declares the backbone's parameters below `scope`.
    ///
    /// # Errors
    /// A configuration that [`BackboneConfig::check`] refuses.
    pub fn new(config: &BackboneConfig, scope: &Scope) -> Result<Self> {
        Ok(match config {
            BackboneConfig::Mit(mit) => Self::Mit(Mit::new(mit, scope)?),
            BackboneConfig::ResNet(resnet) => Self::ResNet(ResNet::new(resnet, scope)?),
            BackboneConfig::Vit(vit) => Self::Vit(VitBackbone::new(vit, scope)?),
        })
    }

    /// Maps (B, C_i, H_i, W_i) of every level, finest first, of an image batch (B, 3, H, W).
    ///
    /// # Errors
    /// When the image does not fit.
    pub fn forward(&self, image: &Tensor, mode: &Forward) -> Result<Vec<Tensor>> {
        match self {
            Self::Mit(mit) => mit.forward(image, mode),
            Self::ResNet(resnet) => resnet.forward(image, mode),
            Self::Vit(vit) => vit.forward(image, mode),
        }
    }
}
