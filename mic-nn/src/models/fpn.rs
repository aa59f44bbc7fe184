//! Feature pyramid network (Lin et al., 2017): maps of one width at every stride of a backbone.

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use crate::init::Init;
use crate::layers::{Conv2d, Conv2dConfig};
use crate::ops::{self, Pool2dOptions};
use crate::params::Scope;
use crate::weights::Rename;

/// Further levels on top of the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExtraLevels {
    /// None.
    None,
    /// One: every second row and column of the last level, a max pooling with kernel 1 and
    /// stride 2 (Faster R-CNN).
    MaxPool,
    /// Two: a 3x3 convolution with stride 2 of the backbone's last map, and another one of its
    /// ReLU (RetinaNet, torchvision).
    FromBackbone,
    /// The same of the last level instead of the backbone's map (FCOS, newer RetinaNet).
    FromLast,
}

/// Widths and levels of an [`Fpn`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FpnConfig {
    /// Channels of the backbone's maps, from the finest to the coarsest.
    pub inputs: Vec<usize>,
    /// Channels of every level.
    pub outputs: usize,
    /// Further levels.
    pub extra: ExtraLevels,
}

impl FpnConfig {
    /// The pyramid of Faster R-CNN: 256 channels, one more level by max pooling.
    pub fn new(inputs: &[usize]) -> Self {
        Self {
            inputs: inputs.into(),
            outputs: 256,
            extra: ExtraLevels::MaxPool,
        }
    }

    /// Checks that there are maps and channels.
    ///
    /// # Errors
    /// Names the option that does not fit.
    pub fn check(&self) -> Result<()> {
        if self.inputs.is_empty() || self.inputs.contains(&0) {
            candle_core::bail!(
                "inputs is {:?}, expected the channels of at least one map",
                self.inputs
            )
        }
        if self.outputs == 0 {
            candle_core::bail!("outputs is 0, expected at least 1")
        }
        Ok(())
    }
}

/// A convolution as everywhere in the pyramid: uniform weights with bound `sqrt(3 / fan_in)`, bias
/// 0, no norm.
fn conv(
    scope: &Scope,
    inputs: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
) -> Result<Conv2d> {
    let bound = (3.0 / (inputs * kernel * kernel) as f64).sqrt();
    let config = Conv2dConfig {
        stride,
        bias: Some(Init::Const(0.0)),
        ..Conv2dConfig::same(kernel, Init::Uniform { bound })
    };
    Conv2d::new(scope, inputs, outputs, &config)
}

enum Extra {
    None,
    MaxPool,
    Convolutions {
        p6: Conv2d,
        p7: Conv2d,
        from_backbone: bool,
    },
}

impl Extra {
    fn new(config: &FpnConfig, scope: &Scope) -> Result<Self> {
        let from_backbone = match config.extra {
            ExtraLevels::None => return Ok(Self::None),
            ExtraLevels::MaxPool => return Ok(Self::MaxPool),
            ExtraLevels::FromBackbone => true,
            ExtraLevels::FromLast => false,
        };
        let inputs = match (from_backbone, config.inputs.last()) {
            (true, Some(&inputs)) => inputs,
            _ => config.outputs,
        };
        let scope = scope.sub("top_blocks");
        Ok(Self::Convolutions {
            p6: conv(&scope.sub("p6"), inputs, config.outputs, 3, 2)?,
            p7: conv(&scope.sub("p7"), config.outputs, config.outputs, 3, 2)?,
            from_backbone,
        })
    }

    /// The levels above `last`; `map` is the backbone's coarsest.
    fn forward(&self, map: &Tensor, last: &Tensor) -> Result<Vec<Tensor>> {
        match self {
            Self::None => Ok(Vec::new()),
            Self::MaxPool => {
                let every_second = Pool2dOptions {
                    kernel: (1, 1),
                    stride: (2, 2),
                    padding: (0, 0),
                };
                Ok(vec![ops::max_pool2d(last, &every_second)?])
            }
            Self::Convolutions {
                p6,
                p7,
                from_backbone,
            } => {
                let p6 = p6.forward(if *from_backbone { map } else { last })?;
                let p7 = p7.forward(&ops::relu(&p6)?)?;
                Ok(vec![p6, p7])
            }
        }
    }
}

