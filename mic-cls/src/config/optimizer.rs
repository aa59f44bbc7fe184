//! Optimiser and learning-rate schedule.

use super::raw::RawOptimizer;
use crate::Result;
use mic_run::config::check::{below_one, not_negative, positive};

/// Stochastic gradient descent, learning rate `lr (1 + gamma step)^-power`.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerConfig {
    /// Learning rate at the start, above 0.
    pub lr: f64,
    /// Learning-rate factor of the backbone, at least 0.
    pub backbone_lr_mult: f64,
    /// Weight decay, at least 0.
    pub weight_decay: f64,
    /// Whether norms and biases decay, too.
    pub decay_all: bool,
    /// Momentum, 0 to below 1.
    pub momentum: f64,
    /// Whether the momentum looks ahead.
    pub nesterov: bool,
    /// How fast the decay of the learning rate sets in, at least 0.
    pub gamma: f64,
    /// Power of the decay, at least 0.
    pub power: f64,
}

impl OptimizerConfig {
    pub(super) fn check(raw: &RawOptimizer, pretrained: bool) -> Result<Self> {
        let own = if pretrained { 0.1 } else { 1.0 };
        let backbone = raw.backbone_lr_mult.unwrap_or(own);
        Ok(Self {
            lr: positive("optimizer.lr", raw.lr)?,
            backbone_lr_mult: not_negative("optimizer.backbone_lr_mult", backbone)?,
            weight_decay: not_negative("optimizer.weight_decay", raw.weight_decay)?,
            decay_all: raw.decay_all,
            momentum: below_one("optimizer.momentum", raw.momentum)?,
            nesterov: raw.nesterov,
            gamma: not_negative("optimizer.gamma", raw.gamma)?,
            power: not_negative("optimizer.power", raw.power)?,
        })
    }
}
