//! Mix Transformer (MiT), the backbone of SegFormer and DAFormer (SegFormer, sec. 3.1).
//!
//! Inside a stage everything is tokens (B, H*W, C): convolutions on tokens are channels-last, so
//! that a block needs no transposition. Parameter names are those of the published checkpoints.

use std::sync::Arc;

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use crate::forward::Forward;
use crate::init::Init;
use crate::layers::{
    Conv2d, Conv2dConfig, DepthwiseTokens, DropPath, GroupNorm, LayerNorm, Linear, PatchLinear,
};
use crate::ops;
use crate::params::Scope;

/// How the image becomes tokens at stride 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stem {
    /// One 7x7 convolution with stride 4 (the published networks).
    Overlap,
    /// Two 3x3 convolutions with stride 2, group norm and GELU between them: learns faster from
    /// scratch on small images.
    Conv,
}

/// Widths and depths of a [`Mit`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MitConfig {
    /// Channels of each stage.
    pub embed_dims: Vec<usize>,
    /// Blocks of each stage.
    pub depths: Vec<usize>,
    /// Attention heads of each stage.
    pub num_heads: Vec<usize>,
    /// Spatial reduction of keys and values of each stage.
    pub sr_ratios: Vec<usize>,
    /// Hidden width of the feed-forward network as a multiple of the stage's channels.
    pub mlp_ratio: usize,
    /// Drop-path rate of the last block; rates rise linearly from 0 at the first.
    pub drop_path_rate: f64,
    /// The first patch embedding.
    pub stem: Stem,
}

impl MitConfig {
    /// B0 to B5 by number.
    ///
    /// # Errors
    /// For any other number.
    pub fn variant(number: usize) -> Result<Self> {
        let depths = match number {
            0 | 1 => [2, 2, 2, 2],
            2 => [3, 4, 6, 3],
            3 => [3, 4, 18, 3],
            4 => [3, 8, 27, 3],
            5 => [3, 6, 40, 3],
            _ => candle_core::bail!("there is no MiT-B{number}; the variants are B0 to B5"),
        };
        let embed_dims = if number == 0 {
            [32, 64, 160, 256]
        } else {
            [64, 128, 320, 512]
        };
        Ok(Self {
            embed_dims: embed_dims.into(),
            depths: depths.into(),
            num_heads: vec![1, 2, 5, 8],
            sr_ratios: vec![8, 4, 2, 1],
            mlp_ratio: 4,
            drop_path_rate: 0.1,
            stem: Stem::Overlap,
        })
    }

    /// Checks that all lists have the same length and that heads divide channels.
    ///
    /// # Errors
    /// Names the list or stage that does not fit.
    pub fn check(&self) -> Result<()> {
        let stages = self.embed_dims.len();
        for (name, len) in [
            ("depths", self.depths.len()),
            ("num_heads", self.num_heads.len()),
            ("sr_ratios", self.sr_ratios.len()),
        ] {
            if len != stages {
                candle_core::bail!("{name} has {len} entries, embed_dims {stages}")
            }
        }
        if stages == 0 || self.mlp_ratio == 0 {
            candle_core::bail!("a MiT needs at least one stage and mlp_ratio 1 or more")
        }
        for s in 0..stages {
            let (dim, heads) = (self.embed_dims[s], self.num_heads[s]);
            if dim == 0 || heads == 0 || dim % heads != 0 || self.sr_ratios[s] == 0 {
                candle_core::bail!(
                    "stage {}: {dim} channels cannot be split among {heads} heads with spatial \
                     reduction {}",
                    s + 1,
                    self.sr_ratios[s]
                )
            }
        }
        if self.stem == Stem::Conv && !self.embed_dims[0].is_multiple_of(3) {
            candle_core::bail!(
                "the conv stem has 2/3 of the first stage's channels: embed_dims[0] must be a \
                 multiple of 3, not {}",
                self.embed_dims[0]
            )
        }
        Ok(())
    }

    /// Drop-path rate of every block in order.
    pub fn drop_path_rates(&self) -> Vec<f64> {
        let blocks: usize = self.depths.iter().sum();
        let last = blocks.saturating_sub(1).max(1) as f64;
        (0..blocks)
            .map(|n| self.drop_path_rate * n as f64 / last)
            .collect()
    }
}

const LINEAR: Init = Init::TruncNormal {
    std: 0.02,
    bound: 2.0,
};
const ZERO: Init = Init::Const(0.0);

