//! Convolution layers.

use candle_core::{Result, Tensor};

use crate::init::Init;
use crate::ops::{self, Conv2dOptions};
use crate::params::Scope;

/// Shape and initialisation of a [`Conv2d`]; the defaults are a 1x1 convolution with bias.
#[derive(Clone, Debug)]
pub struct Conv2dConfig {
    /// Kernel height and width.
    pub kernel: usize,
    /// Step between outputs.
    pub stride: usize,
    /// Zeros added on every side.
    pub padding: usize,
    /// Distance between kernel taps.
    pub dilation: usize,
    /// Number of groups of channels.
    pub groups: usize,
    /// Whether there is a bias, and its initial values.
    pub bias: Option<Init>,
    /// Initial weights.
    pub weight: Init,
}

impl Conv2dConfig {
    /// A `kernel` x `kernel` convolution that keeps the size, without bias.
    pub fn same(kernel: usize, weight: Init) -> Self {
        Self {
            kernel,
            stride: 1,
            padding: kernel / 2,
            dilation: 1,
            groups: 1,
            bias: None,
            weight,
        }
    }

    /// The same with a dilation, padded so that the size stays.
    pub fn dilated(self, dilation: usize) -> Self {
        Self {
            dilation,
            padding: dilation * (self.kernel / 2),
            ..self
        }
    }
}

/// 2-d convolution (B, Cin, H, W) to (B, Cout, H', W'), zero padding, PyTorch's semantics.
#[derive(Clone, Debug)]
pub struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    options: Conv2dOptions,
}

impl Conv2d {
    /// Declares `weight` (Cout, Cin/groups, k, k) and, if wanted, `bias` (Cout) below `scope`.
    pub fn new(
        scope: &Scope,
        inputs: usize,
        outputs: usize,
        config: &Conv2dConfig,
    ) -> Result<Self> {
        let &Conv2dConfig {
            kernel,
            stride,
            padding,
            dilation,
            groups,
            bias,
            weight,
        } = config;
        let weight = scope.param("weight", (outputs, inputs / groups, kernel, kernel), weight)?;
        let bias = bias.map(|init| scope.param("bias", outputs, init));
        Ok(Self {
            weight,
            bias: bias.transpose()?,
            options: Conv2dOptions {
                stride: (stride, stride),
                padding: (padding, padding),
                dilation: (dilation, dilation),
                groups,
            },
        })
    }

    /// Applies the layer to (B, Cin, H, W).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::conv2d(x, &self.weight, self.bias.as_ref(), &self.options)
    }
}

/// Depthwise 3x3 convolution with bias over tokens (B, H*W, C), size kept.
#[derive(Clone, Debug)]
pub struct DepthwiseTokens {
    weight: Tensor,
    bias: Tensor,
}

impl DepthwiseTokens {
    /// Declares `weight` (C, 1, 3, 3) and `bias` (C) below `scope`.
    pub fn new(scope: &Scope, channels: usize, weight: Init) -> Result<Self> {
        Ok(Self {
            weight: scope.param("weight", (channels, 1, 3, 3), weight)?,
            bias: scope.param("bias", channels, Init::Const(0.0))?,
        })
    }

    /// Applies the layer to the tokens of a `height` x `width` map.
    pub fn forward(&self, tokens: &Tensor, height: usize, width: usize) -> Result<Tensor> {
        let (b, n, c) = tokens.dims3()?;
        let options = Conv2dOptions {
            padding: (1, 1),
            ..Conv2dOptions::default()
        };
        let map = tokens.reshape((b, height, width, c))?;
        ops::depthwise_conv2d_nhwc(&map, &self.weight, Some(&self.bias), &options)?
            .reshape((b, n, c))
    }
}

/// A convolution whose stride equals its kernel, with bias, from tokens (B, H*W, Cin) to tokens
/// (B, (H/r)*(W/r), Cout): a linear layer on patches.
#[derive(Clone, Debug)]
pub struct PatchLinear {
    weight: Tensor,
    bias: Tensor,
    patch: usize,
}

impl PatchLinear {
    /// Declares `weight` (Cout, Cin, r, r) and `bias` (Cout) below `scope`.
    pub fn new(
        scope: &Scope,
        inputs: usize,
        outputs: usize,
        patch: usize,
        weight: Init,
    ) -> Result<Self> {
        Ok(Self {
            weight: scope.param("weight", (outputs, inputs, patch, patch), weight)?,
            bias: scope.param("bias", outputs, Init::Const(0.0))?,
            patch,
        })
    }

    /// Applies the layer to the tokens of a `height` x `width` map; rows and columns that do not
    /// fill a patch are dropped.
    pub fn forward(&self, tokens: &Tensor, height: usize, width: usize) -> Result<Tensor> {
        let (outputs, inputs, r, _) = self.weight.dims4()?;
        let flat = self.weight.flatten_from(2)?; // (Cout, Cin, r*r)
        let flat = ops::swap_last(&flat)?.reshape((outputs, r * r * inputs))?;
        let patches = ops::patchify(tokens, height, width, self.patch)?;
        ops::linear(&patches, &flat, Some(&self.bias))
    }
}
