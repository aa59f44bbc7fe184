//! Our side of one whole iteration of SDAT with masked image consistency.

use candle_core::{DType, Device, Error, Result, Tensor};
use mic_cls::losses::DomainLoss;
use mic_cls::model::{BackboneConfig, ClassifierConfig};
use mic_cls::uda::{
    Adaptation, AdversaryOptions, Ascent, ClsBatch, Draws, Gating, MaskDraws, MaskedConsistency,
    Options, SgdOptions, Statistics, TeacherNorm, WeightedLosses,
};
use mic_core::augment::{ColorJitter, GaussianBlur, JitterOp, Normalization, Strong, StrongConfig};
use mic_core::{BlockMask, BlockMaskConfig, Confidence};
use mic_nn::forward::Drops;
use mic_nn::models::resnet::ResNetConfig;
use mic_nn::models::vit::VitConfig;
use mic_nn::optim::{SamConfig, SgdConfig};
use mic_nn::schedule::{InverseDecay, WarmStart};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Serialize;

use super::Network;
use super::iteration::Step;
use crate::bench::cases::fill;

/// An iteration's options and everything random in it.
#[derive(Clone, Debug, Serialize)]
pub(in crate::bench) struct Classifier {
    backbone: Backbone,
    /// What the bottleneck sees.
    features: usize,
    bottleneck: usize,
    /// Width of the discriminator.
    hidden: usize,
    /// Side of a mask block in pixels.
    block: usize,
    ratio: f64,
    alpha: f64,
    temperature: f64,
    rho: f64,
    trade_off: f64,
    drawn: Drawn,
}

/// The backbone.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(in crate::bench) enum Backbone {
    Resnet(ResNetConfig),
    Vit(VitConfig),
}

/// Colour jitter and blur of the masked images, which are always on here.
#[derive(Clone, Debug, Serialize)]
struct Drawn {
    brightness: Vec<f32>,
    contrast: Vec<f32>,
    saturation: Vec<f32>,
    hue: Vec<f32>,
    order: [usize; 4],
    sigma: f64,
}

impl Classifier {
    /// The published options for a batch of `batch` images of each domain.
    pub(super) fn new(backbone: Backbone, batch: usize) -> Self {
        let alternate = |values: [f32; 2]| (0..batch).map(|i| values[i % 2]).collect();
        Self {
            features: backbone.config().features(),
            backbone,
            bottleneck: 256,
            hidden: 1024,
            block: 64,
            ratio: 0.7,
            alpha: 0.9,
            temperature: 2.0,
            rho: 0.02,
            trade_off: 1.0,
            drawn: Drawn {
                brightness: alternate([1.1, 0.9]),
                contrast: alternate([0.85, 1.15]),
                saturation: alternate([1.2, 0.8]),
                hue: alternate([0.1, -0.15]),
                order: [3, 1, 0, 2],
                sigma: 0.9,
            },
        }
    }

    /// Narrow and shallow, for `batch` images of `side` pixels: the same code in no time.
    pub(super) fn tiny(self, batch: usize, side: usize) -> Self {
        let backbone = match self.backbone {
            Backbone::Resnet(config) => Backbone::Resnet(ResNetConfig {
                depths: vec![1; config.depths.len()],
                ..config
            }),
            Backbone::Vit(config) => Backbone::Vit(VitConfig {
                image_size: (side, side),
                dim: 48,
                depth: 2,
                heads: 3,
                ..config
            }),
        };
        Self {
            bottleneck: 16,
            hidden: 16,
            block: side / 4,
            ..Self::new(backbone, batch)
        }
    }

