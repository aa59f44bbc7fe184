//! Sizes and options of vision transformers.

use candle_core::Result;
use serde::{Deserialize, Serialize};

/// The published sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VitSize {
    /// 192 channels, 12 blocks, 3 heads (DeiT, tab. 1).
    Tiny,
    /// 384 channels, 12 blocks, 6 heads (DeiT, tab. 1).
    Small,
    /// 768 channels, 12 blocks, 12 heads (ViT, tab. 1).
    Base,
    /// 1024 channels, 24 blocks, 16 heads (ViT, tab. 1).
    Large,
}

/// What the classifier sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pool {
    /// The class token after the final layer norm.
    Class,
    /// The mean of the patch tokens, then a layer norm (`fc_norm`); the network has no norm of
    /// single tokens.
    Mean,
}

/// How position embeddings of one grid become those of another, bicubically in either case.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PositionResize {
    /// With antialiasing, by the ratio of the sizes: timm, and DINOv2 with registers.
    Antialias,
    /// Without antialiasing, by (new size + offset) / old size: DINOv2 without registers, whose
    /// offset is 0.1.
    Offset(f64),
}

/// Widths, depth and options of a [`Vit`](super::Vit).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VitConfig {
    /// Height and width of the images that the position embeddings are for, in pixels. Other
    /// images, too, can be used: their embeddings are resized.
    pub image_size: (usize, usize),
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Channels.
    pub dim: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Hidden width of the feed-forward network as a multiple of the channels.
    pub mlp_ratio: usize,
    /// Initial value of layer scale; `None` for no layer scale.
    pub layer_scale: Option<f64>,
    /// Number of register tokens (Darcet et al., 2024), between the class token and the patches.
    pub registers: usize,
    /// Whether the class token and the registers have position embeddings, as the patches do.
    pub prefix_positions: bool,
    /// What the classifier sees.
    pub pool: Pool,
    /// Resizing of position embeddings.
    pub position_resize: PositionResize,
    /// Outputs of the classifier; 0 for no classifier.
    pub classes: usize,
    /// Drop-path rate of the last block; rates rise linearly from 0 at the first.
    pub drop_path_rate: f64,
}

impl VitConfig {
    /// ViT with patches of 16 pixels for images of 224 (timm's `vit_*_patch16_224`), without
    /// classifier and stochastic depth.
    pub fn variant(size: VitSize) -> Self {
        let (dim, depth, heads) = match size {
            VitSize::Tiny => (192, 12, 3),
            VitSize::Small => (384, 12, 6),
            VitSize::Base => (768, 12, 12),
            VitSize::Large => (1024, 24, 16),
        };
        Self {
            image_size: (224, 224),
            patch: 16,
            dim,
            depth,
            heads,
            mlp_ratio: 4,
            layer_scale: None,
            registers: 0,
            prefix_positions: true,
            pool: Pool::Class,
            position_resize: PositionResize::Antialias,
            classes: 0,
            drop_path_rate: 0.0,
        }
    }

    /// The network that masked autoencoders are fine-tuned as (He et al., 2022): mean pooling.
    pub fn mae(size: VitSize) -> Self {
        Self {
            pool: Pool::Mean,
            ..Self::variant(size)
        }
    }

    /// DINOv2 (Oquab et al., 2024): patches of 14 pixels, images of 518, layer scale. With
    /// `registers` (the published networks have 4 or none) position embeddings are the patches'
    /// alone, as in timm; [`load`](super::load) converts the authors' files.
    pub fn dinov2(size: VitSize, registers: usize) -> Self {
        let (prefix_positions, position_resize) = match registers {
            0 => (true, PositionResize::Offset(0.1)),
            _ => (false, PositionResize::Antialias),
        };
        Self {
            image_size: (518, 518),
            patch: 14,
            layer_scale: Some(1e-5),
            registers,
            prefix_positions,
            position_resize,
            ..Self::variant(size)
        }
    }

    /// Checks that patches fill the image and that heads divide channels.
    ///
    /// # Errors
    /// Names the option that does not fit.
    pub fn check(&self) -> Result<()> {
        self.grid_of(self.image_size.0, self.image_size.1)?;
        if self.heads == 0 || self.dim == 0 || !self.dim.is_multiple_of(self.heads) {
            candle_core::bail!(
                "{} channels cannot be split among {} heads",
                self.dim,
                self.heads
            )
        }
        if self.depth == 0 || self.mlp_ratio == 0 {
            candle_core::bail!("a ViT needs at least one block and mlp_ratio 1 or more")
        }
        if !(0.0..1.0).contains(&self.drop_path_rate) {
            candle_core::bail!("drop_path_rate {} is outside [0, 1)", self.drop_path_rate)
        }
        if let PositionResize::Offset(offset) = self.position_resize
            && !(offset.is_finite() && offset > -1.0)
        {
            candle_core::bail!("the offset {offset} of position_resize is not above -1")
        }
        Ok(())
    }

    /// Rows and columns of patches of an image.
    ///
    /// # Errors
    /// When patches do not fill the image.
    pub fn grid_of(&self, height: usize, width: usize) -> Result<(usize, usize)> {
        let fills = |side: usize| self.patch > 0 && side > 0 && side.is_multiple_of(self.patch);
        if !fills(height) || !fills(width) {
            candle_core::bail!(
                "a ViT with patches of {} pixels needs sides that are multiples of that, got \
                 {height}x{width}",
                self.patch
            )
        }
        Ok((height / self.patch, width / self.patch))
    }

    /// Rows and columns of the position embeddings.
    pub(super) fn grid(&self) -> (usize, usize) {
        let patch = self.patch.max(1);
        (self.image_size.0 / patch, self.image_size.1 / patch)
    }

    /// Tokens before those of the patches: the class token and the registers.
    pub fn prefix(&self) -> usize {
        1 + self.registers
    }

    /// Tokens before the patches' that have position embeddings.
    pub(super) fn positioned_prefix(&self) -> usize {
        if self.prefix_positions {
            self.prefix()
        } else {
            0
        }
    }

    /// Drop-path rate of every block in order.
    pub fn drop_path_rates(&self) -> Vec<f64> {
        let last = self.depth.saturating_sub(1).max(1) as f64;
        (0..self.depth)
            .map(|n| self.drop_path_rate * n as f64 / last)
            .collect()
    }
}
