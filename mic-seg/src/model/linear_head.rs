//! The simplest decoder: batch norm and a 1x1 convolution on the backbone's maps (DINOv2, sec. 7.4).

use candle_core::{Result, Tensor};
use mic_nn::forward::Forward;
use mic_nn::layers::{BatchNorm2d, Conv2d, Dropout2d};
use mic_nn::params::Scope;

use super::conv_module::classifier;
use super::head::{check_levels, concatenate};

/// Shape of a [`LinearHead`].
#[derive(Clone, Debug, PartialEq)]
pub struct LinearHeadConfig {
    /// Channels of each level of the backbone.
    pub in_channels: Vec<usize>,
    /// Drop probability of a channel before the classifier.
    pub dropout: f64,
    /// Number of classes.
    pub classes: usize,
}

/// The head: levels (B, C_i, H_i, W_i) to logits (B, classes, H_0, W_0).
pub struct LinearHead {
    levels: usize,
    bn: BatchNorm2d,
    dropout: Dropout2d,
    classifier: Conv2d,
}

impl LinearHead {
    /// Declares `bn` and `conv_seg` below `scope`.
    pub fn new(config: &LinearHeadConfig, scope: &Scope) -> Result<Self> {
        let channels = config.in_channels.iter().sum();
        Ok(Self {
            levels: config.in_channels.len(),
            bn: BatchNorm2d::new(&scope.sub("bn"), channels)?,
            dropout: Dropout2d::new(scope.sub("dropout").path(), config.dropout),
            classifier: classifier(&scope.sub("conv_seg"), channels, config.classes)?,
        })
    }

    /// Logits at the first level's size.
    pub fn forward(&self, features: &[Tensor], mode: &Forward) -> Result<Tensor> {
        check_levels(features, self.levels)?;
        let x = self.bn.forward(&concatenate(features)?, mode)?;
        self.classifier.forward(&self.dropout.forward(&x, mode)?)
    }
}