    fn options(&self, (lr, weight_decay): (f64, f64)) -> Options {
        Options {
            mcc: Some(self.temperature),
            adversary: Some(AdversaryOptions {
                hidden: self.hidden,
                randomized: None,
                by_entropy: false,
                loss: DomainLoss::Probabilities,
                reversal: WarmStart::default(),
            }),
            ascent: Some(Ascent {
                sam: SamConfig {
                    rho: self.rho,
                    adaptive: false,
                },
                trade_off: false,
            }),
            masked: Some(MaskedConsistency {
                blocks: BlockMaskConfig {
                    block: self.block,
                    ratio: self.ratio,
                },
                strong: Some(StrongConfig::default()),
                gating: Gating::Step,
                normalization: Normalization::IMAGENET,
                alpha: self.alpha,
                confidence: Confidence::MaxProbability,
                weighted: WeightedLosses::Ascent,
                teacher_norm: TeacherNorm::Batch,
            }),
            trade_off: self.trade_off,
            statistics: Statistics::EveryPass,
            recompute: false,
            sgd: SgdOptions {
                lr,
                backbone_lr_mult: 0.1,
                weight_decay,
                decay_all: true,
                momentum: SgdConfig {
                    momentum: 0.9,
                    nesterov: true,
                },
                schedule: InverseDecay {
                    gamma: 0.001,
                    decay: 0.75,
                },
            },
        }
    }

    fn draws(&self, [batch, _, height, width]: [usize; 4]) -> Result<Draws> {
        let config = BlockMaskConfig {
            block: self.block,
            ratio: self.ratio,
        };
        let (rows, columns) = config.grid(height, width).map_err(Error::wrap)?;
        let uniform = fill("blocks", &[batch, 1, rows, columns])?.affine(5.0, 0.5)?;
        let blocks = BlockMask::from_uniforms(&uniform, self.ratio, height, width);
        let drawn = &self.drawn;
        Ok(Draws {
            masked: Some(MaskDraws {
                strong: Some(Strong {
                    jitter: vec![ColorJitter {
                        brightness: drawn.brightness.clone(),
                        contrast: drawn.contrast.clone(),
                        saturation: drawn.saturation.clone(),
                        hue: drawn.hue.clone(),
                        order: drawn.order.iter().map(|op| JitterOp::ALL[*op]).collect(),
                    }],
                    blur: vec![GaussianBlur { sigma: drawn.sigma }],
                }),
                blocks: blocks.map_err(Error::wrap)?,
            }),
        })
    }
}

impl Backbone {
    fn config(&self) -> BackboneConfig {
        match self {
            Self::Resnet(config) => BackboneConfig::ResNet(config.clone()),
            Self::Vit(config) => BackboneConfig::Vit(config.clone()),
        }
    }
}

/// Dropout that drops nothing; the networks have none.
struct NoDrops;

impl Drops for NoDrops {
    fn keep(&self, _: &str, _: f64, count: usize) -> Vec<bool> {
        vec![true; count]
    }
}

/// Iterations on one batch; each tells its losses in the order of their names.
///
/// # Errors
/// A network that cannot be built.
pub(super) fn step(classifier: &Classifier, network: &Network) -> Result<Step> {
    let config = ClassifierConfig {
        backbone: classifier.backbone.config(),
        bottleneck: Some(classifier.bottleneck),
        classes: network.classes,
    };
    let student = mic_cls::model::Network::new(&config, ChaCha8Rng::seed_from_u64(0));
    let student = student.map_err(Error::wrap)?;
    student.store.fill_from_names()?;
    let options = classifier.options(network.optimizer.rates());
    let mut method = Adaptation::new(student, options, 0).map_err(Error::wrap)?;
    if let Some(adversary) = method.adversary() {
        adversary.store().fill_from_names()?;
    }
    let labels = (0..network.image[0]).map(|i| ((i * 131 + 7) % network.classes) as u32);
    let batch = ClsBatch {
        source: (fill("image", &network.image)? * 10.0)?,
        labels: Tensor::from_iter(labels, &Device::Cpu)?.to_dtype(DType::U32)?,
        target: Some((fill("target", &network.image)? * 10.0)?),
    };
    let draws = classifier.draws(network.image)?;
    let mut number = 0;
    Ok(Box::new(move |recompute| {
        method.set_recompute(recompute);
        let told = method.step(number, &batch, &draws, &NoDrops, None);
        number += 1;
        let told = told.map_err(Error::wrap)?.into_iter();
        let losses =
            told.filter(|(name, _)| name.starts_with("ascent.") || name.starts_with("loss."));
        Ok(losses.map(|(_, value)| value).collect())
    }))
}
