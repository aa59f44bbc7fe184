//! Convolutions with their norms, and the residual blocks made of them.

use candle_core::{Result, Tensor};

use super::config::{BlockKind, ConvInit, NormKind, ResNetConfig};
use crate::forward::Forward;
use crate::init::Init;
use crate::layers::{BatchNorm2d, BatchNormConfig, FrozenBatchNorm2d};
use crate::ops::{self, Conv2dOptions};
use crate::params::Scope;

/// Size, stride, dilation and groups of a convolution that is padded by half its extent.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    size: usize,
    stride: usize,
    dilation: usize,
    groups: usize,
}

impl Kernel {
    pub(super) fn new(size: usize, stride: usize) -> Self {
        Self {
            size,
            stride,
            dilation: 1,
            groups: 1,
        }
    }

    fn options(self) -> Conv2dOptions {
        let padding = self.dilation * (self.size / 2);
        Conv2dOptions {
            stride: (self.stride, self.stride),
            padding: (padding, padding),
            dilation: (self.dilation, self.dilation),
            groups: self.groups,
        }
    }
}

/// Where a part of the network declares its tensors, and how.
pub(super) struct Part<'a> {
    pub(super) config: &'a ResNetConfig,
    pub(super) scope: Scope,
    /// Whether anything in this part is trained.
    pub(super) trained: bool,
}

impl Part<'_> {
    /// The convolution `conv` and the norm `norm`; `weight` is what the norm's weight starts from.
    pub(super) fn unit(
        &self,
        conv: &str,
        norm: &str,
        (inputs, outputs): (usize, usize),
        kernel: Kernel,
        weight: Init,
    ) -> Result<ConvNorm> {
        let inputs = inputs / kernel.groups;
        let init = match self.config.init {
            ConvInit::KaimingNormal => Init::KaimingFanOut,
            ConvInit::LecunUniform => {
                let fan_in = (inputs * kernel.size * kernel.size) as f64;
                let bound = (3.0 / fan_in).sqrt();
                Init::Uniform { bound }
            }
        };
        let shape = (outputs, inputs, kernel.size, kernel.size);
        let conv = self.scope.sub(conv).param("weight", shape, init)?;
        Ok(ConvNorm {
            // Still a parameter of the store, but one that no gradient reaches.
            weight: if self.trained { conv } else { conv.detach() },
            options: kernel.options(),
            norm: self.norm(&self.scope.sub(norm), outputs, weight)?,
        })
    }

    fn norm(&self, scope: &Scope, channels: usize, weight: Init) -> Result<Norm> {
        let running = match self.config.norm {
            NormKind::Frozen { eps } => {
                return FrozenBatchNorm2d::new(scope, channels, eps).map(Norm::Frozen);
            }
            NormKind::Batch => !self.trained,
            NormKind::Running => true,
        };
        let config = BatchNormConfig {
            weight,
            running,
            trained: self.trained,
        };
        BatchNorm2d::with(scope, channels, &config).map(Norm::Batch)
    }
}

enum Norm {
    Batch(BatchNorm2d),
    Frozen(FrozenBatchNorm2d),
}

/// A convolution without bias and the norm behind it.
pub(super) struct ConvNorm {
    weight: Tensor,
    options: Conv2dOptions,
    norm: Norm,
}

impl ConvNorm {
    pub(super) fn forward(&self, x: &Tensor, mode: &Forward) -> Result<Tensor> {
        let x = self.convolve(x)?;
        match &self.norm {
            Norm::Batch(norm) => norm.forward(&x, mode),
            Norm::Frozen(norm) => norm.forward(&x),
        }
    }

    pub(super) fn forward_relu(&self, x: &Tensor, mode: &Forward) -> Result<Tensor> {
        let x = self.convolve(x)?;
        match &self.norm {
            Norm::Batch(norm) => norm.forward_relu(&x, mode),
            Norm::Frozen(norm) => norm.forward_relu(&x),
        }
    }

    fn forward_add_relu(&self, x: &Tensor, residual: &Tensor, mode: &Forward) -> Result<Tensor> {
        let x = self.convolve(x)?;
        match &self.norm {
            Norm::Batch(norm) => norm.forward_add_relu(&x, residual, mode),
            Norm::Frozen(norm) => norm.forward_add_relu(&x, residual),
        }
    }

    fn convolve(&self, x: &Tensor) -> Result<Tensor> {
        ops::conv2d(x, &self.weight, None, &self.options)
    }
}

/// `relu(F(x) + shortcut(x))`, where `F` is two or three convolutions with norms, ReLU between
/// them.
pub(super) struct Block {
    inner: Vec<ConvNorm>,
    last: ConvNorm,
    /// A 1x1 convolution where the number of channels or the size changes.
    downsample: Option<ConvNorm>,
}

impl Block {
    /// The block number `index` of a stage, from 0, on `inputs` channels.
    pub(super) fn new(part: &Part, stage: usize, index: usize, inputs: usize) -> Result<Self> {
        let config = part.config;
        let width = config.width_of(stage);
        let outputs = width * config.expansion;
        let stride = if index == 0 { config.strides[stage] } else { 1 };
        let (first_stride, stride_3x3) = match config.stride_in_1x1 {
            true => (stride, 1),
            false => (1, stride),
        };
        let dilated = Kernel {
            size: 3,
            stride: stride_3x3,
            dilation: config.dilation_of(stage, index),
            groups: config.groups,
        };
        let layers = match config.block {
            BlockKind::Basic => vec![
                (inputs, width, dilated),
                (width, outputs, Kernel::new(3, 1)),
            ],
            BlockKind::Bottleneck => vec![
                (inputs, width, Kernel::new(1, first_stride)),
                (width, width, dilated),
                (width, outputs, Kernel::new(1, 1)),
            ],
        };
        let residual = match config.zero_init_residual {
            true => Init::Const(0.0),
            false => ONE,
        };
        let count = layers.len();
        let unit = |i: usize, weight: Init| {
            let (inputs, outputs, kernel) = layers[i];
            let (conv, norm) = (format!("conv{}", i + 1), format!("bn{}", i + 1));
            part.unit(&conv, &norm, (inputs, outputs), kernel, weight)
        };
        let inner = (0..count - 1)
            .map(|i| unit(i, ONE))
            .collect::<Result<_>>()?;
        let last = unit(count - 1, residual)?;
        let downsample = match stride != 1 || inputs != outputs {
            true => {
                let kernel = Kernel::new(1, stride);
                let channels = (inputs, outputs);
                Some(part.unit("downsample.0", "downsample.1", channels, kernel, ONE)?)
            }
            false => None,
        };
        Ok(Self {
            inner,
            last,
            downsample,
        })
    }

    pub(super) fn forward(&self, x: &Tensor, mode: &Forward) -> Result<Tensor> {
        let mut y = x.clone();
        for unit in &self.inner {
            y = unit.forward_relu(&y, mode)?;
        }
        let shortcut = match &self.downsample {
            Some(unit) => unit.forward(x, mode)?,
            None => x.clone(),
        };
        self.last.forward_add_relu(&y, &shortcut, mode)
    }
}

/// What a norm's weight starts from, but for the last of a block.
pub(super) const ONE: Init = Init::Const(1.0);
