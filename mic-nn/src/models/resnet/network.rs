//! The network.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::block::{Block, ConvNorm, Kernel, ONE, Part};
use super::config::{ResNetConfig, Stem};
use crate::forward::Forward;
use crate::layers::Linear;
use crate::ops::{self, Pool2dOptions};
use crate::params::Scope;
use crate::weights::Rename;

/// The backbone, and torchvision's classifier where the configuration has classes.
pub struct ResNet {
    stem: Vec<ConvNorm>,
    stages: Vec<Vec<Arc<Block>>>,
    fc: Option<Linear>,
}

impl ResNet {
    /// Declares the network's parameters below `scope`.
    ///
    /// # Errors
    /// A configuration that [`ResNetConfig::check`] refuses.
    pub fn new(config: &ResNetConfig, scope: &Scope) -> Result<Self> {
        config.check()?;
        let part = |scope: Scope, place: usize| Part {
            config,
            scope,
            trained: place >= config.frozen,
        };
        let stem = stem(&part(scope.clone(), 0))?;
        let mut inputs = config.stem_channels;
        let mut stages = Vec::new();
        for (stage, outputs) in config.channels().into_iter().enumerate() {
            let layer = scope.sub(format!("layer{}", stage + 1));
            let blocks = (0..config.depths[stage]).map(|index| {
                let inputs = if index == 0 { inputs } else { outputs };
                let part = part(layer.sub(index), stage + 1);
                Ok(Arc::new(Block::new(&part, stage, index, inputs)?))
            });
            stages.push(blocks.collect::<Result<Vec<_>>>()?);
            inputs = outputs;
        }
        let fc = config
            .classes
            .map(|classes| Linear::torch_default(&scope.sub("fc"), inputs, classes));
        Ok(Self {
            stem,
            stages,
            fc: fc.transpose()?,
        })
    }

    /// Features of every stage for an image batch (B, 3, H, W): C2, C3, C4 and C5, each
    /// (B, C_s, H_s, W_s) with the channels of [`ResNetConfig::channels`], at strides 4, 8, 16, 32
    /// (V1c: 4, 8, 8, 8) with sizes rounded up. With [`Forward::recompute`] every block is
    /// recomputed in the backward pass.
    ///
    /// # Errors
    /// When the image has another shape or dtype, or with batch statistics and a single value per
    /// channel.
    pub fn forward(&self, image: &Tensor, mode: &Forward) -> Result<Vec<Tensor>> {
        self.stages_of(self.stem(image, mode)?, mode)
    }

    /// The stem's output at stride 4, behind the max pooling: the input of the first stage.
    ///
    /// # Errors
    /// As [`ResNet::forward`].
    pub fn stem(&self, image: &Tensor, mode: &Forward) -> Result<Tensor> {
        let mut x = image.clone();
        for unit in &self.stem {
            x = unit.forward_relu(&x, mode)?;
        }
        let pool = Pool2dOptions {
            kernel: (3, 3),
            stride: (2, 2),
            padding: (1, 1),
        };
        ops::max_pool2d(&x, &pool)
    }

    fn stages_of(&self, mut x: Tensor, mode: &Forward) -> Result<Vec<Tensor>> {
        let mut features = Vec::with_capacity(self.stages.len());
        for blocks in &self.stages {
            for block in blocks {
                let block = Arc::clone(block);
                x = mode.block(&x, move |x: &Tensor, mode: &Forward| block.forward(x, mode))?;
            }
            features.push(x.clone());
        }
        Ok(features)
    }

    /// Logits (B, classes) of `fc` on the last stage's features, averaged over the map.
    ///
    /// # Errors
    /// When there is no classifier; otherwise as [`ResNet::forward`].
    pub fn classify(&self, image: &Tensor, mode: &Forward) -> Result<Tensor> {
        let (Some(fc), Some(last)) = (&self.fc, self.forward(image, mode)?.pop()) else {
            candle_core::bail!("the ResNet was built without classes, it cannot classify")
        };
        fc.forward(&ops::global_avg_pool2d(&last)?)
    }
}

fn stem(part: &Part) -> Result<Vec<ConvNorm>> {
    let channels = part.config.stem_channels;
    let half = channels / 2;
    let layers = match part.config.stem {
        Stem::Plain => vec![("conv1", "bn1", (3, channels), Kernel::new(7, 2))],
        Stem::Prefixed => vec![("stem.conv1", "stem.bn1", (3, channels), Kernel::new(7, 2))],
        Stem::Deep => vec![
            ("stem.0", "stem.1", (3, half), Kernel::new(3, 2)),
            ("stem.3", "stem.4", (half, half), Kernel::new(3, 1)),
            ("stem.6", "stem.7", (half, channels), Kernel::new(3, 1)),
        ],
    };
    layers
        .into_iter()
        .map(|(conv, norm, channels, kernel)| part.unit(conv, norm, channels, kernel, ONE))
        .collect()
}

/// The names of Detectron's (Caffe2) ResNets, such as MSRA's R-50.pkl, to those of
/// [`ResNetConfig::detection`]. The classifier is left out. Such files have no statistics: the
/// frozen norm's stay 0 and 1.
///
/// Names as in maskrcnn-benchmark, utils/c2_model_loading.py.
pub fn detectron_names() -> Rename {
    let mut table = Rename::new()
        .to("conv1_w", "stem.conv1.weight")
        .to("res_conv1_bn_s", "stem.bn1.weight")
        .to("res_conv1_bn_b", "stem.bn1.bias");
    for stage in 1..=4 {
        let branches = [
            ("branch2a", "conv1", "bn1"),
            ("branch2b", "conv2", "bn2"),
            ("branch2c", "conv3", "bn3"),
            ("branch1", "downsample.0", "downsample.1"),
        ];
        for (branch, conv, norm) in branches {
            let from = format!("res{}_{{b}}_{branch}", stage + 1);
            let to = format!("layer{stage}.{{b}}");
            table = table
                .to(&format!("{from}_w"), &format!("{to}.{conv}.weight"))
                .to(&format!("{from}_bn_s"), &format!("{to}.{norm}.weight"))
                .to(&format!("{from}_bn_b"), &format!("{to}.{norm}.bias"));
        }
    }
    table.drop("conv1_b").drop("fc1000_*").drop("pred_*")
}
