//! A plain vision transformer as a backbone of maps.
//!
//! Its tokens have one resolution. A head that wants levels gets the patch tokens of four blocks a
//! quarter of the depth apart, each behind the final layer norm (as DINOv2 hands out intermediate
//! layers), resized bilinearly to 4, 2, 1 and 1/2 times the grid of patches: early blocks, which
//! keep more of the place, become the fine levels. Nothing is learned in between, so that a
//! pretrained file fills the whole backbone.

use candle_core::{Result, Tensor};
use mic_nn::forward::Forward;
use mic_nn::models::vit::{Vit, VitConfig};
use mic_nn::ops;
use mic_nn::params::Scope;

/// Shape of a [`VitBackbone`].
#[derive(Clone, Debug, PartialEq)]
pub struct VitBackboneConfig {
    /// The transformer.
    pub vit: VitConfig,
    /// The blocks, from 0, whose tokens become maps.
    pub blocks: Vec<usize>,
    /// Size of each map as a multiple of the grid of patches, falling.
    pub scales: Vec<f64>,
}

impl VitBackboneConfig {
    /// The last block alone, at the grid of patches.
    pub fn last(vit: VitConfig) -> Self {
        Self {
            blocks: vec![vit.depth.saturating_sub(1)],
            scales: vec![1.0],
            vit,
        }
    }

    /// Four levels, 4, 2, 1 and 1/2 times as fine as the patches, from blocks a quarter of the
    /// depth apart; the last one is the last block.
    pub fn pyramid(vit: VitConfig) -> Self {
        let quarter = |n: usize| (vit.depth * n / 4).max(1) - 1;
        Self {
            blocks: (1..=4).map(quarter).collect(),
            scales: vec![4.0, 2.0, 1.0, 0.5],
            vit,
        }
    }

    /// Checks the transformer and that every map has a block and a size.
    ///
    /// # Errors
    /// Names what does not fit.
    pub fn check(&self) -> Result<()> {
        self.vit.check()?;
        let (blocks, scales) = (&self.blocks, &self.scales);
        if blocks.is_empty() || blocks.len() != scales.len() {
            candle_core::bail!("{} blocks for {} scales", blocks.len(), scales.len())
        }
        if let Some(block) = blocks.iter().find(|&&block| block >= self.vit.depth) {
            candle_core::bail!("there is no block {block} of {}", self.vit.depth)
        }
        if scales.iter().any(|&s| !(s.is_finite() && s > 0.0)) {
            candle_core::bail!("scales are {scales:?}, expected numbers above 0")
        }
        Ok(())
    }
}

/// The backbone.
pub struct VitBackbone {
    vit: Vit,
    config: VitBackboneConfig,
}

impl VitBackbone {
    /// Declares the transformer's parameters below `scope`.
    ///
    /// # Errors
    /// A configuration that [`VitBackboneConfig::check`] refuses.
    pub fn new(config: &VitBackboneConfig, scope: &Scope) -> Result<Self> {
        config.check()?;
        Ok(Self {
            vit: Vit::new(&config.vit, scope)?,
            config: config.clone(),
        })
    }

    /// Maps (B, C, H_i, W_i) of an image batch (B, 3, H, W) of any size: sides that are no multiple
    /// of the patch are resized to the nearest one.
    ///
    /// # Errors
    /// When the image has another shape.
    pub fn forward(&self, image: &Tensor, mode: &Forward) -> Result<Vec<Tensor>> {
        let (_, _, height, width) = image.dims4()?;
        let patch = self.config.vit.patch;
        let whole = |side: usize| ((side + patch / 2) / patch).max(1) * patch;
        let image = ops::resize_bilinear(image, (whole(height), whole(width)), false)?;
        let features = self.vit.features(&image, mode, &self.config.blocks)?;
        let level = |(tokens, &scale): (&Tensor, &f64)| {
            let map = features.patch_map(&self.vit.norm_tokens(tokens)?)?;
            let side = |n: usize| ((n as f64 * scale).round() as usize).max(1);
            let size = (side(features.height), side(features.width));
            ops::resize_bilinear(&map, size, false)
        };
        let levels = features.blocks.iter().zip(&self.config.scales);
        levels.map(level).collect()
    }
}
