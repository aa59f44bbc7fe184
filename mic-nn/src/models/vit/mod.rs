//! Vision transformers with plain attention: ViT (Dosovitskiy et al., 2021), the network of masked
//! autoencoders (He et al., 2022) and DINOv2 (Oquab et al., 2024).
//!
//! Parameter names are those of timm's `VisionTransformer`.

mod block;
mod config;
mod embed;
mod load;

use std::sync::Arc;

use candle_core::{Result, Tensor};

use crate::forward::Forward;
use crate::init::Init;
use crate::layers::{LayerNorm, Linear};
use crate::ops;
use crate::params::Scope;
use block::Block;
pub use config::{Pool, PositionResize, VitConfig, VitSize};
use embed::{Embed, Embedded};
pub use load::load;

const LINEAR: Init = Init::TruncNormal {
    std: 0.02,
    bound: 2.0,
};
const ZERO: Init = Init::Const(0.0);

/// All layer norms.
const EPS: f64 = 1e-6;

/// The network.
pub struct Vit {
    embed: Embed,
    blocks: Vec<Arc<Block>>,
    /// Of tokens, or with mean pooling of the mean.
    norm: LayerNorm,
    head: Option<Linear>,
    config: VitConfig,
}

/// Token sequences of a pass through a [`Vit`], (B, P + height * width, C) each: the class token,
/// registers, then patches row by row.
#[derive(Clone, Debug)]
pub struct VitFeatures {
    /// Before the first block.
    pub embedded: Tensor,
    /// After each of the chosen blocks, in their order, before any norm.
    pub blocks: Vec<Tensor>,
    /// After the last block, before any norm.
    pub last: Tensor,
    /// Rows of patches.
    pub height: usize,
    /// Columns of patches.
    pub width: usize,
    /// Tokens before those of the patches.
    pub prefix: usize,
}

impl VitFeatures {
    /// The class token (B, C) of a sequence of this pass.
    ///
    /// # Errors
    /// When `tokens` is no sequence of this pass.
    pub fn class_token(&self, tokens: &Tensor) -> Result<Tensor> {
        self.check(tokens)?;
        ops::narrow_tokens(tokens, 0, 1)?.squeeze(1)
    }

    /// The registers (B, R, C) of a sequence of this pass.
    ///
    /// # Errors
    /// When `tokens` is no sequence of this pass.
    pub fn registers(&self, tokens: &Tensor) -> Result<Tensor> {
        self.check(tokens)?;
        ops::narrow_tokens(tokens, 1, self.prefix - 1)
    }

    /// The patches of a sequence of this pass as a map (B, C, height, width).
    ///
    /// # Errors
    /// When `tokens` is no sequence of this pass.
    pub fn patch_map(&self, tokens: &Tensor) -> Result<Tensor> {
        self.check(tokens)?;
        let patches = ops::narrow_tokens(tokens, self.prefix, self.height * self.width)?;
        ops::tokens_to_map(&patches, self.height, self.width)
    }

    fn check(&self, tokens: &Tensor) -> Result<()> {
        let count = self.prefix + self.height * self.width;
        match *tokens.dims() {
            [_, n, _] if n == count => Ok(()),
            _ => candle_core::bail!(
                "vit: tokens are {:?}, expected (B, {} + {} * {}, C)",
                tokens.dims(),
                self.prefix,
                self.height,
                self.width
            ),
        }
    }
}

impl Vit {
    /// Declares the network's parameters below `scope`.
    ///
    /// # Errors
    /// A configuration that [`VitConfig::check`] refuses.
    pub fn new(config: &VitConfig, scope: &Scope) -> Result<Self> {
        config.check()?;
        let embed = Embed::new(config, scope)?;
        let rates = config.drop_path_rates().into_iter().enumerate();
        let blocks = rates
            .map(|(i, rate)| {
                let block = Block::new(config, &scope.sub("blocks").sub(i), rate)?;
                Ok(Arc::new(block))
            })
            .collect::<Result<Vec<_>>>()?;
        let norm = match config.pool {
            Pool::Class => "norm",
            Pool::Mean => "fc_norm",
        };
        let norm = LayerNorm::new(&scope.sub(norm), config.dim, EPS)?;
        let head = match config.classes {
            0 => None,
            classes => {
                let scope = scope.sub("head");
                Some(Linear::new(&scope, config.dim, classes, LINEAR, ZERO)?)
            }
        };
        Ok(Self {
            embed,
            blocks,
            norm,
            head,
            config: config.clone(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &VitConfig {
        &self.config
    }

    /// Class scores (B, K) of an image batch (B, 3, H, W); without classifier the pooled feature
    /// (B, C). H and W are multiples of the patch. With [`Forward::recompute`] every block is
    /// recomputed in the backward pass.
    ///
    /// # Errors
    /// When the image does not fit.
    pub fn forward(&self, image: &Tensor, mode: &Forward) -> Result<Tensor> {
        let features = self.features(image, mode, &[])?;
        self.classify(&self.pooled(&features)?)
    }

    /// The tokens of an image batch (B, 3, H, W) after the blocks whose numbers, from 0, are in
    /// `chosen`, and after the last one.
    ///
    /// # Errors
    /// When the image does not fit or there is no such block.
    pub fn features(
        &self,
        image: &Tensor,
        mode: &Forward,
        chosen: &[usize],
    ) -> Result<VitFeatures> {
        let depth = self.blocks.len();
        if let Some(number) = chosen.iter().find(|&&number| number >= depth) {
            candle_core::bail!("vit: there is no block {number}, only 0 to {}", depth - 1)
        }
        let Embedded {
            tokens: embedded,
            height,
            width,
        } = self.embed.forward(image)?;
        let mut outputs = vec![None; depth];
        let mut x = embedded.clone();
        for (block, output) in self.blocks.iter().zip(&mut outputs) {
            let block = Arc::clone(block);
            x = mode.block(&x, move |x: &Tensor, mode: &Forward| block.forward(x, mode))?;
            *output = Some(x.clone());
        }
        let blocks = chosen.iter().filter_map(|&number| outputs[number].clone());
        Ok(VitFeatures {
            embedded,
            blocks: blocks.collect(),
            last: x,
            height,
            width,
            prefix: self.config.prefix(),
        })
    }

    /// The final layer norm on tokens (B, N, C), of any block's output. A network with mean pooling
    /// has none: its tokens stay.
    ///
    /// # Errors
    /// When `tokens` has other channels.
    pub fn norm_tokens(&self, tokens: &Tensor) -> Result<Tensor> {
        match self.config.pool {
            Pool::Class => self.norm.forward(tokens),
            Pool::Mean => Ok(tokens.clone()),
        }
    }

    /// The pooled feature (B, C): what the classifier sees.
    ///
    /// # Errors
    /// When the features are not of this network.
    pub fn pooled(&self, features: &VitFeatures) -> Result<Tensor> {
        let pooled = match self.config.pool {
            // The norm of the class token alone is that of all tokens, where it is used.
            Pool::Class => features.class_token(&features.last)?,
            Pool::Mean => ops::mean_tokens(&features.last, features.prefix)?,
        };
        self.norm.forward(&pooled)
    }

    /// Class scores (B, K) of pooled features (B, C); without classifier these themselves.
    ///
    /// # Errors
    /// When `pooled` has other channels.
    pub fn classify(&self, pooled: &Tensor) -> Result<Tensor> {
        match &self.head {
            Some(head) => head.forward(pooled),
            None => Ok(pooled.clone()),
        }
    }
}
