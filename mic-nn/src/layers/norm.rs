//! Normalisation layers.

use candle_core::{DType, Device, Result, Tensor};

use crate::forward::{Forward, NormMode};
use crate::init::Init;
use crate::ops::{self, Normalized};
use crate::params::{Buffer, Scope};

/// `y = (x - mean) / sqrt(var + eps) * gamma + beta` over the last dimension.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// Declares `weight` and `bias` (C) below `scope`.
    pub fn new(scope: &Scope, channels: usize, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: scope.param("weight", channels, Init::Const(1.0))?,
            bias: scope.param("bias", channels, Init::Const(0.0))?,
            eps,
        })
    }

    /// Applies the layer to (..., C).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm(x, &self.weight, &self.bias, self.eps)
    }
}

/// Group normalisation of (B, C, H, W).
#[derive(Clone, Debug)]
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: usize,
    eps: f64,
}

impl GroupNorm {
    /// Declares `weight` and `bias` (C) below `scope`.
    pub fn new(scope: &Scope, groups: usize, channels: usize, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: scope.param("weight", channels, Init::Const(1.0))?,
            bias: scope.param("bias", channels, Init::Const(0.0))?,
            groups,
            eps,
        })
    }

    /// Applies the layer to (B, C, H, W).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::group_norm(x, self.groups, &self.weight, &self.bias, self.eps)
    }
}

/// How a [`BatchNorm2d`] starts and what of it is trained; the default is PyTorch's.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormConfig {
    /// Initial weights.
    pub weight: Init,
    /// Normalises with the running statistics in training, too, and leaves them as they are.
    pub running: bool,
    /// Whether weight and bias get gradients.
    pub trained: bool,
}

impl Default for BatchNormConfig {
    fn default() -> Self {
        Self {
            weight: Init::Const(1.0),
            running: false,
            trained: true,
        }
    }
}

/// Batch normalisation of (B, C, H, W), eps 1e-5.
///
/// With batch statistics it normalises with the biased variance and moves the running statistics
/// by a tenth towards the batch's mean and unbiased variance, as PyTorch does.
#[derive(Clone, Debug)]
pub struct BatchNorm2d {
    weight: Tensor,
    bias: Tensor,
    running_mean: Buffer,
    running_var: Buffer,
    batches: Buffer,
    running: bool,
}

const EPS: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;

impl BatchNorm2d {
    /// Declares `weight`, `bias` and the running statistics below `scope`.
    pub fn new(scope: &Scope, channels: usize) -> Result<Self> {
        Self::with(scope, channels, &BatchNormConfig::default())
    }

    /// The same with other than PyTorch's defaults.
    pub fn with(scope: &Scope, channels: usize, config: &BatchNormConfig) -> Result<Self> {
        let weight = scope.param("weight", channels, config.weight)?;
        let bias = scope.param("bias", channels, Init::Const(0.0))?;
        let (mean, var) = statistics(scope, channels)?;
        let count = Tensor::new(0i64, &Device::Cpu)?;
        Ok(Self {
            weight: trained(weight, config.trained),
            bias: trained(bias, config.trained),
            running_mean: mean,
            running_var: var,
            batches: scope.buffer("num_batches_tracked", count)?,
            running: config.running,
        })
    }

    /// Applies the layer to (B, C, H, W).
    pub fn forward(&self, x: &Tensor, mode: &Forward) -> Result<Tensor> {
        let (weight, bias) = (&self.weight, &self.bias);
        self.apply(
            mode,
            x,
            |[mean, var]| ops::batch_norm_eval(x, weight, bias, mean, var, EPS),
            || ops::batch_norm(x, weight, bias, EPS),
        )
    }

    /// `relu` of [`Self::forward`], as one op.
    pub fn forward_relu(&self, x: &Tensor, mode: &Forward) -> Result<Tensor> {
        let (weight, bias) = (&self.weight, &self.bias);
        self.apply(
            mode,
            x,
            |[mean, var]| ops::batch_norm_relu_eval(x, weight, bias, mean, var, EPS),
            || ops::batch_norm_relu(x, weight, bias, EPS),
        )
    }

    /// `relu` of the sum of [`Self::forward`] and `residual`, which is like `x`, as one op.
    pub fn forward_add_relu(
        &self,
        x: &Tensor,
        residual: &Tensor,
        mode: &Forward,
    ) -> Result<Tensor> {
        let (weight, bias) = (&self.weight, &self.bias);
        self.apply(
            mode,
            x,
            |[mean, var]| ops::batch_norm_add_relu_eval(x, residual, weight, bias, mean, var, EPS),
            || ops::batch_norm_add_relu(x, residual, weight, bias, EPS),
        )
    }

