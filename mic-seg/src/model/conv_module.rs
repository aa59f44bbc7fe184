//! Convolutions with batch norm and ReLU, as MMSegmentation's heads are made of.

use candle_core::{Result, Tensor};
use mic_nn::forward::Forward;
use mic_nn::init::Init;
use mic_nn::layers::{BatchNorm2d, Conv2d, Conv2dConfig};
use mic_nn::params::Scope;

/// Convolution without bias, batch norm, ReLU: (B, Cin, H, W) to (B, Cout, H, W).
pub(super) struct ConvModule {
    conv: Conv2d,
    bn: BatchNorm2d,
}

impl ConvModule {
    /// Declares `conv.weight` and `bn.*` below `scope`.
    pub(super) fn new(
        scope: &Scope,
        inputs: usize,
        outputs: usize,
        config: &Conv2dConfig,
    ) -> Result<Self> {
        Ok(Self {
            conv: Conv2d::new(&scope.sub("conv"), inputs, outputs, config)?,
            bn: BatchNorm2d::new(&scope.sub("bn"), outputs)?,
        })
    }

    /// One with a square kernel that keeps the size.
    pub(super) fn square(
        scope: &Scope,
        inputs: usize,
        outputs: usize,
        (kernel, dilation): (usize, usize),
    ) -> Result<Self> {
        let config = Conv2dConfig::same(kernel, Init::KaimingFanOut).dilated(dilation);
        Self::new(scope, inputs, outputs, &config)
    }

    pub(super) fn forward(&self, x: &Tensor, mode: &Forward) -> Result<Tensor> {
        self.bn.forward_relu(&self.conv.forward(x)?, mode)
    }
}

/// A depthwise convolution and a 1x1 one, both with batch norm and ReLU.
pub(super) struct SeparableConv {
    depthwise: ConvModule,
    pointwise: ConvModule,
}

impl SeparableConv {
    /// Declares `depthwise_conv` and `pointwise_conv` below `scope`. The fan of the depthwise
    /// convolution's initial weights does not count its groups, as in PyTorch.
    pub(super) fn new(
        scope: &Scope,
        inputs: usize,
        outputs: usize,
        (kernel, dilation): (usize, usize),
    ) -> Result<Self> {
        let depthwise = Conv2dConfig {
            groups: inputs,
            ..Conv2dConfig::same(kernel, Init::KaimingFanOut).dilated(dilation)
        };
        Ok(Self {
            depthwise: ConvModule::new(&scope.sub("depthwise_conv"), inputs, inputs, &depthwise)?,
            pointwise: ConvModule::square(&scope.sub("pointwise_conv"), inputs, outputs, (1, 1))?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor, mode: &Forward) -> Result<Tensor> {
        self.pointwise
            .forward(&self.depthwise.forward(x, mode)?, mode)
    }
}

/// The last 1x1 convolution, with bias: weights normal with deviation 0.01, bias 0.
pub(super) fn classifier(scope: &Scope, inputs: usize, classes: usize) -> Result<Conv2d> {
    let config = Conv2dConfig {
        bias: Some(Init::Const(0.0)),
        ..Conv2dConfig::same(1, Init::Normal { std: 0.01 })
    };
    Conv2d::new(scope, inputs, classes, &config)
}
