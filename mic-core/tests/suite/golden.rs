//! Reading the recorded reference numbers.

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use serde_json::Value;

/// One golden file: its tensors, its configuration and its tolerances.
pub(crate) struct Golden {
    tensors: HashMap<String, Tensor>,
    pub(crate) config: Value,
    tol: Value,
}

fn path(name: &str) -> PathBuf {
    let folder = std::env::var_os("MIC_GOLDEN_DIR")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/golden"))
        });
    folder.join(name)
}

fn read(name: &str) -> Vec<u8> {
    let path = path(name);
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; set MIC_GOLDEN_DIR to the folder of golden files",
            path.display()
        )
    })
}

pub(crate) fn json(name: &str) -> Value {
    serde_json::from_slice(&read(name)).unwrap()
}

impl Golden {
    pub(crate) fn load(name: &str) -> Self {
        let bytes = read(name);
        let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = metadata.metadata().clone().unwrap();
        let parse = |key: &str| {
            metadata
                .get(key)
                .map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
        };
        Self {
            tensors: candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap(),
            config: parse("config"),
            tol: parse("tol"),
        }
    }

    pub(crate) fn get(&self, key: &str) -> &Tensor {
        self.tensors
            .get(key)
            .unwrap_or_else(|| panic!("the golden file has no tensor {key}"))
    }

    /// Any tensor's numbers, exact in f64.
    pub(crate) fn numbers(&self, key: &str) -> Vec<f64> {
        numbers(self.get(key))
    }

    pub(crate) fn atol(&self, key: &str) -> f64 {
        self.tol[key]["atol"]
            .as_f64()
            .unwrap_or_else(|| panic!("no tolerance for {key}"))
    }

    /// Compares with the recorded output, element by element, within its recorded tolerance.
    pub(crate) fn check(&self, key: &str, got: &Tensor) {
        self.check_within(key, got, self.atol(key));
    }

    pub(crate) fn check_within(&self, key: &str, got: &Tensor, atol: f64) {
        let expected = self.get(key);
        assert_eq!(got.elem_count(), expected.elem_count(), "{key}: {got:?}");
        let differences = numbers(got).into_iter().zip(numbers(expected));
        let worst = differences
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, |worst, difference| {
                if difference > worst || difference.is_nan() {
                    difference
                } else {
                    worst
                }
            });
        assert!(worst <= atol, "{key}: off by {worst:e}, allowed {atol:e}");
    }
}

pub(crate) fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor
        .flatten_all()
        .unwrap()
        .to_dtype(DType::F64)
        .unwrap()
        .to_vec1()
        .unwrap()
}