    /// Normalises with the running statistics or with the batch's, as the mode says, and moves the
    /// running ones where they belong to it.
    fn apply(
        &self,
        mode: &Forward,
        x: &Tensor,
        with_running: impl FnOnce([&Tensor; 2]) -> Result<Tensor>,
        with_batch: impl FnOnce() -> Result<Normalized>,
    ) -> Result<Tensor> {
        let (mean, var) = (self.running_mean.get(), self.running_var.get());
        if self.running || mode.norm == NormMode::Running {
            return with_running([&mean, &var]);
        }
        let (y, batch_mean, batch_var) = with_batch()?;
        if mode.norm == NormMode::BatchOnly {
            return Ok(y);
        }
        let (b, _, h, w) = x.dims4()?;
        let count = (b * h * w) as f64;
        let towards = |old: &Tensor, new: &Tensor, factor: f64| {
            let new = new.to_dtype(old.dtype())?;
            (old * (1.0 - MOMENTUM))? + (new * (MOMENTUM * factor))?
        };
        self.running_mean.set(towards(&mean, &batch_mean, 1.0)?);
        self.running_var
            .set(towards(&var, &batch_var, count / (count - 1.0))?);
        self.batches.set((self.batches.get() + 1.0)?);
        Ok(y)
    }
}

/// Batch normalisation of (B, C, H, W) that never learns: weight, bias and statistics are buffers,
/// no gradient reaches them, and they are the same in training and evaluation.
///
/// `y = (x - running_mean) * weight / sqrt(running_var + eps) + bias`. torchvision's layer of this name has an eps of
/// 1e-5; the one of maskrcnn-benchmark has none, and a variance of 0 gives infinities there.
#[derive(Clone, Debug)]
pub struct FrozenBatchNorm2d {
    weight: Buffer,
    bias: Buffer,
    running_mean: Buffer,
    running_var: Buffer,
    eps: f64,
}

impl FrozenBatchNorm2d {
    /// Declares the buffers `weight`, `bias`, `running_mean` and `running_var` (C) below `scope`,
    /// of values 1, 0, 0 and 1.
    pub fn new(scope: &Scope, channels: usize, eps: f64) -> Result<Self> {
        let weight = scope.buffer("weight", Tensor::ones(channels, DType::F32, &Device::Cpu)?)?;
        let bias = scope.buffer("bias", Tensor::zeros(channels, DType::F32, &Device::Cpu)?)?;
        let (running_mean, running_var) = statistics(scope, channels)?;
        Ok(Self {
            weight,
            bias,
            running_mean,
            running_var,
            eps,
        })
    }

    /// Applies the layer to (B, C, H, W).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [weight, bias, mean, var] = self.constants();
        ops::batch_norm_eval(x, &weight, &bias, &mean, &var, self.eps)
    }

    /// `relu` of [`Self::forward`], as one op.
    pub fn forward_relu(&self, x: &Tensor) -> Result<Tensor> {
        let [weight, bias, mean, var] = self.constants();
        ops::batch_norm_relu_eval(x, &weight, &bias, &mean, &var, self.eps)
    }

    /// `relu` of the sum of [`Self::forward`] and `residual`, which is like `x`, as one op.
    pub fn forward_add_relu(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let [weight, bias, mean, var] = self.constants();
        ops::batch_norm_add_relu_eval(x, residual, &weight, &bias, &mean, &var, self.eps)
    }

    /// The buffers, which may have been loaded or averaged since the last time.
    fn constants(&self) -> [Tensor; 4] {
        [
            &self.weight,
            &self.bias,
            &self.running_mean,
            &self.running_var,
        ]
        .map(Buffer::get)
    }
}

/// The buffers `running_mean` and `running_var`.
fn statistics(scope: &Scope, channels: usize) -> Result<(Buffer, Buffer)> {
    let cpu = &Device::Cpu;
    let zeros = Tensor::zeros(channels, DType::F32, cpu)?;
    let ones = Tensor::ones(channels, DType::F32, cpu)?;
    Ok((
        scope.buffer("running_mean", zeros)?,
        scope.buffer("running_var", ones)?,
    ))
}

/// A parameter, or a view of its values that no gradient passes.
fn trained(parameter: Tensor, trained: bool) -> Tensor {
    match trained {
        true => parameter,
        false => parameter.detach(),
    }
}
