//! A small detector with its batches, for tests of training.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub)] // helpers of several test targets

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use mic_core::BlockMaskConfig;
use mic_det::batch::{Batch, SourceBatch, TargetBatch, Truth};
use mic_det::detector::{DetectorConfig, Model};
use mic_det::sada::InstanceLevels;
use mic_det::uda::{Adaptation, MaskedConsistency, Options, SgdOptions};
use mic_nn::params::Store;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Classes, the background included.
pub const CLASSES: usize = 4;
/// Sides of the padded images.
pub const SIZE: (usize, usize) = (128, 192);

/// The paper's detector, narrow.
pub fn config() -> DetectorConfig {
    let mut config = DetectorConfig::reference(50, CLASSES).unwrap();
    config.body.stem_channels = 4;
    config.body.width = 4;
    config.body.expansion = 2;
    config.channels = 8;
    config.roi.hidden = 16;
    config.roi.sampler.batch = 32;
    config.rpn.sampler.batch = 32;
    let domain = config.domain.as_mut().unwrap();
    domain.image_hidden = 8;
    domain.instance_hidden = 8;
    config
}

/// MIC on SADA with a teacher that is easily certain: an untrained network has to find objects.
pub fn options() -> Options {
    Options {
        masked: Some(MaskedConsistency {
            blocks: BlockMaskConfig {
                block: 32,
                ratio: 0.5,
            },
            threshold: 0.1,
            ..MaskedConsistency::default()
        }),
        sgd: SgdOptions::default(),
        recompute: false,
    }
}

pub fn model(config: &DetectorConfig, seed: u64) -> Model {
    let rng = ChaCha8Rng::seed_from_u64(seed);
    Model::new(config, Store::trainable(rng, DType::F32, &Device::Cpu)).unwrap()
}

pub fn method(config: &DetectorConfig, options: Options, seed: u64) -> Adaptation {
    Adaptation::new(model(config, seed), options).unwrap()
}

/// The paper's detector whose instance heads see the regions of all levels.
pub fn with_all_levels() -> DetectorConfig {
    let mut config = config();
    config.domain.as_mut().unwrap().instance_levels = InstanceLevels::All;
    config
}

/// A waved image batch (B, 3, H, W), different for each `phase`.
pub fn images(batch: usize, phase: f64) -> Tensor {
    let (height, width) = SIZE;
    let count = batch * 3 * height * width;
    let pixels = (0..count).map(|i| {
        let wave = (0.037 * i as f64 + phase).sin() * (1.0 + phase);
        (20.0 * wave.sin()) as f32
    });
    let flat = Tensor::from_iter(pixels, &Device::Cpu).unwrap();
    flat.reshape((batch, 3, height, width)).unwrap()
}

/// The batch of a step: one image of each domain; `truth` are the source's objects.
pub fn batch_with(step: u64, truth: Truth) -> Batch {
    let (height, width) = SIZE;
    Batch {
        source: SourceBatch {
            image: images(1, 0.2 + step as f64),
            sizes: vec![(height - 6, width)],
            truth: vec![truth],
        },
        target: Some(TargetBatch {
            image: images(1, 0.7 + step as f64),
            sizes: vec![(height, width - 8)],
            original: vec![(2 * height, 2 * (width - 8))],
        }),
    }
}

/// The same with three objects, small and large.
pub fn batch(step: u64) -> Batch {
    let shift = (step % 5) as f32;
    let boxes = vec![
        [10.0 + shift, 12.0, 41.0, 40.0],
        [60.0, 20.0 + shift, 90.0, 70.0],
        [4.0, 50.0, 30.0, 84.0 - shift],
    ];
    let labels = (0..3).map(|i| 1 + (i + step as u32) % 3).collect();
    batch_with(step, Truth { boxes, labels })
}

/// A copy of the state, by name.
pub fn state(method: &Adaptation) -> HashMap<String, Tensor> {
    let copy = |(name, tensor): (String, Tensor)| (name, tensor.copy().unwrap());
    method.state().unwrap().into_iter().map(copy).collect()
}

/// The bits of a tensor's values.
pub fn bits(tensor: &Tensor) -> Vec<u64> {
    let flat = tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
    let values = flat.to_vec1::<f64>().unwrap().into_iter();
    values.map(f64::to_bits).collect()
}

/// Compares two states bit by bit.
#[track_caller]
pub fn equal(ours: &HashMap<String, Tensor>, theirs: &HashMap<String, Tensor>) {
    let mut names: Vec<_> = ours.keys().collect();
    names.sort();
    assert_eq!(ours.len(), theirs.len());
    for name in names {
        assert!(bits(&ours[name]) == bits(&theirs[name]), "{name}");
    }
}
