//! Optimiser and learning-rate schedule.

use super::raw::RawOptimizer;
use crate::Result;
use mic_run::config::check::{below_one, not_negative, one_of, positive, share};

/// Optimiser and schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerConfig {
    /// Which optimiser.
    pub kind: OptimizerKind,
    /// Base learning rate, above 0.
    pub lr: f64,
    /// Weight decay, at least 0.
    pub weight_decay: f64,
    /// Learning-rate factor of the head, above 0.
    pub head_lr_mult: f64,
    /// Learning rate by step.
    pub schedule: Schedule,
}

/// The update rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OptimizerKind {
    /// AdamW.
    AdamW {
        /// Decay rates of the two moments, 0 to below 1.
        betas: [f64; 2],
    },
    /// Stochastic gradient descent.
    Sgd {
        /// Momentum, 0 to below 1.
        momentum: f64,
    },
}

/// The learning rate as a factor of the base rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    /// `(1 - t / T)^power`, times a linear warm-up from `warmup_ratio`.
    Poly {
        /// Power, at least 0.
        power: f64,
        /// Steps of the warm-up.
        warmup: u64,
        /// First factor of the warm-up, 0 to 1.
        warmup_ratio: f64,
    },
    /// A ramp, then linear to a share of the base rate.
    Linear {
        /// Steps of the ramp.
        warmup: u64,
        /// Share of the base rate at the last step, 0 to 1.
        final_ratio: f64,
    },
}

impl OptimizerConfig {
    pub(super) fn check(raw: &RawOptimizer) -> Result<Self> {
        let kinds = [
            ("adamw", OptimizerKind::AdamW { betas: raw.betas }),
            (
                "sgd",
                OptimizerKind::Sgd {
                    momentum: raw.momentum,
                },
            ),
        ];
        let kind = one_of("optimizer.kind", &raw.kind, &kinds)?;
        match kind {
            OptimizerKind::AdamW { betas } => {
                below_one("optimizer.betas", betas[0])?;
                below_one("optimizer.betas", betas[1])?;
            }
            OptimizerKind::Sgd { momentum } => {
                below_one("optimizer.momentum", momentum)?;
            }
        }
        let poly = Schedule::Poly {
            power: not_negative("optimizer.power", raw.power)?,
            warmup: raw.warmup,
            warmup_ratio: share("optimizer.warmup_ratio", raw.warmup_ratio)?,
        };
        let linear = Schedule::Linear {
            warmup: raw.warmup,
            final_ratio: share("optimizer.final_ratio", raw.final_ratio)?,
        };
        let schedules = [("poly", poly), ("linear", linear)];
        Ok(Self {
            kind,
            lr: positive("optimizer.lr", raw.lr)?,
            weight_decay: not_negative("optimizer.weight_decay", raw.weight_decay)?,
            head_lr_mult: positive("optimizer.head_lr_mult", raw.head_lr_mult)?,
            schedule: one_of("optimizer.schedule", &raw.schedule, &schedules)?,
        })
    }
}
