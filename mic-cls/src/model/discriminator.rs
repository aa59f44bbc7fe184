//! The adversary that tells source from target (CDAN, sec. 3).

use candle_core::{Result, Tensor};
use mic_nn::forward::Forward;
use mic_nn::layers::Linear;
use mic_nn::params::Scope;

use super::BatchNorm1d;

/// Sizes of a [`DomainDiscriminator`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiscriminatorConfig {
    /// Width of its input.
    pub inputs: usize,
    /// Width of its two hidden layers (1024 in the paper's runs).
    pub hidden: usize,
}

/// `linear, batch norm, relu`, twice, then a linear layer to one score: how much an input looks like
/// the source.
pub struct DomainDiscriminator {
    hidden: [(Linear, BatchNorm1d); 2],
    last: Linear,
}

impl DomainDiscriminator {
    /// Declares `0`, `1`, `3`, `4` and `6` below `scope`, the layers of PyTorch's `Sequential`,
    /// with its default initial values.
    ///
    /// # Errors
    /// Names that are taken.
    pub fn new(config: &DiscriminatorConfig, scope: &Scope) -> Result<Self> {
        let layer = |linear: usize, norm: usize, inputs: usize| -> Result<_> {
            let linear = Linear::torch_default(&scope.sub(linear), inputs, config.hidden)?;
            Ok((linear, BatchNorm1d::new(&scope.sub(norm), config.hidden)?))
        };
        Ok(Self {
            hidden: [layer(0, 1, config.inputs)?, layer(3, 4, config.hidden)?],
            last: Linear::torch_default(&scope.sub(6), config.hidden, 1)?,
        })
    }

    /// Logits (B, 1) for (B, inputs); their sigmoid is the probability of the source.
    ///
    /// # Errors
    /// Inputs of another width; a batch of one with batch statistics.
    pub fn forward(&self, x: &Tensor, mode: &Forward) -> Result<Tensor> {
        let mut x = x.clone();
        for (linear, norm) in &self.hidden {
            x = norm.forward_relu(&linear.forward(&x)?, mode)?;
        }
        self.last.forward(&x)
    }
}
