//! Our side of one whole iteration of self-training with masked consistency.

use std::time::Instant;

use candle_core::{DType, Device, Error, Result, Tensor};
use mic_core::augment::{ColorJitter, GaussianBlur, JitterOp, Normalization, Strong, StrongConfig};
use mic_core::{BlockMask, BlockMaskConfig, Confidence, EmaTeacher, PseudoLabelConfig};
use mic_data::{SourceBatch, TargetBatch, UdaBatch};
use mic_nn::forward::Drops;
use mic_nn::models::mit::MitConfig;
use mic_nn::ops;
use mic_nn::optim::{AdamW, AdamWConfig, GroupRules, Optimizer, Rule};
use mic_nn::params::Store;
use mic_seg::config::{Images, MaskMode};
use mic_seg::model::{
    Backbone, CropBox, DaformerHeadConfig, DetailCrop, HrdaConfig, SegmentorConfig, separable_aspp,
};
use mic_seg::uda::{
    ClassMix, Crops, Draws, FeatureDistance, MaskDraws, MaskedConsistency, MixDraws, Options,
    SelfTraining, TargetUse, distinct_classes,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Serialize;

use super::Network;
use crate::bench::cases::fill;

/// An iteration's options and everything random in it.
#[derive(Clone, Debug, Serialize)]
pub(in crate::bench) struct Iteration {
    pub(super) backbone: MitConfig,
    pub(super) channels: usize,
    pub(super) dilations: Vec<usize>,
    pub(super) detail: Option<DetailSpec>,
    /// Side of a mask block in pixels.
    block: usize,
    ratio: f64,
    alpha: f64,
    threshold: f32,
    feature_distance: f64,
    things: Vec<u8>,
    mixed: Vec<Drawn>,
    masked: Drawn,
}

/// HRDA's detail crop in every pass: top, bottom, left, right.
#[derive(Clone, Debug, Serialize)]
pub(super) struct DetailSpec {
    side: usize,
    loss: f64,
    source: [usize; 4],
    mixed: [usize; 4],
    masked: [usize; 4],
}

/// Colour jitter and blur, which are always on here.
#[derive(Clone, Debug, Serialize)]
struct Drawn {
    brightness: Vec<f32>,
    contrast: Vec<f32>,
    saturation: Vec<f32>,
    hue: Vec<f32>,
    order: [usize; 4],
    sigma: f64,
}

impl Iteration {
    /// The published options for images of `side` pixels, two of each domain; with the detail of
    /// crops of half that side if `hrda`.
    pub(super) fn new(backbone: MitConfig, side: usize, hrda: bool) -> Self {
        let drawn = |images: &[usize], order, sigma| {
            let pick = |values: [f32; 2]| images.iter().map(|&i| values[i]).collect();
            Drawn {
                brightness: pick([1.1, 0.9]),
                contrast: pick([0.85, 1.15]),
                saturation: pick([1.2, 0.8]),
                hue: pick([0.1, -0.15]),
                order,
                sigma,
            }
        };
        Self {
            backbone,
            channels: 256,
            dilations: vec![1, 6, 12, 18],
            detail: hrda.then(|| DetailSpec::new(side)),
            block: side / 16,
            ratio: 0.7,
            alpha: 0.999,
            // Random weights are never sure: a share of the pixels has to pass.
            threshold: 0.12,
            feature_distance: 0.005,
            things: vec![6, 7, 11, 12, 13, 14, 15, 16, 17, 18],
            mixed: vec![
                drawn(&[0], [2, 0, 3, 1], 0.7),
                drawn(&[1], [1, 3, 0, 2], 0.4),
            ],
            masked: drawn(&[0, 1], [3, 1, 0, 2], 0.9),
        }
    }

    /// The same for other images and a smaller head.
    pub(super) fn resized(self, backbone: MitConfig, side: usize, channels: usize) -> Self {
        Self {
            channels,
            ..Self::new(backbone, side, self.detail.is_some())
        }
    }

    fn model(&self, classes: usize) -> SegmentorConfig {
        let head = DaformerHeadConfig {
            embed: self.channels,
            channels: self.channels,
            fusion: separable_aspp(&self.dilations),
            dropout: 0.0,
            ..DaformerHeadConfig::new(&self.backbone.embed_dims, classes)
        };
        let backbone = MitConfig {
            drop_path_rate: 0.0,
            ..self.backbone.clone()
        };
        let model = SegmentorConfig::new(backbone, head);
        match &self.detail {
            None => model,
            Some(detail) => model.with_hrda(HrdaConfig {
                attention_channels: self.channels,
                detail_loss: detail.loss,
                ..HrdaConfig::new((detail.side, detail.side))
            }),
        }
    }

    fn pseudo(&self) -> PseudoLabelConfig {
        PseudoLabelConfig {
            confidence: Confidence::ShareAbove(self.threshold),
            ignore_top: 0,
            ignore_bottom: 0,
        }
    }

    fn options(&self, classes: usize, detail: Option<DetailCrop>) -> Options {
        Options {
            target: TargetUse::Mixing,
            augment_source: false,
            strong: StrongConfig::default(),
            normalization: Normalization::IMAGENET,
            alpha: self.alpha,
            pseudo: self.pseudo(),
            feature_distance: Some(FeatureDistance {
                lambda: self.feature_distance,
                classes: self.things.clone(),
                min_ratio: 0.75,
                num_classes: classes,
            }),
            masked: Some(MaskedConsistency {
                mode: MaskMode {
                    images: Images::Target,
                    augment: true,
                },
                blocks: BlockMaskConfig {
                    block: self.block,
                    ratio: self.ratio,
                },
                lambda: 1.0,
                own_teacher: None,
            }),
            detail,
            recompute: false,
        }
    }

    fn draws(&self, image: [usize; 4], label: &Tensor) -> Result<Draws> {
        let [batch, _, height, width] = image;
        let rows = height / self.block;
        let uniform = fill("blocks", &[batch, 1, rows, width / self.block])?;
        let blocks = uniform.affine(5.0, 0.5)?;
        let blocks = BlockMask::from_uniforms(&blocks, self.ratio, height, width);
        let distinct = distinct_classes(label)?;
        let pasted: Vec<u8> = distinct.into_iter().step_by(2).collect();
        let crop = |pick: fn(&DetailSpec) -> [usize; 4]| {
            let [y1, y2, x1, x2] = pick(self.detail.as_ref()?);
            Some(CropBox { y1, y2, x1, x2 })
        };
        Ok(Draws {
            source: None,
            mix: Some(MixDraws {
                classes: ClassMix {
                    pasted: vec![pasted; batch],
                },
                strong: strong(&self.mixed),
            }),
            masked: Some(MaskDraws {
                strong: Some(strong(std::slice::from_ref(&self.masked))),
                blocks: blocks.map_err(Error::wrap)?,
            }),
            crops: Crops {
                source: crop(|detail| detail.source),
                mixed: crop(|detail| detail.mixed),
                target: None,
                masked: crop(|detail| detail.masked),
            },
        })
    }
}

impl DetailSpec {
    fn new(side: usize) -> Self {
        let crop = side / 2;
        let at = |y: usize, x: usize| [y, y + crop, x, x + crop];
        Self {
            side: crop,
            loss: 0.1,
            source: at(side / 4, side / 8),
            mixed: at(0, side / 4),
            masked: at(side / 8, side / 4),
        }
    }
}

fn strong(drawn: &[Drawn]) -> Strong {
    let jitter = |drawn: &Drawn| ColorJitter {
        brightness: drawn.brightness.clone(),
        contrast: drawn.contrast.clone(),
        saturation: drawn.saturation.clone(),
        hue: drawn.hue.clone(),
        order: drawn.order.map(|op| JitterOp::ALL[op]).to_vec(),
    };
    Strong {
        jitter: drawn.iter().map(jitter).collect(),
        blur: drawn
            .iter()
            .map(|d| GaussianBlur { sigma: d.sigma })
            .collect(),
    }
}

/// Nothing is dropped: both sides compute the same.
struct NoDrops;

impl Drops for NoDrops {
    fn keep(&self, _: &str, _: f64, count: usize) -> Vec<bool> {
        vec![true; count]
    }
}

/// Squares of 64 pixels, every eleventh pixel ignored.
fn labels([batch, _, height, width]: [usize; 4]) -> Result<Tensor> {
    let label = |i: usize| {
        let (b, y, x) = (i / (height * width), i / width % height, i % width);
        match i % 11 {
            0 => 255,
            _ => ((11 + 7 * b + 5 * (y / 64) + 3 * (x / 64)) % 19) as u8,
        }
    };
    let labels = (0..batch * height * width).map(label);
    let labels: Vec<u8> = labels.collect();
    Tensor::from_vec(labels, (batch, height, width), &Device::Cpu)
}

fn batch(image: [usize; 4]) -> Result<UdaBatch> {
    Ok(UdaBatch {
        source: SourceBatch {
            image: (fill("image", &image)? * 10.0)?,
            label: labels(image)?,
            names: Vec::new(),
        },
        target: Some(TargetBatch {
            image: (fill("target", &image)? * 10.0)?,
            valid: None,
            names: Vec::new(),
        }),
    })
}

fn fresh() -> Store {
    Store::trainable(ChaCha8Rng::seed_from_u64(0), DType::F32, &Device::Cpu)
}

/// One step: whether blocks are recomputed, to what was logged in the order of the names.
pub(super) type Step = Box<dyn FnMut(bool) -> Result<Vec<f64>>>;

/// The iteration of a network, with weights from names; every call is the next step.
///
/// # Errors
/// A network that cannot be built.
pub(super) fn step(iteration: &Iteration, network: &Network) -> Result<Step> {
    let (lr, weight_decay) = network.optimizer.rates();
    let model = iteration.model(network.classes);
    let imagenet = fresh();
    let scope = |store: &Store| store.root().sub("imagenet");
    Backbone::new(&model.backbone, &scope(&imagenet))?;
    imagenet.fill_from_names()?;
    let imagenet = Backbone::new(&model.backbone, &scope(&imagenet.frozen_copy()?))?;
    let detail = model.hrda.as_ref().map(|hrda| hrda.crop);
    let options = iteration.options(network.classes, detail);
    let training = SelfTraining::new(&model, fresh(), options, Some(imagenet));
    let mut training = training.map_err(Error::wrap)?;
    training.store().fill_from_names()?;
    let rule = |key: &str, lr_mult, decay_mult| Rule {
        key: key.into(),
        lr_mult,
        decay_mult,
    };
    let rules = GroupRules {
        base_lr: lr,
        base_weight_decay: weight_decay,
        rules: vec![rule("head", 10.0, 1.0), rule("norm", 1.0, 0.0)],
    };
    let mut optimizer = AdamW::new(&training.store().vars(), &rules, AdamWConfig::default());
    let batch = batch(network.image)?;
    let draws = iteration.draws(network.image, &batch.source.label)?;
    let mut number = 0;
    Ok(Box::new(move |recompute| {
        training.set_recompute(recompute);
        let told = training.step(number, &batch, &draws, &NoDrops, None);
        let told = told.map_err(Error::wrap)?;
        optimizer.step(training.grads(), &|lr| lr)?;
        number += 1;
        Ok(told.into_values().collect())
    }))
}

/// Seconds of what masked consistency and mixing add to forward and backward passes: the teacher's
/// average, pseudo-labels from logits, mixing, jitter, blur and masking; the least of some turns.
///
/// # Errors
/// A network that cannot be built.
pub(super) fn extras(iteration: &Iteration, network: &Network) -> Result<Vec<(&'static str, f64)>> {
    let model = iteration.model(network.classes);
    let store = fresh();
    mic_seg::model::Segmentor::new(&model, &store.root())?;
    let frozen = store.frozen_copy()?;
    let pairs = frozen.params().into_iter().zip(store.params());
    let pairs = pairs.map(|((name, teacher), (_, student))| (name, teacher, student));
    let average = EmaTeacher::over(pairs.collect(), iteration.alpha);
    let mut average = average.map_err(Error::wrap)?;
    let batch = batch(network.image)?;
    let label = &batch.source.label;
    let draws = iteration.draws(network.image, label)?;
    let [images, _, height, width] = network.image;
    let logits = fill("logits", &[images, network.classes, height / 4, width / 4])?;
    let logits = ops::resize_bilinear(&logits, (height, width), false)?;
    let (Some(mix), Some(masked), Some(target)) = (draws.mix, draws.masked, batch.target) else {
        candle_core::bail!("an iteration without mixing or masking")
    };
    let normalization = &Normalization::IMAGENET;
    let image = &batch.source.image;
    let mut step = 0;
    Ok(vec![
        (
            "average of the weights",
            least(|| {
                average.update(step).map_err(Error::wrap)?;
                step += 1;
                Ok(())
            })?,
        ),
        (
            "pseudo-labels",
            least(|| {
                let labels = iteration.pseudo().label(&logits, None);
                labels.map(drop).map_err(Error::wrap)
            })?,
        ),
        (
            "mixing",
            least(|| {
                let mask = mix.classes.mask(label)?;
                mic_seg::uda::mix(&mask, image, &target.image)?;
                mic_seg::uda::mix(&mask, label, label).map(drop)
            })?,
        ),
        (
            "jitter and blur",
            least(|| {
                let mixed = mix.strong.apply(image, normalization);
                mixed.map_err(Error::wrap)?;
                match &masked.strong {
                    Some(strong) => strong
                        .apply(image, normalization)
                        .map(drop)
                        .map_err(Error::wrap),
                    None => Ok(()),
                }
            })?,
        ),
        (
            "masking",
            least(|| {
                masked
                    .blocks
                    .apply(&target.image)
                    .map(drop)
                    .map_err(Error::wrap)
            })?,
        ),
    ])
}

fn least(mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..7 {
        let start = Instant::now();
        run()?;
        least = least.min(start.elapsed().as_secs_f64());
    }
    Ok(least)
}
