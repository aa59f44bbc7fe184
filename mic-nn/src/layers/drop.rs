//! Dropout of elements, channels and residual branches. The flags come from the forward pass's
//! [`Drops`](crate::forward::Drops), by the layer's path.

use candle_core::{Result, Tensor};

use crate::forward::Forward;
use crate::ops;

/// Drops single elements of a tensor of any shape; the rest is divided by `1 - rate`.
#[derive(Clone, Debug)]
pub struct Dropout {
    site: String,
    rate: f64,
}

impl Dropout {
    /// Dropout at `site` with probability `rate`.
    pub fn new(site: impl Into<String>, rate: f64) -> Self {
        let site = site.into();
        Self { site, rate }
    }

    /// Applies the layer.
    pub fn forward(&self, x: &Tensor, mode: &Forward) -> Result<Tensor> {
        let Some(drops) = mode.drops.filter(|_| self.rate > 0.0) else {
            return Ok(x.clone());
        };
        let keep = drops.keep(&self.site, self.rate, x.elem_count());
        ops::dropout(x, &keep, self.rate)
    }
}

/// Drops whole channels of (B, C, H, W); the rest is divided by `1 - rate`.
#[derive(Clone, Debug)]
pub struct Dropout2d {
    site: String,
    rate: f64,
}

impl Dropout2d {
    /// Dropout at `site` with probability `rate`.
    pub fn new(site: impl Into<String>, rate: f64) -> Self {
        let site = site.into();
        Self { site, rate }
    }

    /// Applies the layer to (B, C, H, W).
    pub fn forward(&self, x: &Tensor, mode: &Forward) -> Result<Tensor> {
        let Some(drops) = mode.drops.filter(|_| self.rate > 0.0) else {
            return Ok(x.clone());
        };
        let (b, c, _, _) = x.dims4()?;
        let keep = drops.keep(&self.site, self.rate, b * c);
        ops::dropout2d(x, &keep, self.rate)
    }
}

/// Adds a residual branch whose samples are dropped with probability `rate` (stochastic depth).
#[derive(Clone, Debug)]
pub struct DropPath {
    site: String,
    rate: f64,
}

impl DropPath {
    /// Stochastic depth at `site` with probability `rate`.
    pub fn new(site: impl Into<String>, rate: f64) -> Self {
        let site = site.into();
        Self { site, rate }
    }

    /// `residual + branch * keep / (1 - rate)`, one flag a sample.
    pub fn add(&self, residual: &Tensor, branch: &Tensor, mode: &Forward) -> Result<Tensor> {
        let Some(drops) = mode.drops.filter(|_| self.rate > 0.0) else {
            return ops::add(residual, branch);
        };
        let keep = drops.keep(&self.site, self.rate, residual.dim(0)?);
        ops::add_drop_path(residual, branch, &keep, self.rate)
    }
}
