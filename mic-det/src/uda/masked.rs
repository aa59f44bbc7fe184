//! The input of the masked pass.

use candle_core::Tensor;

use super::{MaskDraws, PseudoBoxes};
use crate::Result;
use crate::batch::TargetBatch;
use crate::boxes::Size;
use crate::tap::Tap;

/// Masked target images with the teacher's objects; images without any are left out.
pub struct Masked {
    /// f32 (B, 3, H, W).
    pub image: Tensor,
    /// Size of each image without padding.
    pub sizes: Vec<Size>,
    /// The objects, which the teacher has found in whole images.
    pub pseudo: PseudoBoxes,
}

impl Masked {
    /// Of `target` the images with objects in `pseudo`, masked.
    ///
    /// # Errors
    /// Images of another shape than the draws were made for.
    pub fn of(
        target: &TargetBatch,
        mask: &MaskDraws,
        pseudo: PseudoBoxes,
        tap: &mut Tap,
    ) -> Result<Self> {
        // Masked before chosen: blur and blocks are drawn for the whole batch.
        let image = mask.apply(&target.image)?;
        tap.show("masked_images", || Ok(image.clone()))?;
        let (image, sizes) = match pseudo.images.len() == target.sizes.len() {
            true => (image, target.sizes.clone()),
            false => pseudo.select(&image, &target.sizes)?,
        };
        Ok(Self {
            image,
            sizes,
            pseudo,
        })
    }
}
