//! Recordings whose tolerance is relative to the largest value of a tensor, and small networks.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub)] // helpers of several test targets

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use mic_cls::losses::DomainLoss;
use mic_cls::model::{BackboneConfig, ClassifierConfig, LeNetConfig, Network};
use mic_cls::uda::{
    Adaptation, AdversaryOptions, Ascent, ClsBatch, Gating, MaskedConsistency, Options, SgdOptions,
    Statistics, TeacherNorm, WeightedLosses,
};
use mic_core::augment::{
    ColorJitter, ColorJitterConfig, GaussianBlur, JitterOp, Normalization, Strong, StrongConfig,
};
use mic_core::{BlockMaskConfig, Confidence};
use mic_nn::forward::Drops;
use mic_nn::models::resnet::ResNetConfig;
use mic_nn::models::vit::{VitConfig, VitSize};
use mic_nn::optim::{SamConfig, SgdConfig};
use mic_nn::schedule::{InverseDecay, WarmStart};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::golden::{Golden, values};

/// Dropout that drops nothing.
pub struct NoDrops;

impl Drops for NoDrops {
    fn keep(&self, _: &str, _: f64, count: usize) -> Vec<bool> {
        vec![true; count]
    }
}

/// One file of the classification recordings.
pub struct Recorded {
    /// The file.
    pub golden: Golden,
    tolerance: f64,
}

impl Recorded {
    pub fn read(golden: Golden) -> Self {
        let tolerance = golden.metadata("tolerance_rel_to_max_abs");
        let tolerance = tolerance.as_f64().unwrap();
        Self { golden, tolerance }
    }

    pub fn open(name: &str) -> Self {
        Self::read(Golden::open("cls", name))
    }

    /// Integers have to be equal, floats agree within the file's tolerance.
    pub fn check(&self, key: &str, actual: &Tensor) {
        let expected = self.golden.get(key);
        if !expected.dtype().is_float() {
            return self.golden.check_within(key, actual, 0.0);
        }
        let largest = self
            .golden
            .numbers(key)
            .iter()
            .fold(0f64, |m, v| m.max(v.abs()));
        self.golden
            .check_within(key, actual, self.tolerance * largest.max(0.02));
    }

    pub fn check_scalar(&self, key: &str, actual: f64) {
        self.check(key, &Tensor::new(actual, &Device::Cpu).unwrap());
    }

    pub fn has(&self, key: &str) -> bool {
        self.golden.find(key).is_some()
    }

    pub fn number(&self, key: &str) -> f64 {
        self.golden.config[key]
            .as_f64()
            .unwrap_or_else(|| panic!("no number {key}"))
    }

    pub fn count(&self, key: &str) -> usize {
        self.number(key) as usize
    }
}

/// Recorded colour changes below `prefix`, if there are any.
pub fn strong(file: &Recorded, prefix: &str) -> Option<Strong> {
    let get = |name: &str| file.golden.find(&format!("{prefix}{name}"));
    let factors = |name: &str| -> Vec<f32> { get(name).unwrap().to_vec1().unwrap() };
    let jitter = get("order").map(|order| ColorJitter {
        brightness: factors("brightness"),
        contrast: factors("contrast"),
        saturation: factors("saturation"),
        hue: factors("hue"),
        order: values(order)
            .iter()
            .map(|op| JitterOp::ALL[*op as usize])
            .collect(),
    });
    let blur = get("blur_sigma").map(|sigma| GaussianBlur {
        sigma: values(sigma)[0],
    });
    let strong = Strong {
        jitter: jitter.into_iter().collect(),
        blur: blur.into_iter().collect(),
    };
    (!strong.jitter.is_empty() || !strong.blur.is_empty()).then_some(strong)
}

