//! Residual branches with a learned scale a channel.

use candle_core::{Result, Tensor};

use crate::forward::Forward;
use crate::init::Init;
use crate::ops;
use crate::params::Scope;

/// Adds a residual branch that is scaled channel by channel (layer scale) and whose samples are
/// dropped with probability `rate` (stochastic depth): `residual + gamma * branch * keep / (1 -
/// rate)`.
#[derive(Clone, Debug)]
pub struct LayerScale {
    gamma: Tensor,
    site: String,
    rate: f64,
}

impl LayerScale {
    /// Declares `gamma` (C) below `scope`, all `init`; stochastic depth is at `site`.
    pub fn new(
        scope: &Scope,
        channels: usize,
        init: f64,
        site: impl Into<String>,
        rate: f64,
    ) -> Result<Self> {
        Ok(Self {
            gamma: scope.param("gamma", channels, Init::Const(init))?,
            site: site.into(),
            rate,
        })
    }

    /// Adds the branch; both tensors are (B, ..., C).
    pub fn add(&self, residual: &Tensor, branch: &Tensor, mode: &Forward) -> Result<Tensor> {
        let Some(drops) = mode.drops.filter(|_| self.rate > 0.0) else {
            return ops::add_layer_scale(residual, branch, &self.gamma, None);
        };
        let keep = drops.keep(&self.site, self.rate, residual.dim(0)?);
        ops::add_layer_scale(residual, branch, &self.gamma, Some((&keep, self.rate)))
    }
}
