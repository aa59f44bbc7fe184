//! The transformer block: attention and a feed-forward network, each behind a layer norm and
//! beside a residual connection.

use candle_core::{Result, Tensor};

use super::config::VitConfig;
use super::{EPS, LINEAR, ZERO};
use crate::forward::Forward;
use crate::layers::{DropPath, LayerNorm, LayerScale, Linear};
use crate::ops;
use crate::params::Scope;

struct Attention {
    qkv: Linear,
    proj: Linear,
    heads: usize,
}

impl Attention {
    fn new(scope: &Scope, dim: usize, heads: usize) -> Result<Self> {
        Ok(Self {
            qkv: Linear::new(&scope.sub("qkv"), dim, 3 * dim, LINEAR, ZERO)?,
            proj: Linear::new(&scope.sub("proj"), dim, dim, LINEAR, ZERO)?,
            heads,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mixed = ops::attention_qkv(&self.qkv.forward(x)?, self.heads)?;
        self.proj.forward(&mixed)
    }
}

struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

impl Mlp {
    fn new(scope: &Scope, dim: usize, hidden: usize) -> Result<Self> {
        Ok(Self {
            fc1: Linear::new(&scope.sub("fc1"), dim, hidden, LINEAR, ZERO)?,
            fc2: Linear::new(&scope.sub("fc2"), hidden, dim, LINEAR, ZERO)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.fc2.forward(&ops::gelu(&self.fc1.forward(x)?)?)
    }
}

/// How a branch joins the residual connection.
enum Residual {
    Plain(DropPath),
    Scaled(LayerScale),
}

impl Residual {
    /// Stochastic depth at `site`, and layer scale below `scope` if the network has it.
    fn new(config: &VitConfig, scope: &Scope, site: &str, rate: f64) -> Result<Self> {
        Ok(match config.layer_scale {
            Some(init) => Self::Scaled(LayerScale::new(scope, config.dim, init, site, rate)?),
            None => Self::Plain(DropPath::new(site, rate)),
        })
    }

    fn add(&self, x: &Tensor, branch: &Tensor, mode: &Forward) -> Result<Tensor> {
        match self {
            Self::Plain(drop) => drop.add(x, branch, mode),
            Self::Scaled(scale) => scale.add(x, branch, mode),
        }
    }
}

pub(super) struct Block {
    norm1: LayerNorm,
    attn: Attention,
    add_attn: Residual,
    norm2: LayerNorm,
    mlp: Mlp,
    add_mlp: Residual,
}

impl Block {
    pub(super) fn new(config: &VitConfig, scope: &Scope, drop_path: f64) -> Result<Self> {
        let &VitConfig {
            dim,
            heads,
            mlp_ratio,
            ..
        } = config;
        let (attn, mlp) = (scope.sub("attn"), scope.sub("mlp"));
        let residual = |scale: &str, site: &Scope| {
            Residual::new(config, &scope.sub(scale), site.path(), drop_path)
        };
        Ok(Self {
            norm1: LayerNorm::new(&scope.sub("norm1"), dim, EPS)?,
            attn: Attention::new(&attn, dim, heads)?,
            add_attn: residual("ls1", &attn)?,
            norm2: LayerNorm::new(&scope.sub("norm2"), dim, EPS)?,
            mlp: Mlp::new(&mlp, dim, dim * mlp_ratio)?,
            add_mlp: residual("ls2", &mlp)?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor, mode: &Forward) -> Result<Tensor> {
        let branch = self.attn.forward(&self.norm1.forward(x)?)?;
        let x = self.add_attn.add(x, &branch, mode)?;
        let branch = self.mlp.forward(&self.norm2.forward(&x)?)?;
        self.add_mlp.add(&x, &branch, mode)
    }
}
