//! Masked image consistency: which blocks, which teacher, which weights.

use mic_core::BlockMaskConfig;
use mic_run::config::check::{at_least, not_negative, one_of, share};

use super::raw::RawMask;
use crate::Result;
use crate::rpn::Weighting;
use crate::uda::MaskedConsistency;

const WEIGHTS: [(&str, Weighting); 2] = [("prob", Weighting::Prob), ("none", Weighting::None)];

/// Checks the table `[mask]`.
pub(super) fn check(raw: &RawMask) -> Result<MaskedConsistency> {
    Ok(MaskedConsistency {
        blocks: BlockMaskConfig {
            block: at_least("mask.block", raw.block, 1)?,
            ratio: share("mask.ratio", raw.ratio)?,
        },
        blur: raw.blur,
        alpha: share("mask.alpha", raw.alpha)?,
        threshold: share("mask.threshold", raw.threshold)? as f32,
        lambda: not_negative("mask.lambda", raw.lambda)?,
        weighting: one_of("mask.weight", &raw.weight, &WEIGHTS)?,
    })
}