/// MIC on SDAT at the values of the paper's runs, for small networks.
pub fn mic(block: usize) -> Options {
    Options {
        mcc: Some(2.0),
        adversary: Some(AdversaryOptions {
            hidden: 12,
            randomized: None,
            by_entropy: false,
            loss: DomainLoss::Probabilities,
            reversal: WarmStart::default(),
        }),
        ascent: Some(Ascent {
            sam: SamConfig {
                rho: 0.02,
                adaptive: false,
            },
            trade_off: false,
        }),
        masked: Some(MaskedConsistency {
            blocks: BlockMaskConfig { block, ratio: 0.7 },
            strong: Some(StrongConfig {
                jitter: ColorJitterConfig::with_strength(0.2),
                jitter_threshold: 0.2,
                blur: true,
            }),
            gating: Gating::Step,
            normalization: Normalization::IMAGENET,
            alpha: 0.9,
            confidence: Confidence::MaxProbability,
            weighted: WeightedLosses::Ascent,
            teacher_norm: TeacherNorm::Batch,
        }),
        trade_off: 1.0,
        statistics: Statistics::EveryPass,
        recompute: false,
        sgd: SgdOptions {
            lr: 0.02,
            backbone_lr_mult: 0.1,
            weight_decay: 1e-3,
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

/// A copy of the state, by name.
pub fn state(method: &Adaptation) -> HashMap<String, Tensor> {
    let copy = |(name, tensor): (String, Tensor)| (name, tensor.copy().unwrap());
    method.state().unwrap().into_iter().map(copy).collect()
}

/// A waved image batch (B, 3, H, W), different for each `phase`.
pub fn images(batch: usize, side: usize, phase: f64) -> Tensor {
    let count = batch * 3 * side * side;
    let pixels = (0..count).map(|i| ((0.37 * i as f64 + phase).sin() * (1.0 + phase)).sin() as f32);
    let flat = Tensor::from_iter(pixels, &Device::Cpu).unwrap();
    flat.reshape((batch, 3, side, side)).unwrap()
}

/// The values of two tensors, bit by bit.
pub fn same(a: &Tensor, b: &Tensor) -> bool {
    let bits = |t: &Tensor| -> Vec<u64> {
        let t = t.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
        t.to_vec1::<f64>()
            .unwrap()
            .into_iter()
            .map(f64::to_bits)
            .collect()
    };
    a.dims() == b.dims() && bits(a) == bits(b)
}

/// The published method's parts by name: `source_only`, `cdan`, `cdan_mcc`, `cdan_sdat` or `sdat`,
/// with masked image consistency or without.
pub fn options(kind: &str, masked: bool) -> Options {
    let mut options = mic(8);
    if kind == "source_only" {
        options.adversary = None;
    }
    if !["cdan_mcc", "sdat"].contains(&kind) {
        options.mcc = None;
    }
    if !kind.ends_with("sdat") {
        options.ascent = None;
    }
    if !masked {
        options.masked = None;
    }
    options
}

/// Every method.
pub const KINDS: [&str; 5] = ["source_only", "cdan", "cdan_mcc", "cdan_sdat", "sdat"];

/// Small backbones of every kind, for images of 32 x 32 pixels.
pub fn backbones() -> [BackboneConfig; 3] {
    [
        BackboneConfig::ResNet(ResNetConfig {
            depths: vec![1, 1],
            strides: vec![1, 2],
            dilations: vec![1, 1],
            width: 4,
            stem_channels: 4,
            classes: Some(7),
            ..ResNetConfig::torchvision(50).unwrap()
        }),
        BackboneConfig::Vit(VitConfig {
            image_size: (SIDE, SIDE),
            patch: 8,
            dim: 12,
            depth: 2,
            heads: 3,
            ..VitConfig::variant(VitSize::Base)
        }),
        BackboneConfig::LeNet(LeNetConfig {
            image_size: SIDE,
            channels: [3, 4],
            features: 10,
            dropout: 0.5,
        }),
    ]
}

/// Side of the images that [`backbones`] see.
pub const SIDE: usize = 32;

/// A method over a small network of 4 classes.
pub fn method(backbone: &BackboneConfig, options: Options, seed: u64) -> Adaptation {
    let config = ClassifierConfig {
        backbone: backbone.clone(),
        bottleneck: Some(6),
        classes: 4,
    };
    let student = Network::new(&config, ChaCha8Rng::seed_from_u64(seed)).unwrap();
    Adaptation::new(student, options, seed).unwrap()
}

/// The batch of a step: 5 images of each domain.
pub fn batch(step: u64) -> ClsBatch {
    let labels = (0..5u32).map(|i| (i + step as u32) % 4);
    ClsBatch {
        source: images(5, SIDE, 0.2 + step as f64),
        labels: Tensor::from_iter(labels, &Device::Cpu).unwrap(),
        target: Some(images(5, SIDE, 0.7 + step as f64)),
    }
}