/// The pyramid. With `k` from 1 at the finest map,
/// `T_k = inner_k(C_k) + upsample(T_{k+1})` and `P_k = layer_k(T_k)`, where `inner` is a 1x1 and
/// `layer` a 3x3 convolution, and maps are repeated to the size of the next (nearest neighbour).
///
/// Parameters are named as in maskrcnn-benchmark: `fpn_inner{k}`, `fpn_layer{k}`, `top_blocks.p6`
/// and `top_blocks.p7`. [`torchvision_names`] and [`detectron_names`] translate others.
pub struct Fpn {
    inner: Vec<Conv2d>,
    layer: Vec<Conv2d>,
    extra: Extra,
}

impl Fpn {
    /// Declares the pyramid's parameters below `scope`.
    ///
    /// # Errors
    /// A configuration that [`FpnConfig::check`] refuses.
    pub fn new(config: &FpnConfig, scope: &Scope) -> Result<Self> {
        config.check()?;
        let outputs = config.outputs;
        let (mut inner, mut layer) = (Vec::new(), Vec::new());
        for (i, &inputs) in config.inputs.iter().enumerate() {
            let scope = |name: &str| scope.sub(format!("{name}{}", i + 1));
            inner.push(conv(&scope("fpn_inner"), inputs, outputs, 1, 1)?);
            layer.push(conv(&scope("fpn_layer"), outputs, outputs, 3, 1)?);
        }
        let extra = Extra::new(config, scope)?;
        Ok(Self {
            inner,
            layer,
            extra,
        })
    }

    /// The levels P2, P3, ... for a backbone's maps C2, C3, ...: (B, C_k, H_k, W_k) each become
    /// (B, outputs, H_k, W_k), from the finest to the coarsest, further levels last.
    ///
    /// # Errors
    /// When the number of maps is another than the configuration's, or their shapes do not fit.
    pub fn forward(&self, maps: &[Tensor]) -> Result<Vec<Tensor>> {
        let [.., coarsest] = maps else {
            candle_core::bail!("fpn: no maps, expected {}", self.inner.len())
        };
        if maps.len() != self.inner.len() {
            candle_core::bail!("fpn: {} maps, expected {}", maps.len(), self.inner.len())
        }
        let mut levels = Vec::with_capacity(maps.len() + 2);
        let mut above: Option<Tensor> = None;
        for (map, (inner, layer)) in maps.iter().zip(self.inner.iter().zip(&self.layer)).rev() {
            let lateral = inner.forward(map)?;
            let top_down = match &above {
                Some(above) => {
                    let (_, _, h, w) = lateral.dims4()?;
                    ops::add(&lateral, &ops::resize_nearest(above, (h, w))?)?
                }
                None => lateral,
            };
            levels.push(layer.forward(&top_down)?);
            above = Some(top_down);
        }
        let extra = self.extra.forward(coarsest, &levels[0])?;
        levels.reverse();
        levels.extend(extra);
        Ok(levels)
    }
}

/// The names of torchvision's `FeaturePyramidNetwork`, of its published detectors (written before
/// 0.13) and of newer files, to those of [`Fpn`].
pub fn torchvision_names() -> Rename {
    Rename::new()
        .to("inner_blocks.{k}.0.*", "fpn_inner{k+1}.*")
        .to("layer_blocks.{k}.0.*", "fpn_layer{k+1}.*")
        .to("inner_blocks.{k}.*", "fpn_inner{k+1}.*")
        .to("layer_blocks.{k}.*", "fpn_layer{k+1}.*")
        .to("extra_blocks.*", "top_blocks.*")
}

/// The names of Detectron's (Caffe2) pyramids on a ResNet whose stages have `depths` blocks, to
/// those of [`Fpn`].
///
/// Names as in maskrcnn-benchmark, utils/c2_model_loading.py.
pub fn detectron_names(depths: &[usize]) -> Rename {
    let mut table = Rename::new();
    for (i, &depth) in depths.iter().enumerate() {
        let sum = format!("res{}_{}_sum", i + 2, depth.saturating_sub(1));
        let lateral = if i + 1 < depths.len() { "_lateral" } else { "" };
        for (theirs, ours) in [("w", "weight"), ("b", "bias")] {
            table = table
                .to(
                    &format!("fpn_inner_{sum}{lateral}_{theirs}"),
                    &format!("fpn_inner{}.{ours}", i + 1),
                )
                .to(
                    &format!("fpn_{sum}_{theirs}"),
                    &format!("fpn_layer{}.{ours}", i + 1),
                );
        }
    }
    table
}
