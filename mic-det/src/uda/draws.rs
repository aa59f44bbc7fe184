//! Everything random of one training step, drawn before it is applied. How many boxes there are to
//! choose from shows only within the step; what is chosen depends on seed, step and place alone.

use candle_core::Tensor;
use mic_core::BlockMask;
use mic_core::augment::GaussianBlur;
use mic_data::rng::stream;
use mic_nn::forward::{Drops, RandomDrops};

use super::Options;
use crate::Result;
use crate::batch::TargetBatch;
use crate::sampler::{Picks, RandomPicks};

/// The draws of one step.
pub struct Draws<'a> {
    /// Masking; absent without masked image consistency.
    pub masked: Option<MaskDraws>,
    /// Which anchors and proposals learn.
    pub picks: Box<dyn Picks + 'a>,
    /// Dropout of the instance heads.
    pub drops: Box<dyn Drops + 'a>,
}

/// Draws of the masked images.
#[derive(Clone, Debug)]
pub struct MaskDraws {
    /// Blur, one for the batch.
    pub blur: Option<GaussianBlur>,
    /// The hidden blocks.
    pub blocks: BlockMask,
}

impl Draws<'static> {
    /// Draws for `step` of the run `seed` on these target images.
    ///
    /// # Errors
    /// Blocks that do not fit the images.
    pub fn sample(
        options: &Options,
        seed: u64,
        step: u64,
        target: Option<&TargetBatch>,
    ) -> Result<Self> {
        let masked = match (&options.masked, target) {
            (Some(masked), Some(target)) => {
                let (batch, _, height, width) = target.image.dims4()?;
                let mut rng = stream(seed, "block mask", step);
                let blur = masked
                    .blur
                    .then(|| GaussianBlur::sample(&mut stream(seed, "augment masked", step)));
                let blocks = masked.blocks.sample(&mut rng, batch, height, width)?;
                Some(MaskDraws { blur, blocks })
            }
            _ => None,
        };
        Ok(Self {
            masked,
            picks: Box::new(RandomPicks::new(seed, step)),
            drops: Box::new(RandomDrops::new(stream(seed, "dropout", step))),
        })
    }
}

impl MaskDraws {
    /// The masked images: blurred, padding included, then with hidden blocks of the mean colour.
    ///
    /// # Errors
    /// Images of another shape than the draws were made for.
    pub fn apply(&self, images: &Tensor) -> Result<Tensor> {
        let blurred = match &self.blur {
            Some(blur) => blur.apply(images)?,
            None => images.clone(),
        };
        Ok(self.blocks.apply(&blurred)?)
    }
}
