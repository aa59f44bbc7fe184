//! Normalisation layers.

use candle_core::{DType, Device, Result, Tensor};

use crate::forward::{Forward, NormMode};
use crate::init::Init;
use crate::ops;
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
}

const EPS: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;

impl BatchNorm2d {
    /// Declares `weight`, `bias` and the running statistics below `scope`.
    pub fn new(scope: &Scope, channels: usize) -> Result<Self> {
        let cpu = &Device::Cpu;
        let zeros = Tensor::zeros(channels, DType::F32, cpu)?;
        let ones = Tensor::ones(channels, DType::F32, cpu)?;
        let count = Tensor::new(0i64, cpu)?;
        Ok(Self {
            weight: scope.param("weight", channels, Init::Const(1.0))?,
            bias: scope.param("bias", channels, Init::Const(0.0))?,
            running_mean: scope.buffer("running_mean", zeros)?,
            running_var: scope.buffer("running_var", ones)?,
            batches: scope.buffer("num_batches_tracked", count)?,
        })
    }

    /// Applies the layer to (B, C, H, W).
    pub fn forward(&self, x: &Tensor, mode: &Forward) -> Result<Tensor> {
        let (mean, var) = (self.running_mean.get(), self.running_var.get());
        if mode.norm == NormMode::Running {
            return ops::batch_norm_eval(x, &self.weight, &self.bias, &mean, &var, EPS);
        }
        let (y, batch_mean, batch_var) = ops::batch_norm(x, &self.weight, &self.bias, EPS)?;
        if mode.norm == NormMode::BatchOnly {
            return Ok(y);
        }
        let (b, _, h, w) = x.dims4()?;
        let count = (b * h * w) as f64;
        let towards = |old: &Tensor, new: &Tensor, factor: f64| {
            (old * (1.0 - MOMENTUM))? + (new * (MOMENTUM * factor))?
        };
        self.running_mean.set(towards(&mean, &batch_mean, 1.0)?);
        self.running_var
            .set(towards(&var, &batch_var, count / (count - 1.0))?);
        self.batches.set((self.batches.get() + 1.0)?);
        Ok(y)
    }
}
