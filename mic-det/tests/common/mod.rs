//! What the golden tests share.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions
#![allow(dead_code, unreachable_pub)]

#[path = "../../../testdata/golden.rs"]
pub mod golden;

use std::collections::BTreeSet;

use candle_core::{DType, Device, Tensor};
use golden::{Golden, values};
use mic_det::batch::Truth;
use mic_det::boxes::{Corners, Size, from_tensor};
use mic_det::sampler::Picks;
use mic_nn::forward::Drops;
use mic_nn::params::Store;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

/// Compares at the file's tolerance, a share of the tensor's largest magnitude; integers exactly.
pub fn check(golden: &Golden, key: &str, actual: &Tensor) {
    let expected = golden.get(key);
    let largest = values(expected).iter().fold(0.02f64, |m, v| m.max(v.abs()));
    let tolerance = match expected.dtype().is_float() {
        true => tolerance(golden) * largest,
        false => 0.0,
    };
    golden.check_within(key, actual, tolerance);
}

/// The file's tolerance.
pub fn tolerance(golden: &Golden) -> f64 {
    golden
        .metadata("tolerance_rel_to_max_abs")
        .as_f64()
        .unwrap()
}

pub fn check_boxes(golden: &Golden, key: &str, boxes: &[Corners]) {
    check_numbers(golden, key, boxes.as_flattened());
}

pub fn check_numbers(golden: &Golden, key: &str, numbers: &[f32]) {
    let tensor = Tensor::from_slice(numbers, numbers.len(), &Device::Cpu).unwrap();
    check(golden, key, &tensor);
}

pub fn check_integers<T: Copy + Into<i128>>(golden: &Golden, key: &str, numbers: &[T]) {
    let ours: Vec<i128> = numbers.iter().map(|&n| n.into()).collect();
    let recorded: Vec<i128> = golden.numbers(key).iter().map(|&v| v as i128).collect();
    assert_eq!(ours, recorded, "{key}");
}

pub fn boxes(golden: &Golden, key: &str) -> Vec<Corners> {
    from_tensor(golden.get(key)).unwrap()
}

pub fn integers(golden: &Golden, key: &str) -> Vec<usize> {
    let numbers = golden.numbers(key).into_iter();
    numbers.map(|v| v as usize).collect()
}

/// The names `<prefix>0`, `<prefix>1`, ... that any tensor of the file begins with.
pub fn cases(golden: &Golden, prefix: &str) -> Vec<String> {
    let heads: BTreeSet<&str> = golden
        .tensors
        .keys()
        .filter(|key| key.starts_with(prefix))
        .filter_map(|key| Some(&key[..prefix.len() + key[prefix.len()..].find('.')?]))
        .collect();
    let found: Vec<String> = (0..)
        .map(|n| format!("{prefix}{n}"))
        .take_while(|name| heads.contains(name.as_str()))
        .collect();
    assert!(!found.is_empty(), "no {prefix}# in {:?}", golden.path);
    found
}

/// Rows (h, w).
pub fn sizes(golden: &Golden, key: &str) -> Vec<Size> {
    let flat = integers(golden, key);
    flat.as_chunks::<2>()
        .0
        .iter()
        .map(|&[h, w]| (h, w))
        .collect()
}

/// Annotations `<key>.boxes` and `<key>.labels`.
pub fn truth(golden: &Golden, key: &str) -> Truth {
    Truth {
        boxes: boxes(golden, &format!("{key}.boxes")),
        labels: integers(golden, &format!("{key}.labels"))
            .into_iter()
            .map(|l| l as u32)
            .collect(),
    }
}

pub fn store() -> Store {
    Store::trainable(ChaCha8Rng::seed_from_u64(0), DType::F32, &Device::Cpu)
}

/// An option of the recording's configuration.
pub fn option(golden: &Golden, key: &str) -> Option<f64> {
    golden.config["opts"][key].as_f64()
}

pub fn set(target: &mut usize, value: Option<f64>) {
    if let Some(value) = value {
        *target = value as usize;
    }
}

pub fn list(value: &Value) -> Vec<f64> {
    let entries = value.as_array().unwrap().iter();
    entries.map(|v| v.as_f64().unwrap()).collect()
}

/// Recorded permutations `<prefix><site>` with `pos` and `neg` as `perm_pos` and `perm_neg`.
pub struct Recorded<'a> {
    pub golden: &'a Golden,
    pub prefix: String,
}

impl Picks for Recorded<'_> {
    fn pick(&self, site: &str, of: usize, count: usize) -> Vec<usize> {
        let (site, sign) = site.rsplit_once('.').unwrap();
        let key = format!("{}{site}.perm_{sign}", self.prefix);
        let permutation = integers(self.golden, &key);
        assert_eq!(permutation.len(), of, "{key}: number of candidates");
        permutation[..count].to_vec()
    }
}

/// Recorded flags of the instance head's dropout, `<prefix>dropout0` to `3`: two layers of the
/// adversarial pass, two of the consistency.
pub struct RecordedDrops<'a> {
    pub golden: &'a Golden,
    pub prefix: String,
}

impl Drops for RecordedDrops<'_> {
    fn keep(&self, site: &str, _: f64, count: usize) -> Vec<bool> {
        let number = match (site.contains("consistency"), site.ends_with("drop2")) {
            (false, false) => 0,
            (false, true) => 1,
            (true, false) => 2,
            (true, true) => 3,
        };
        let key = format!("{}dropout{number}", self.prefix);
        let keep = self.golden.numbers(&key);
        assert_eq!(keep.len(), count, "{site}");
        keep.into_iter().map(|v| v != 0.0).collect()
    }
}
