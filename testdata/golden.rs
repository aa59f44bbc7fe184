//! Reading recorded numbers of the reference in tests. Included by path from the test targets.
//!
//! The folder is `MIC_GOLDEN_DIR` when that is set, else the smaller set beside this file.
//! Shapes, options and tolerances all come from the files.

// A broken recording should stop the test at once.
#![allow(clippy::unwrap_used)]
#![allow(dead_code, unreachable_pub)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde_json::Value;

/// The folder of recorded numbers.
pub fn folder() -> PathBuf {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    match std::env::var_os("MIC_GOLDEN_DIR") {
        // Tests run in their crate's folder; a relative folder is meant from the workspace.
        Some(dir) => workspace.join(dir),
        None => workspace.join("testdata/golden"),
    }
}

/// Files of `task` whose name starts with `prefix` and ends in `.safetensors`; at least one.
pub fn files(task: &str, prefix: &str) -> Vec<PathBuf> {
    let folder = folder().join(task);
    let listing = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}; set MIC_GOLDEN_DIR", folder.display()));
    let mut files: Vec<PathBuf> = listing
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.starts_with(prefix) && name.ends_with(".safetensors")
        })
        .collect();
    files.sort();
    assert!(
        !files.is_empty(),
        "no {prefix}*.safetensors in {}",
        folder.display()
    );
    files
}

/// The bytes of `<folder>/<task>/<name>`.
pub fn read(task: &str, name: &str) -> Vec<u8> {
    bytes(&folder().join(task).join(name))
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}; set MIC_GOLDEN_DIR", path.display()))
}

/// A JSON file of recorded numbers.
pub fn json(task: &str, name: &str) -> Value {
    serde_json::from_slice(&read(task, name)).unwrap()
}

/// One file of recorded tensors.
pub struct Golden {
    /// The file, for messages.
    pub path: PathBuf,
    /// Every tensor.
    pub tensors: HashMap<String, Tensor>,
    /// The complete configuration.
    pub config: Value,
    metadata: HashMap<String, String>,
    tolerances: Value,
}

impl Golden {
    /// Opens `<folder>/<task>/<name>.safetensors`.
    pub fn open(task: &str, name: &str) -> Self {
        Self::read(folder().join(task).join(format!("{name}.safetensors")))
    }

    /// Opens a file.
    pub fn read(path: PathBuf) -> Self {
        let bytes = bytes(&path);
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = header.metadata().clone().unwrap_or_default();
        let parse = |key: &str| {
            let text = metadata.get(key).map_or("{}", String::as_str);
            serde_json::from_str(text).unwrap_or(Value::Null)
        };
        let (config, tolerances) = (parse("config"), parse("tol"));
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap();
        Self {
            path,
            tensors,
            config,
            metadata,
            tolerances,
        }
    }

    /// Another JSON string of the header.
    pub fn metadata(&self, key: &str) -> Value {
        serde_json::from_str(&self.metadata[key]).unwrap()
    }

    /// A recorded tensor.
    pub fn get(&self, key: &str) -> &Tensor {
        self.find(key)
            .unwrap_or_else(|| panic!("{} has no tensor {key}", self.path.display()))
    }

    /// A recorded tensor, if it was recorded.
    pub fn find(&self, key: &str) -> Option<&Tensor> {
        self.tensors.get(key)
    }

    /// A recorded scalar of any dtype.
    pub fn scalar(&self, key: &str) -> f64 {
        values(self.get(key))[0]
    }

    /// The tensors below `prefix`, with the prefix removed.
    pub fn below(&self, prefix: &str) -> HashMap<String, Tensor> {
        let strip = |(key, tensor): (&String, &Tensor)| {
            Some((key.strip_prefix(prefix)?.to_string(), tensor.clone()))
        };
        self.tensors.iter().filter_map(strip).collect()
    }

    /// The recommended absolute tolerance of a tensor; `None` where it must be exact.
    pub fn atol(&self, key: &str) -> Option<f64> {
        self.tolerances[key]["atol"].as_f64()
    }

    /// All elements of a recorded tensor as doubles.
    pub fn numbers(&self, key: &str) -> Vec<f64> {
        values(self.get(key))
    }

    /// Compares with the recorded tensor at the recorded tolerance.
    pub fn check(&self, key: &str, actual: &Tensor) {
        self.check_within(key, actual, self.atol(key).unwrap_or(0.0));
    }

    /// Compares with the recorded tensor at another tolerance.
    pub fn check_within(&self, key: &str, actual: &Tensor, atol: f64) {
        let expected = self.get(key);
        assert_eq!(
            actual.elem_count(),
            expected.elem_count(),
            "{key}: shape {:?}, recorded {:?}",
            actual.dims(),
            expected.dims()
        );
        self.check_values(key, &values(actual), atol);
    }

    /// Compares a scalar with the recorded one.
    pub fn check_scalar(&self, key: &str, actual: f64) {
        self.check_values(key, &[actual], self.atol(key).unwrap_or(0.0));
    }

    /// Compares a gradient with the recorded one; returns whether it agrees at the recorded
    /// tolerance.
    ///
    /// Where rounding puts an activation on the other side of a ReLU or of a maximum, the gradients
    /// of that layer and of all below it are off by up to 1 % in relative L2 norm (the recording's
    /// README), and the answer is `false`. More than that is a failure.
    pub fn check_gradient(&self, key: &str, actual: &Tensor) -> bool {
        const KINK: f64 = 1e-2;
        let (expected, actual) = (values(self.get(key)), values(actual));
        let atol = self.atol(key).unwrap_or(0.0);
        assert_eq!(actual.len(), expected.len(), "{key}: number of elements");
        let differences = actual.iter().zip(&expected).map(|(a, e)| a - e);
        if differences.clone().all(|d| d.abs() <= atol) {
            return true;
        }
        let norm = |sum: f64| sum.sqrt();
        let off =
            norm(differences.map(|d| d * d).sum()) / norm(expected.iter().map(|e| e * e).sum());
        assert!(
            off <= KINK,
            "{}: {key} differs by {off:e} in relative L2 norm, allowed {KINK:e}",
            self.path.display()
        );
        false
    }

    fn check_values(&self, key: &str, actual: &[f64], atol: f64) {
        let expected = values(self.get(key));
        let mut worst = (0.0, 0);
        for (i, (&a, &e)) in actual.iter().zip(&expected).enumerate() {
            let difference = if a.is_nan() && e.is_nan() {
                0.0
            } else {
                (a - e).abs()
            };
            if difference > worst.0 || difference.is_nan() {
                worst = (difference, i);
            }
        }
        let (difference, at) = worst;
        assert!(
            difference <= atol,
            "{}: {key} differs by {difference:e} at {at} (ours {}, recorded {}); allowed {atol:e}",
            self.path.display(),
            actual[at],
            expected[at]
        );
    }
}

/// Stops the test at a key of a recorded configuration that no test knows. `used` keys are options of
/// what is tested; `about` tell how the recording was made.
pub fn refuse_unknown(what: &str, config: &Value, used: &[&str], about: &[&str]) {
    let known = |key: &&String| used.iter().chain(about).any(|known| known == key);
    let unknown: Vec<&String> = config
        .as_object()
        .unwrap()
        .keys()
        .filter(|k| !known(k))
        .collect();
    assert!(
        unknown.is_empty(),
        "{what}: the recording has options that this test does not read: {unknown:?}"
    );
}

/// All elements as doubles.
pub fn values(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
    flat.to_vec1().unwrap()
}
