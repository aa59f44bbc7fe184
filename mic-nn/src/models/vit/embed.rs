//! From an image to tokens with positions.

use candle_core::{Result, Tensor};

use super::LINEAR;
use super::config::{PositionResize, VitConfig};
use crate::init::Init;
use crate::ops::{self, BicubicOptions};
use crate::params::Scope;

/// Patches as linear maps of their pixels, the class token, registers, and position embeddings.
pub(super) struct Embed {
    weight: Tensor,
    bias: Tensor,
    class: Tensor,
    registers: Option<Tensor>,
    positions: Tensor,
    config: VitConfig,
}

/// Tokens and the rows and columns of patches among them.
pub(super) struct Embedded {
    /// (B, P + height * width, C)
    pub(super) tokens: Tensor,
    pub(super) height: usize,
    pub(super) width: usize,
}

impl Embed {
    /// Declares `cls_token`, `reg_token`, `pos_embed` and `patch_embed.proj` below `scope`.
    pub(super) fn new(config: &VitConfig, scope: &Scope) -> Result<Self> {
        let &VitConfig { dim, patch, .. } = config;
        // DINOv2 and timm's networks of today start both kinds of token near zero, the published
        // ViT in timm as it starts everything else.
        let small = Init::Normal { std: 1e-6 };
        let class = match config.layer_scale {
            Some(_) => small,
            None => LINEAR,
        };
        let class = scope.param("cls_token", (1, 1, dim), class)?;
        let registers = match config.registers {
            0 => None,
            count => Some(scope.param("reg_token", (1, count, dim), small)?),
        };
        let (height, width) = config.grid();
        let positions = config.positioned_prefix() + height * width;
        let positions = scope.param("pos_embed", (1, positions, dim), LINEAR)?;
        let proj = scope.sub("patch_embed.proj");
        let init = Init::torch_default(3 * patch * patch);
        Ok(Self {
            weight: proj.param("weight", (dim, 3, patch, patch), init)?,
            bias: proj.param("bias", dim, init)?,
            class,
            registers,
            positions,
            config: config.clone(),
        })
    }

    /// Tokens of an image batch (B, 3, H, W).
    pub(super) fn forward(&self, image: &Tensor) -> Result<Embedded> {
        let &[_, 3, h, w] = image.dims() else {
            candle_core::bail!(
                "vit: the image is {:?}, expected (B, 3, H, W)",
                image.dims()
            )
        };
        let (height, width) = self.config.grid_of(h, w)?;
        let (dim, patch) = (self.config.dim, self.config.patch);
        let patches = ops::patchify(&ops::map_to_tokens(image)?, h, w, patch)?;
        // Pixels of a patch are channels-last.
        let weight = ops::swap_last(&self.weight.flatten_from(2)?)?;
        let weight = weight.reshape((dim, 3 * patch * patch))?;
        let patches = ops::linear(&patches, &weight, Some(&self.bias))?;
        let (prefix, positions) = self.prefix_and_positions((height, width))?;
        Ok(Embedded {
            tokens: ops::prepend_tokens(&patches, &prefix, &positions)?,
            height,
            width,
        })
    }

    /// The tokens before the patches, (1, P, C), and the patches' positions, (1, h * w, C).
    fn prefix_and_positions(&self, grid: (usize, usize)) -> Result<(Tensor, Tensor)> {
        let prefix = match &self.registers {
            Some(registers) => Tensor::cat(&[&self.class, registers], 1)?,
            None => self.class.clone(),
        };
        let own = self.config.grid();
        let (first, positions) = match self.config.positioned_prefix() {
            0 => (None, self.positions.clone()),
            count => (
                Some(ops::narrow_tokens(&self.positions, 0, count)?),
                ops::narrow_tokens(&self.positions, count, own.0 * own.1)?,
            ),
        };
        let prefix = match first {
            Some(first) => ops::add(&prefix, &first)?,
            None => prefix,
        };
        Ok((
            prefix,
            resize_positions(&self.config, &positions, own, grid)?,
        ))
    }
}

/// Position embeddings (1, h * w, C) of the grid `from` for the grid `to`.
pub(super) fn resize_positions(
    config: &VitConfig,
    positions: &Tensor,
    from: (usize, usize),
    to: (usize, usize),
) -> Result<Tensor> {
    if from == to {
        return Ok(positions.clone());
    }
    let options = match config.position_resize {
        PositionResize::Antialias => BicubicOptions {
            antialias: true,
            scale: None,
        },
        PositionResize::Offset(offset) => {
            let ratio = |to: usize, from: usize| (to as f64 + offset) / from as f64;
            BicubicOptions {
                antialias: false,
                scale: Some((ratio(to.0, from.0), ratio(to.1, from.1))),
            }
        }
    };
    ops::resize_tokens_bicubic(positions, from, to, &options)
}
