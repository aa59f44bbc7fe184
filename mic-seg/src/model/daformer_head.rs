//! DAFormer head: every level embedded to one width, resized to the finest level, concatenated in
//! the order of the levels, fused by a depthwise-separable ASPP, classified (DAFormer, sec. 3.2).

use candle_core::{Result, Tensor};
use mic_nn::forward::Forward;
use mic_nn::init::Init;
use mic_nn::layers::{BatchNorm2d, Conv2d, Conv2dConfig, Dropout2d};
use mic_nn::ops::{self, Conv2dOptions};
use mic_nn::params::Scope;

/// Shape of a [`DaformerHead`].
#[derive(Clone, Debug, PartialEq)]
pub struct DaformerHeadConfig {
    /// Channels of each level of the backbone.
    pub in_channels: Vec<usize>,
    /// Width of every level's embedding.
    pub embed: usize,
    /// Channels of the fusion and of its output.
    pub channels: usize,
    /// Dilations of the ASPP branches; 1 is a 1x1 convolution.
    pub dilations: Vec<usize>,
    /// Drop probability of a channel before the classifier.
    pub dropout: f64,
    /// Number of classes.
    pub classes: usize,
}

/// Convolution without bias, batch norm, ReLU.
struct ConvModule {
    conv: Conv2d,
    bn: BatchNorm2d,
}

impl ConvModule {
    fn new(scope: &Scope, inputs: usize, outputs: usize, config: &Conv2dConfig) -> Result<Self> {
        Ok(Self {
            conv: Conv2d::new(&scope.sub("conv"), inputs, outputs, config)?,
            bn: BatchNorm2d::new(&scope.sub("bn"), outputs)?,
        })
    }

    fn forward(&self, x: &Tensor, mode: &Forward) -> Result<Tensor> {
        self.bn.forward_relu(&self.conv.forward(x)?, mode)
    }
}

enum AsppBranch {
    Pointwise(ConvModule),
    Separable {
        depthwise: ConvModule,
        pointwise: ConvModule,
    },
}

impl AsppBranch {
    fn new(scope: &Scope, inputs: usize, outputs: usize, dilation: usize) -> Result<Self> {
        let pointwise = Conv2dConfig::same(1, Init::KaimingFanOut);
        if dilation == 1 {
            return Ok(Self::Pointwise(ConvModule::new(
                scope, inputs, outputs, &pointwise,
            )?));
        }
        let depthwise = Conv2dConfig {
            groups: inputs,
            ..Conv2dConfig::same(3, Init::KaimingFanOut).dilated(dilation)
        };
        Ok(Self::Separable {
            depthwise: ConvModule::new(&scope.sub("depthwise_conv"), inputs, inputs, &depthwise)?,
            pointwise: ConvModule::new(&scope.sub("pointwise_conv"), inputs, outputs, &pointwise)?,
        })
    }

    fn forward(&self, x: &Tensor, mode: &Forward) -> Result<Tensor> {
        match self {
            Self::Pointwise(conv) => conv.forward(x, mode),
            Self::Separable {
                depthwise,
                pointwise,
            } => pointwise.forward(&depthwise.forward(x, mode)?, mode),
        }
    }
}

/// A linear embedding of channels, stored as PyTorch's linear layer and applied to maps.
struct Embedding {
    weight: Tensor,
    bias: Tensor,
}

impl Embedding {
    fn new(scope: &Scope, inputs: usize, outputs: usize) -> Result<Self> {
        let init = Init::torch_default(inputs);
        Ok(Self {
            weight: scope.param("weight", (outputs, inputs), init)?,
            bias: scope.param("bias", outputs, init)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (outputs, inputs) = self.weight.dims2()?;
        let weight = self.weight.reshape((outputs, inputs, 1, 1))?;
        ops::conv2d(x, &weight, Some(&self.bias), &Conv2dOptions::default())
    }
}

/// The head: levels (B, C_i, H_i, W_i) to logits (B, classes, H_0, W_0).
pub struct DaformerHead {
    embeddings: Vec<Embedding>,
    branches: Vec<AsppBranch>,
    bottleneck: ConvModule,
    dropout: Dropout2d,
    classifier: Conv2d,
}

impl DaformerHead {
    /// Declares the head's parameters below `scope`, named as in the published checkpoints.
    pub fn new(config: &DaformerHeadConfig, scope: &Scope) -> Result<Self> {
        let DaformerHeadConfig {
            in_channels,
            embed,
            channels,
            dilations,
            dropout,
            classes,
        } = config;
        let classifier = Conv2dConfig {
            bias: Some(Init::Const(0.0)),
            ..Conv2dConfig::same(1, Init::Normal { std: 0.01 })
        };
        let classifier = Conv2d::new(&scope.sub("conv_seg"), *channels, *classes, &classifier)?;
        let embeddings = in_channels
            .iter()
            .enumerate()
            .map(|(i, &c)| Embedding::new(&scope.sub("embed_layers").sub(i).sub("proj"), c, *embed))
            .collect::<Result<Vec<_>>>()?;
        let fuse = scope.sub("fuse_layer");
        let fused = embed * in_channels.len();
        let branches = dilations
            .iter()
            .enumerate()
            .map(|(i, &d)| AsppBranch::new(&fuse.sub("aspp_modules").sub(i), fused, *channels, d))
            .collect::<Result<Vec<_>>>()?;
        let bottleneck = ConvModule::new(
            &fuse.sub("bottleneck"),
            channels * dilations.len(),
            *channels,
            &Conv2dConfig::same(3, Init::KaimingFanOut),
        )?;
        Ok(Self {
            embeddings,
            branches,
            bottleneck,
            dropout: Dropout2d::new(scope.sub("dropout").path(), *dropout),
            classifier,
        })
    }

    /// Logits at the finest level's size.
    pub fn forward(&self, features: &[Tensor], mode: &Forward) -> Result<Tensor> {
        let (_, _, height, width) = match features.first() {
            Some(finest) if features.len() == self.embeddings.len() => finest.dims4()?,
            _ => candle_core::bail!(
                "the head takes {} feature maps, got {}",
                self.embeddings.len(),
                features.len()
            ),
        };
        let levels = self
            .embeddings
            .iter()
            .zip(features)
            .map(|(embed, x)| ops::resize_bilinear(&embed.forward(x)?, (height, width), false))
            .collect::<Result<Vec<_>>>()?;
        let fused = Tensor::cat(&levels, 1)?;
        let branches = self
            .branches
            .iter()
            .map(|branch| branch.forward(&fused, mode))
            .collect::<Result<Vec<_>>>()?;
        let x = self.bottleneck.forward(&Tensor::cat(&branches, 1)?, mode)?;
        self.classifier.forward(&self.dropout.forward(&x, mode)?)
    }
}
