//! DeepLabV2 head: the sum of dilated convolutions of the last level (DeepLabV2, sec. 3.2). Domain
//! adaptation uses two of them, dilations 6 and 12.

use candle_core::{Result, Tensor};
use mic_nn::init::Init;
use mic_nn::layers::{Conv2d, Conv2dConfig};
use mic_nn::ops;
use mic_nn::params::Scope;

/// Shape of a [`DeeplabHead`].
#[derive(Clone, Debug, PartialEq)]
pub struct DeeplabHeadConfig {
    /// Channels of the backbone's last level.
    pub in_channels: usize,
    /// Dilation of each 3x3 convolution, at least one.
    pub dilations: Vec<usize>,
    /// Number of classes.
    pub classes: usize,
}

/// The head: the last level (B, C, H, W) to logits (B, classes, H, W).
pub struct DeeplabHead {
    branches: Vec<Conv2d>,
}

impl DeeplabHead {
    /// Declares `aspp_modules.*.conv` below `scope`.
    pub fn new(config: &DeeplabHeadConfig, scope: &Scope) -> Result<Self> {
        let branches = config.dilations.iter().enumerate().map(|(i, &dilation)| {
            let conv = Conv2dConfig {
                bias: Some(Init::Const(0.0)),
                ..Conv2dConfig::same(3, Init::Normal { std: 0.01 }).dilated(dilation)
            };
            let scope = scope.sub("aspp_modules").sub(i).sub("conv");
            Conv2d::new(&scope, config.in_channels, config.classes, &conv)
        });
        let branches = branches.collect::<Result<Vec<_>>>()?;
        if branches.is_empty() {
            candle_core::bail!("the DeepLabV2 head needs at least one dilation")
        }
        Ok(Self { branches })
    }

    /// Logits at the last level's size. There is no dropout and no norm.
    pub fn forward(&self, features: &[Tensor]) -> Result<Tensor> {
        let Some(last) = features.last() else {
            candle_core::bail!("the head takes at least one feature map, got none")
        };
        let mut sum = self.branches[0].forward(last)?;
        for branch in &self.branches[1..] {
            sum = ops::add(&sum, &branch.forward(last)?)?;
        }
        Ok(sum)
    }
}
