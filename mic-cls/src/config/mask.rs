//! Masked image consistency: which blocks, which colours, which teacher.

use mic_core::Confidence;

use super::raw::RawMask;
use crate::Result;
use crate::uda::{TeacherNorm, WeightedLosses};
use mic_run::config::check::{at_least, one_of, refuse, share};

/// Masked image consistency (MIC, sec. 3.2).
#[derive(Clone, Debug, PartialEq)]
pub struct MaskOptions {
    /// Side of a mask block in pixels, at least 1 and not larger than the images.
    pub block: usize,
    /// Share of hidden blocks, 0 to 1.
    pub ratio: f64,
    /// Bound of the teacher's momentum, 0 to 1.
    pub alpha: f64,
    /// Weight of a pseudo-label.
    pub confidence: Confidence,
    /// Which losses it enters.
    pub weighted: WeightedLosses,
    /// The teacher's batch norm.
    pub teacher_norm: TeacherNorm,
    /// Strength of the colour jitter, 0 to 0.5; 0 for none.
    pub jitter: f64,
    /// The jitter is applied when a uniform draw exceeds this, 0 to 1.
    pub jitter_threshold: f64,
    /// Gaussian blur half of the time.
    pub blur: bool,
    /// When both are drawn.
    pub gates: Gates,
}

/// When jitter and blur are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gates {
    /// Once a run, from its seed.
    Run,
    /// At every step.
    Step,
}

const WEIGHTS: [(&str, Confidence); 2] = [
    ("prob", Confidence::MaxProbability),
    ("none", Confidence::None),
];
const WEIGHTED: [(&str, WeightedLosses); 2] = [
    ("ascent", WeightedLosses::Ascent),
    ("both", WeightedLosses::Both),
];
const NORMS: [(&str, TeacherNorm); 2] = [
    ("batch", TeacherNorm::Batch),
    ("running", TeacherNorm::Running),
];
const GATES: [(&str, Gates); 2] = [("run", Gates::Run), ("step", Gates::Step)];

impl MaskOptions {
    /// For square images of `size` pixels.
    pub(super) fn check(raw: &RawMask, size: usize) -> Result<Self> {
        let block = at_least("mask.block", raw.block, 1)?;
        if block > size {
            let expected = format!(
                "a block not larger than the images of data.size = {size}; the paper masks 64 \
                 pixels of 224"
            );
            return refuse("mask.block", block, expected);
        }
        let jitter = share("mask.color_jitter", raw.color_jitter)?;
        if jitter > 0.5 {
            let expected = "at most 0.5, which is half a turn of the hue";
            return refuse("mask.color_jitter", jitter, expected);
        }
        let threshold = raw.color_jitter_threshold;
        Ok(Self {
            block,
            ratio: share("mask.ratio", raw.ratio)?,
            alpha: share("mask.alpha", raw.alpha)?,
            confidence: one_of(
                "mask.pseudo_label_weight",
                &raw.pseudo_label_weight,
                &WEIGHTS,
            )?,
            weighted: one_of("mask.weighted", &raw.weighted, &WEIGHTED)?,
            teacher_norm: one_of("mask.teacher_norm", &raw.teacher_norm, &NORMS)?,
            jitter,
            jitter_threshold: share("mask.color_jitter_threshold", threshold)?,
            blur: raw.blur,
            gates: one_of("mask.gates", &raw.gates, &GATES)?,
        })
    }
}
