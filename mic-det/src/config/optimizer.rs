//! Optimiser and schedule.

use mic_nn::schedule::StepWarmup;
use mic_run::config::check::{not_negative, positive, share, within};

use super::raw::RawOptimizer;
use crate::Result;
use crate::uda::SgdOptions;

/// Checks the table `[optimizer]`.
pub(super) fn check(raw: &RawOptimizer) -> Result<SgdOptions> {
    let below_one = "a number from 0 to below 1";
    Ok(SgdOptions {
        lr: positive("optimizer.lr", raw.lr)?,
        bias_lr_mult: not_negative("optimizer.bias_lr_mult", raw.bias_lr_mult)?,
        weight_decay: not_negative("optimizer.weight_decay", raw.weight_decay)?,
        momentum: within("optimizer.momentum", raw.momentum, 0.0..1.0, below_one)?,
        schedule: StepWarmup {
            milestones: raw.milestones.clone(),
            gamma: share("optimizer.gamma", raw.gamma)?,
            warmup_iters: raw.warmup_iters,
            warmup_factor: share("optimizer.warmup_factor", raw.warmup_factor)?,
        },
    })
}
