//! The layers that a DAFormer head embeds and fuses with (DAFormer, sec. 3.2 and tab. 7).

use candle_core::{Result, Tensor};
use mic_nn::forward::Forward;
use mic_nn::init::Init;
use mic_nn::layers::{Conv2d, Conv2dConfig};
use mic_nn::ops::{self, Conv2dOptions};
use mic_nn::params::Scope;

use super::aspp::{Aspp, AsppConfig};
use super::conv_module::{ConvModule, SeparableConv};
use super::isa::{Isa, IsaConfig};

/// A layer from maps to maps of the same size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerConfig {
    /// The map itself.
    Identity,
    /// A linear layer on the channels, with bias.
    Mlp,
    /// Convolution, batch norm, ReLU.
    Conv {
        /// Height and width of the kernel.
        kernel: usize,
    },
    /// A depthwise and a 1x1 convolution, each with batch norm and ReLU.
    SeparableConv {
        /// Height and width of the depthwise kernel.
        kernel: usize,
    },
    /// Atrous spatial pyramid pooling.
    Aspp(AsppConfig),
    /// A convolution with bias alone, then the pyramid.
    ConvAspp {
        /// Height and width of the kernel.
        kernel: usize,
        /// The pyramid.
        aspp: AsppConfig,
    },
    /// Interlaced sparse self-attention.
    Isa(IsaConfig),
}

impl LayerConfig {
    /// Channels of the layer's output: `outputs`, or the inputs' where it changes nothing.
    pub fn channels(&self, inputs: usize, outputs: usize) -> usize {
        match self {
            Self::Identity => inputs,
            _ => outputs,
        }
    }
}

/// A linear layer on channels, stored as PyTorch's and applied to maps.
pub(super) struct Embedding {
    weight: Tensor,
    bias: Tensor,
}

impl Embedding {
    /// Declares `weight` (Cout, Cin) and `bias` (Cout) below `scope`.
    pub(super) fn new(scope: &Scope, inputs: usize, outputs: usize) -> Result<Self> {
        let init = Init::torch_default(inputs);
        Ok(Self {
            weight: scope.param("weight", (outputs, inputs), init)?,
            bias: scope.param("bias", outputs, init)?,
        })
    }

    /// (B, Cin, H, W) to (B, Cout, H, W).
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (outputs, inputs) = self.weight.dims2()?;
        let weight = self.weight.reshape((outputs, inputs, 1, 1))?;
        ops::conv2d(x, &weight, Some(&self.bias), &Conv2dOptions::default())
    }
}

/// A built [`LayerConfig`].
#[allow(clippy::large_enum_variant)] // one a network: its size is nothing beside its tensors
pub(super) enum Layer {
    Identity,
    Mlp(Embedding),
    Conv(ConvModule),
    SeparableConv(SeparableConv),
    Aspp(Aspp),
    ConvAspp(Conv2d, Aspp),
    Isa(Isa),
}

impl Layer {
    /// Declares the layer's parameters below `scope`, named as in the published checkpoints.
    pub(super) fn new(
        config: &LayerConfig,
        scope: &Scope,
        inputs: usize,
        outputs: usize,
    ) -> Result<Self> {
        Ok(match config {
            LayerConfig::Identity => Self::Identity,
            LayerConfig::Mlp => Self::Mlp(Embedding::new(&scope.sub("proj"), inputs, outputs)?),
            LayerConfig::Conv { kernel } => {
                Self::Conv(ConvModule::square(scope, inputs, outputs, (*kernel, 1))?)
            }
            LayerConfig::SeparableConv { kernel } => {
                Self::SeparableConv(SeparableConv::new(scope, inputs, outputs, (*kernel, 1))?)
            }
            LayerConfig::Aspp(aspp) => Self::Aspp(Aspp::new(aspp, scope, inputs, outputs)?),
            LayerConfig::ConvAspp { kernel, aspp } => {
                let init = Init::torch_default(inputs * kernel * kernel);
                let conv = Conv2dConfig {
                    bias: Some(init),
                    ..Conv2dConfig::same(*kernel, init)
                };
                Self::ConvAspp(
                    Conv2d::new(&scope.sub(0), inputs, outputs, &conv)?,
                    Aspp::new(aspp, &scope.sub(1), outputs, outputs)?,
                )
            }
            LayerConfig::Isa(isa) => Self::Isa(Isa::new(isa, scope, inputs, outputs)?),
        })
    }

    /// (B, Cin, H, W) to (B, Cout, H, W).
    pub(super) fn forward(&self, x: &Tensor, mode: &Forward) -> Result<Tensor> {
        match self {
            Self::Identity => Ok(x.clone()),
            Self::Mlp(linear) => linear.forward(x),
            Self::Conv(conv) => conv.forward(x, mode),
            Self::SeparableConv(conv) => conv.forward(x, mode),
            Self::Aspp(aspp) => aspp.forward(x, mode),
            Self::ConvAspp(conv, aspp) => aspp.forward(&conv.forward(x)?, mode),
            Self::Isa(isa) => isa.forward(x, mode),
        }
    }
}
