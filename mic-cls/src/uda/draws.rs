//! Everything random of one training step but dropout, drawn before it is applied.

use mic_core::BlockMask;
use mic_core::augment::{Sharing, Strong};
use mic_data::rng::stream;

use super::{Gating, Options};
use crate::Result;

/// The draws of one step. What a method does not use is absent.
#[derive(Clone, Debug, Default)]
pub struct Draws {
    /// Masking.
    pub masked: Option<MaskDraws>,
}

/// Draws of the masked images.
#[derive(Clone, Debug)]
pub struct MaskDraws {
    /// Colour changes: order and blur shared by the batch, factors each image's own.
    pub strong: Option<Strong>,
    /// The hidden blocks, each image's own.
    pub blocks: BlockMask,
}

impl Draws {
    /// Draws for `step` of the run `seed`, for `size` = (B, H, W) of the target batch.
    ///
    /// # Errors
    /// Blocks that are too large for the images.
    pub fn sample(
        options: &Options,
        seed: u64,
        step: u64,
        (batch, height, width): (usize, usize, usize),
    ) -> Result<Self> {
        let Some(masked) = &options.masked else {
            return Ok(Self::default());
        };
        let rng = |purpose| stream(seed, purpose, step);
        let strong = match &masked.strong {
            None => None,
            Some(strong) => {
                let mut rng = rng("augment masked");
                let gates = match masked.gating {
                    Gating::Run(gates) => gates,
                    Gating::Step => strong.sample_gates(&mut rng),
                };
                Some(strong.sample(&mut rng, batch, gates, Sharing::PerBatch)?)
            }
        };
        let mut rng = rng("block mask");
        let blocks = masked.blocks.sample(&mut rng, batch, height, width)?;
        Ok(Self {
            masked: Some(MaskDraws { strong, blocks }),
        })
    }
}
