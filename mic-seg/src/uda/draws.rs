//! Everything random of one training step, drawn before it is applied.

use candle_core::Tensor;
use mic_core::BlockMask;
use mic_core::augment::{Sharing, Strong};
use mic_data::rng::stream;

use super::{ClassMix, Options, TargetUse, distinct_classes};
use crate::Result;
use crate::config::Images;
use crate::model::CropBox;

/// The draws of one step. What a method does not use is absent.
#[derive(Clone, Debug)]
pub struct Draws {
    /// Colour changes of the source images.
    pub source: Option<Strong>,
    /// Mixing of source into target images.
    pub mix: Option<MixDraws>,
    /// Masking.
    pub masked: Option<MaskDraws>,
    /// Detail crops of HRDA.
    pub crops: Crops,
}

/// The detail crop of every pass of the student, drawn apart; `None` without HRDA.
#[derive(Clone, Copy, Debug, Default)]
pub struct Crops {
    /// Of source images.
    pub source: Option<CropBox>,
    /// Of mixed images.
    pub mixed: Option<CropBox>,
    /// Of target images, where the student sees them unmixed.
    pub target: Option<CropBox>,
    /// Of masked images.
    pub masked: Option<CropBox>,
}

/// Draws of the mixed images.
#[derive(Clone, Debug)]
pub struct MixDraws {
    /// Which classes are pasted.
    pub classes: ClassMix,
    /// Colour changes, each image its own.
    pub strong: Strong,
}

/// Draws of the masked images.
#[derive(Clone, Debug)]
pub struct MaskDraws {
    /// Colour changes, shared by the batch up to the factors; `None` in modes without.
    pub strong: Option<Strong>,
    /// The hidden blocks.
    pub blocks: BlockMask,
}

impl Draws {
    /// Draws for `step` of the run `seed`, for source labels U8 (B, H, W). Each purpose has its own
    /// stream, so that a method without one of them draws the same for the others.
    pub fn sample(options: &Options, seed: u64, step: u64, source_label: &Tensor) -> Result<Self> {
        let (batch, height, width) = source_label.dims3()?;
        let rng = |purpose| stream(seed, purpose, step);
        let strong = |purpose, images, sharing| {
            let mut rng = rng(purpose);
            let gates = options.strong.sample_gates(&mut rng);
            options.strong.sample(&mut rng, images, gates, sharing)
        };
        let source = if options.augment_source {
            Some(strong("augment source", batch, Sharing::PerImage)?)
        } else {
            None
        };
        let mixing = options.target == TargetUse::Mixing;
        let crop = |purpose, used: bool| match &options.detail {
            Some(detail) if used => detail.sample(&mut rng(purpose), height, width).map(Some),
            _ => Ok(None),
        };
        let target = options.target.needs_target() && !mixing;
        let crops = Crops {
            source: crop("detail crop source", true)?,
            mixed: crop("detail crop mixed", mixing)?,
            target: crop("detail crop target", target)?,
            masked: crop("detail crop masked", options.masked.is_some())?,
        };
        let mix = if mixing {
            let distinct = distinct_classes(source_label)?;
            Some(MixDraws {
                classes: ClassMix::sample(&mut rng("class mix"), &distinct, batch),
                strong: strong("augment mixed", batch, Sharing::PerImage)?,
            })
        } else {
            None
        };
        let masked = match &options.masked {
            None => None,
            Some(masked) => {
                let images = match masked.mode.images {
                    Images::Mixed if options.target.needs_target() => 2,
                    _ => batch,
                };
                let strong = if masked.mode.augment {
                    Some(strong("augment masked", images, Sharing::PerBatch)?)
                } else {
                    None
                };
                let blocks = masked
                    .blocks
                    .sample(&mut rng("block mask"), images, height, width)?;
                Some(MaskDraws { strong, blocks })
            }
        };
        Ok(Self {
            source,
            mix,
            masked,
            crops,
        })
    }
}
