//! How a forward pass runs: which statistics batch norm uses, and where dropout's flags come from.

use std::cell::RefCell;

use candle_core::{Result, Tensor};
use rand::{Rng, RngCore};

use crate::recompute::checkpoint_one;

/// Which statistics batch norm normalises with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormMode {
    /// Those of the batch; the running statistics follow.
    Batch,
    /// The running statistics.
    Running,
    /// Those of the batch; the running statistics stay as they are.
    BatchOnly,
}

/// Decides which units dropout and drop-path keep.
pub trait Drops {
    /// One flag each of `count` units of the layer `site`, whose drop probability is `rate`.
    fn keep(&self, site: &str, rate: f64, count: usize) -> Vec<bool>;
}

/// Draws flags from a generator, in the order in which the layers ask.
pub struct RandomDrops<R>(RefCell<R>);

impl<R: RngCore> RandomDrops<R> {
    /// Flags from `rng`.
    pub fn new(rng: R) -> Self {
        Self(RefCell::new(rng))
    }
}

impl<R: RngCore> Drops for RandomDrops<R> {
    fn keep(&self, _: &str, rate: f64, count: usize) -> Vec<bool> {
        let mut rng = self.0.borrow_mut();
        (0..count).map(|_| rng.random::<f64>() >= rate).collect()
    }
}

/// The mode of one forward pass.
#[derive(Clone, Copy)]
pub struct Forward<'a> {
    /// Batch norm's statistics.
    pub norm: NormMode,
    /// Dropout's and drop-path's flags; `None` switches both off.
    pub drops: Option<&'a dyn Drops>,
    /// Whether the blocks of a network are [recomputed](crate::recompute) in the backward pass:
    /// less memory, one more forward pass.
    pub recompute: bool,
}

impl<'a> Forward<'a> {
    /// Training: batch statistics, dropout on.
    pub fn train(drops: &'a dyn Drops) -> Self {
        Self {
            norm: NormMode::Batch,
            drops: Some(drops),
            recompute: false,
        }
    }

    /// Evaluation: running statistics, dropout off.
    pub fn eval() -> Forward<'static> {
        Forward {
            norm: NormMode::Running,
            drops: None,
            recompute: false,
        }
    }

    /// Batch statistics without dropout: how the reference's teachers predict.
    pub fn batch_statistics() -> Forward<'static> {
        Forward {
            norm: NormMode::Batch,
            drops: None,
            recompute: false,
        }
    }

    /// The same pass with or without recomputation.
    pub fn recomputing(self, recompute: bool) -> Self {
        Self { recompute, ..self }
    }

    /// Applies a block of a network, recomputed in the backward pass if this mode says so. Inside
    /// the block recomputation is off.
    ///
    /// # Errors
    /// Those of the block, and of [`checkpoint`](crate::recompute::checkpoint).
    pub fn block(
        &self,
        x: &Tensor,
        block: impl Fn(&Tensor, &Forward) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Result<Tensor> {
        match self.recompute {
            true => checkpoint_one(x, self, block),
            false => block(x, self),
        }
    }
}