/// Layer norms of the patch embeddings and of the reduced keys.
const EPS_EMBED: f64 = 1e-5;
/// Layer norms of blocks and stages.
const EPS_BLOCK: f64 = 1e-6;

fn conv_init(kernel: usize, outputs: usize, groups: usize) -> Init {
    let fan_out = (kernel * kernel * outputs / groups) as f64;
    Init::Normal {
        std: (2.0 / fan_out).sqrt(),
    }
}

fn conv(scope: &Scope, i: usize, o: usize, kernel: usize, stride: usize) -> Result<Conv2d> {
    let config = Conv2dConfig {
        stride,
        bias: Some(ZERO),
        ..Conv2dConfig::same(kernel, conv_init(kernel, o, 1))
    };
    Conv2d::new(scope, i, o, &config)
}

struct Tokens {
    x: Tensor,
    height: usize,
    width: usize,
}

enum PatchProjection {
    Single(Conv2d),
    Double(Conv2d, GroupNorm, Conv2d),
}

struct PatchEmbed {
    proj: PatchProjection,
    norm: LayerNorm,
}

impl PatchEmbed {
    fn new(scope: &Scope, stage: usize, inputs: usize, outputs: usize, stem: Stem) -> Result<Self> {
        let proj = match (stage, stem) {
            (0, Stem::Overlap) => {
                PatchProjection::Single(conv(&scope.sub("proj"), inputs, outputs, 7, 4)?)
            }
            (0, Stem::Conv) => {
                let middle = outputs * 2 / 3;
                PatchProjection::Double(
                    conv(&scope.sub("stem.0"), inputs, middle, 3, 2)?,
                    GroupNorm::new(&scope.sub("stem.1"), group_count(middle), middle, EPS_EMBED)?,
                    conv(&scope.sub("proj"), middle, outputs, 3, 2)?,
                )
            }
            _ => PatchProjection::Single(conv(&scope.sub("proj"), inputs, outputs, 3, 2)?),
        };
        Ok(Self {
            proj,
            norm: LayerNorm::new(&scope.sub("norm"), outputs, EPS_EMBED)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tokens> {
        let map = match &self.proj {
            PatchProjection::Single(conv) => conv.forward(x)?,
            PatchProjection::Double(first, norm, second) => {
                second.forward(&ops::gelu(&norm.forward(&first.forward(x)?)?)?)?
            }
        };
        let (_, _, height, width) = map.dims4()?;
        let x = self.norm.forward(&ops::map_to_tokens(&map)?)?;
        Ok(Tokens { x, height, width })
    }
}

/// Four groups where they divide the channels.
fn group_count(channels: usize) -> usize {
    if channels.is_multiple_of(4) { 4 } else { 1 }
}

struct Attention {
    q: Linear,
    kv: Linear,
    proj: Linear,
    reduction: Option<(PatchLinear, LayerNorm)>,
    heads: usize,
}

impl Attention {
    fn new(scope: &Scope, dim: usize, heads: usize, sr: usize) -> Result<Self> {
        let q = Linear::new(&scope.sub("q"), dim, dim, LINEAR, ZERO)?;
        let kv = Linear::new(&scope.sub("kv"), dim, 2 * dim, LINEAR, ZERO)?;
        let proj = Linear::new(&scope.sub("proj"), dim, dim, LINEAR, ZERO)?;
        let reduction = if sr > 1 {
            let init = conv_init(sr, dim, 1);
            Some((
                PatchLinear::new(&scope.sub("sr"), dim, dim, sr, init)?,
                LayerNorm::new(&scope.sub("norm"), dim, EPS_EMBED)?,
            ))
        } else {
            None
        };
        Ok(Self {
            q,
            kv,
            proj,
            reduction,
            heads,
        })
    }

    fn forward(&self, x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
        let q = self.q.forward(x)?;
        let kv = match &self.reduction {
            Some((sr, norm)) => {
                let reduced = norm.forward(&sr.forward(x, height, width)?)?;
                self.kv.forward(&reduced)?
            }
            None => self.kv.forward(x)?,
        };
        self.proj.forward(&ops::attention(&q, &kv, self.heads)?)
    }
}

struct MixFfn {
    fc1: Linear,
    dwconv: DepthwiseTokens,
    fc2: Linear,
}

impl MixFfn {
    fn new(scope: &Scope, dim: usize, hidden: usize) -> Result<Self> {
        Ok(Self {
            fc1: Linear::new(&scope.sub("fc1"), dim, hidden, LINEAR, ZERO)?,
            dwconv: DepthwiseTokens::new(
                &scope.sub("dwconv.dwconv"),
                hidden,
                conv_init(3, hidden, hidden),
            )?,
            fc2: Linear::new(&scope.sub("fc2"), hidden, dim, LINEAR, ZERO)?,
        })
    }

    fn forward(&self, x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
        let hidden = self.fc1.forward(x)?;
        let hidden = self.dwconv.forward(&hidden, height, width)?;
        self.fc2.forward(&ops::gelu(&hidden)?)
    }
}

struct Block {
    norm1: LayerNorm,
    attn: Attention,
    drop_attn: DropPath,
    norm2: LayerNorm,
    mlp: MixFfn,
    drop_mlp: DropPath,
}

impl Block {
    fn new(
        scope: &Scope,
        dim: usize,
        heads: usize,
        sr: usize,
        mlp_ratio: usize,
        drop_path: f64,
    ) -> Result<Self> {
        Ok(Self {
            norm1: LayerNorm::new(&scope.sub("norm1"), dim, EPS_BLOCK)?,
            attn: Attention::new(&scope.sub("attn"), dim, heads, sr)?,
            drop_attn: DropPath::new(scope.sub("attn").path(), drop_path),
            norm2: LayerNorm::new(&scope.sub("norm2"), dim, EPS_BLOCK)?,
            mlp: MixFfn::new(&scope.sub("mlp"), dim, dim * mlp_ratio)?,
            drop_mlp: DropPath::new(scope.sub("mlp").path(), drop_path),
        })
    }

    fn forward(&self, x: &Tensor, height: usize, width: usize, mode: &Forward) -> Result<Tensor> {
        let branch = self.attn.forward(&self.norm1.forward(x)?, height, width)?;
        let x = self.drop_attn.add(x, &branch, mode)?;
        let branch = self.mlp.forward(&self.norm2.forward(&x)?, height, width)?;
        self.drop_mlp.add(&x, &branch, mode)
    }
}

struct Stage {
    embed: PatchEmbed,
    blocks: Vec<Arc<Block>>,
    norm: LayerNorm,
}

/// The backbone. Its output is one map a stage, (B, C_s, H_s, W_s), at strides 4, 8, 16, 32.
pub struct Mit {
    stages: Vec<Stage>,
}

impl Mit {
    /// Declares the network's parameters below `scope`.
    ///
    /// # Errors
    /// A configuration that [`MitConfig::check`] refuses.
    pub fn new(config: &MitConfig, scope: &Scope) -> Result<Self> {
        config.check()?;
        let rates = config.drop_path_rates();
        let mut rates = rates.iter();
        let mut inputs = 3;
        let mut stages = Vec::new();
        for (s, &dim) in config.embed_dims.iter().enumerate() {
            let scope_of = |name: &str| scope.sub(format!("{name}{}", s + 1));
            let embed = PatchEmbed::new(&scope_of("patch_embed"), s, inputs, dim, config.stem)?;
            let blocks = (0..config.depths[s])
                .map(|i| {
                    let block = Block::new(
                        &scope_of("block").sub(i),
                        dim,
                        config.num_heads[s],
                        config.sr_ratios[s],
                        config.mlp_ratio,
                        rates.next().copied().unwrap_or(0.0),
                    )?;
                    Ok(Arc::new(block))
                })
                .collect::<Result<Vec<_>>>()?;
            let norm = LayerNorm::new(&scope_of("norm"), dim, EPS_BLOCK)?;
            stages.push(Stage {
                embed,
                blocks,
                norm,
            });
            inputs = dim;
        }
        Ok(Self { stages })
    }

    /// Features of every stage for an image batch (B, 3, H, W), H and W at least 32. With
    /// [`Forward::recompute`] every block is recomputed in the backward pass.
    pub fn forward(&self, image: &Tensor, mode: &Forward) -> Result<Vec<Tensor>> {
        let mut features: Vec<Tensor> = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            let input = features.last().unwrap_or(image);
            let Tokens {
                mut x,
                height,
                width,
            } = stage.embed.forward(input)?;
            for block in &stage.blocks {
                let block = Arc::clone(block);
                let forward =
                    move |x: &Tensor, mode: &Forward| block.forward(x, height, width, mode);
                x = mode.block(&x, forward)?;
            }
            let x = stage.norm.forward(&x)?;
            features.push(ops::tokens_to_map(&x, height, width)?);
        }
        Ok(features)
    }
}
