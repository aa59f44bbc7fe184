//! What the tests of recorded training steps share. Included by path, after `golden`.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use candle_core::{DType, Device};
use mic_core::augment::{ColorJitter, GaussianBlur, JitterOp, Normalization, Strong};
use mic_nn::forward::Drops;
use mic_nn::params::Store;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::golden::{Golden, values};

/// The recordings were made without dropout.
pub struct NoDrops;

impl Drops for NoDrops {
    fn keep(&self, _: &str, _: f64, count: usize) -> Vec<bool> {
        vec![true; count]
    }
}

/// An empty trainable store.
pub fn fresh() -> Store {
    let rng = ChaCha8Rng::seed_from_u64(0);
    Store::trainable(rng, DType::F32, &Device::Cpu)
}

pub fn list(value: &Value) -> Vec<usize> {
    let entries = value.as_array().unwrap().iter();
    entries.map(|v| v.as_u64().unwrap() as usize).collect()
}

pub fn number(config: &Value, key: &str, default: f64) -> f64 {
    config[key].as_f64().unwrap_or(default)
}

pub fn count(config: &Value, key: &str) -> usize {
    number(config, key, 0.0) as usize
}

pub fn normalization(config: &Value) -> Normalization {
    let triple = |key: &str, default: [f32; 3]| match config[key].as_array() {
        Some(v) => [0, 1, 2].map(|i| v[i].as_f64().unwrap() as f32),
        None => default,
    };
    Normalization {
        mean: triple("img_mean", Normalization::IMAGENET.mean),
        std: triple("img_std", Normalization::IMAGENET.std),
    }
}

/// Recorded jitter and blur below `keys` for given gates.
pub fn strong(golden: &Golden, keys: &[String], jitter: bool, blur: bool) -> Strong {
    let floats = |key: String| values(golden.get(&key)).iter().map(|&v| v as f32).collect();
    let jitter_of = |key: &String| ColorJitter {
        brightness: floats(format!("{key}.brightness_factor")),
        contrast: floats(format!("{key}.contrast_factor")),
        saturation: floats(format!("{key}.saturation_factor")),
        hue: floats(format!("{key}.hue_factor")),
        order: values(golden.get(&format!("{key}.order")))
            .iter()
            .map(|&op| JitterOp::ALL[op as usize])
            .collect(),
    };
    let blur_of = |key: &String| GaussianBlur {
        sigma: golden.scalar(&format!("{key}.sigma")),
    };
    Strong {
        jitter: keys.iter().filter(|_| jitter).map(jitter_of).collect(),
        blur: keys.iter().filter(|_| blur).map(blur_of).collect(),
    }
}
