//! Masked image consistency: which images, which blocks, which teacher.

use super::raw::{RawMask, RawThreshold};
use crate::Result;
use mic_run::config::check::{at_least_one, not_negative, one_of, refuse, share};

/// The images of the masked batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Images {
    /// The first source image with its ground truth and the first target image with its
    /// pseudo-labels.
    Mixed,
    /// The source batch with its ground truth.
    Source,
    /// The target batch with its pseudo-labels.
    Target,
}

/// What `mask.mode` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskMode {
    /// Which images are masked.
    pub images: Images,
    /// Whether their colours change first.
    pub augment: bool,
}

/// The confidence threshold of the masked loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// That of the method.
    Same,
    /// One of its own, 0 to 1.
    Value(f64),
    /// Every pseudo-label has weight 1.
    None,
}

/// Masked image consistency (MIC, sec. 3.2).
#[derive(Clone, Debug, PartialEq)]
pub struct MaskOptions {
    /// Which images, and whether their colours change.
    pub mode: MaskMode,
    /// Side of a mask block in pixels, at least 1.
    pub block: usize,
    /// Share of hidden blocks, 0 to 1.
    pub ratio: f64,
    /// Factor of the masked loss, at least 0.
    pub lambda: f64,
    /// Momentum of a teacher of its own.
    pub alpha: Option<f64>,
    /// Confidence threshold.
    pub threshold: Threshold,
}

const MODES: [(&str, MaskMode); 6] = [
    ("separate", mode(Images::Mixed, false)),
    ("separateaug", mode(Images::Mixed, true)),
    ("separatesrc", mode(Images::Source, false)),
    ("separatesrcaug", mode(Images::Source, true)),
    ("separatetrg", mode(Images::Target, false)),
    ("separatetrgaug", mode(Images::Target, true)),
];

const fn mode(images: Images, augment: bool) -> MaskMode {
    MaskMode { images, augment }
}

impl MaskOptions {
    /// Whether the pseudo-labels come from a teacher of its own instead of the method's.
    pub fn has_own_teacher(&self) -> bool {
        self.alpha.is_some() || self.threshold != Threshold::Same
    }

    /// Refuses blocks that do not fit into images of this size: a mask of one block hides all or
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) names the block, the image and the mend.
    pub fn check_fits(&self, (width, height): (u32, u32), what: &str) -> Result<()> {
        if self.block <= width.min(height) as usize {
            return Ok(());
        }
        refuse(
            "mask.block",
            self.block,
            format!(
                "a block not larger than the images, which are {width} x {height} ({what}); \
                 the paper masks 64 pixels of 1024"
            ),
        )
    }

    pub(super) fn check(raw: &RawMask) -> Result<Self> {
        let threshold_key = "mask.pseudo_threshold";
        let threshold = match &raw.pseudo_threshold {
            None => Threshold::Same,
            Some(RawThreshold::Value(value)) => Threshold::Value(share(threshold_key, *value)?),
            Some(RawThreshold::Word(word)) if word == "none" => Threshold::None,
            Some(RawThreshold::Word(word)) => {
                let expected = "a number from 0 to 1 or \"none\" (leave the key out for the \
                                method's threshold)";
                return refuse(threshold_key, format!("{word:?}"), expected);
            }
        };
        Ok(Self {
            mode: one_of("mask.mode", &raw.mode, &MODES)?,
            block: at_least_one("mask.block", raw.block as u64)? as usize,
            ratio: share("mask.ratio", raw.ratio)?,
            lambda: not_negative("mask.lambda", raw.lambda)?,
            alpha: raw.alpha.map(|a| share("mask.alpha", a)).transpose()?,
            threshold,
        })
    }
}
