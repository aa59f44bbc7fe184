//! The networks that turn an image into a feature vector.

use candle_core::{Result, Tensor};
use mic_nn::forward::Forward;
use mic_nn::layers::Linear;
use mic_nn::models::resnet::{ResNet, ResNetConfig};
use mic_nn::models::vit::{Vit, VitConfig};
use mic_nn::ops;
use mic_nn::params::Scope;

use super::{LeNet, LeNetConfig};

/// Which backbone, and its sizes.
#[derive(Clone, Debug, PartialEq)]
pub enum BackboneConfig {
    /// Torchvision's residual networks. Their maps are averaged.
    ///
    /// As in the reference the ImageNet classifier `fc` may stay in the model (`classes`): no
    /// gradient reaches it, so that it is neither trained nor perturbed nor decayed, but it is in
    /// the checkpoints and in the teacher's average.
    ResNet(ResNetConfig),
    /// Vision transformers, pooled as their configuration says: class token (ViT, DINOv2) or mean
    /// (MAE).
    Vit(VitConfig),
    /// CDAN's network for digits.
    LeNet(LeNetConfig),
    /// A linear map of all pixels of an image, or of features that were computed before.
    Linear {
        /// Numbers an image has: channels times height times width.
        inputs: usize,
        /// Features.
        outputs: usize,
    },
}

impl BackboneConfig {
    /// Number of features.
    pub fn features(&self) -> usize {
        match self {
            Self::ResNet(config) => config.channels().last().copied().unwrap_or(0),
            Self::Vit(config) => config.dim,
            Self::LeNet(config) => config.features,
            Self::Linear { outputs, .. } => *outputs,
        }
    }
}

/// A backbone with its pooling.
pub enum Backbone {
    /// [`BackboneConfig::ResNet`].
    ResNet(ResNet),
    /// [`BackboneConfig::Vit`].
    Vit(Vit),
    /// [`BackboneConfig::LeNet`].
    LeNet(LeNet),
    /// [`BackboneConfig::Linear`].
    Linear(Linear),
}

impl Backbone {
    /// Declares the network's parameters below `scope`.
    ///
    /// # Errors
    /// A configuration that cannot be built.
    pub fn new(config: &BackboneConfig, scope: &Scope) -> Result<Self> {
        Ok(match config {
            BackboneConfig::ResNet(config) => Self::ResNet(ResNet::new(config, scope)?),
            BackboneConfig::Vit(config) => Self::Vit(Vit::new(config, scope)?),
            BackboneConfig::LeNet(config) => Self::LeNet(LeNet::new(config, scope)?),
            BackboneConfig::Linear { inputs, outputs } => {
                Self::Linear(Linear::torch_default(scope, *inputs, *outputs)?)
            }
        })
    }

    /// Features (B, F) of an image batch (B, 3, H, W).
    ///
    /// # Errors
    /// Images that do not fit the network.
    pub fn forward(&self, image: &Tensor, mode: &Forward) -> Result<Tensor> {
        match self {
            Self::ResNet(net) => match net.forward(image, mode)?.pop() {
                Some(map) => ops::global_avg_pool2d(&map),
                None => candle_core::bail!("the ResNet has no stage"),
            },
            Self::Vit(net) => net.forward(image, mode),
            Self::LeNet(net) => net.forward(image, mode),
            Self::Linear(layer) => layer.forward(&image.flatten_from(1)?),
        }
    }
}
