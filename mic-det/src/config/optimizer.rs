//! Optimiser and schedule.

use mic_nn::schedule::StepWarmup;
use mic_run::config::check::{below_one, not_negative, positive, share};

use super::raw::RawOptimizer;
use crate::Result;
use crate::uda::SgdOptions;

/// Checks the table `[optimizer]`.
pub(super) fn check(raw: &RawOptimizer) -> Result<SgdOptions> {
    Ok(SgdOptions {
        lr: positive("optimizer.lr", raw.lr)?,
        bias_lr_mult: not_negative("optimizer.bias_lr_mult", raw.bias_lr_mult)?,
        weight_decay: not_negative("optimizer.weight_decay", raw.weight_decay)?,
        momentum: below_one("optimizer.momentum", raw.momentum)?,
        schedule: StepWarmup {
            milestones: raw.milestones.clone(),
            gamma: share("optimizer.gamma", raw.gamma)?,
            warmup_iters: raw.warmup_iters,
            warmup_factor: share("optimizer.warmup_factor", raw.warmup_factor)?,
        },
    })
}
