//! Batch normalisation of feature vectors.

use candle_core::{Result, Tensor};
use mic_nn::forward::{Forward, NormMode};
use mic_nn::layers::BatchNorm2d;
use mic_nn::params::Scope;

/// Batch normalisation of (B, C), eps 1e-5, with PyTorch's running statistics.
#[derive(Clone, Debug)]
pub struct BatchNorm1d(BatchNorm2d);

impl BatchNorm1d {
    /// Declares `weight`, `bias` and the running statistics (C) below `scope`.
    ///
    /// # Errors
    /// Names that are taken.
    pub fn new(scope: &Scope, channels: usize) -> Result<Self> {
        BatchNorm2d::new(scope, channels).map(Self)
    }

    /// `relu` of the normalised (B, C).
    ///
    /// # Errors
    /// Another shape, or the statistics of a batch of one: they do not exist.
    pub fn forward_relu(&self, x: &Tensor, mode: &Forward) -> Result<Tensor> {
        let (batch, channels) = x.dims2()?;
        if batch < 2 && mode.norm != NormMode::Running {
            candle_core::bail!(
                "batch norm needs at least 2 images a batch in training, got {batch}"
            )
        }
        let map = x.reshape((batch, channels, 1, 1))?;
        self.0.forward_relu(&map, mode)?.reshape((batch, channels))
    }
}
