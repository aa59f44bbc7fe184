//! Reading of weights files that PyTorch and numpy wrote (`testdata/record/weights.py`).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use mic_nn::weights::{self, Checkpoint};
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/recorded/weights")
}

fn manifest() -> Vec<Value> {
    let text = std::fs::read_to_string(folder().join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    manifest["files"].as_array().unwrap().clone()
}

/// Values that compare bit by bit.
fn bits(tensor: &Tensor) -> Vec<u64> {
    let flat = tensor.flatten_all().unwrap();
    match tensor.dtype() {
        DType::I64 => {
            let values = flat.to_vec1::<i64>().unwrap();
            values.into_iter().map(|v| v as u64).collect()
        }
        _ => {
            let values = flat.to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
            // Conversions may change which NaN it is.
            let bits = |v: f64| if v.is_nan() { u64::MAX } else { v.to_bits() };
            values.into_iter().map(bits).collect()
        }
    }
}

#[test]
fn recorded_files_are_read_exactly() {
    let mut compared = 0;
    for entry in manifest() {
        let (file, Some(expected)) = (entry["file"].as_str().unwrap(), entry["expected"].as_str())
        else {
            continue;
        };
        let expected =
            candle_core::safetensors::load(folder().join(expected), &Device::Cpu).unwrap();
        let weights = weights::load(&folder().join(file)).unwrap();
        assert_eq!(weights.len(), expected.len(), "{file}: {weights:?}");
        for (name, expected) in &expected {
            let found = weights.tensor(name).unwrap();
            assert_eq!(found.dtype(), expected.dtype(), "{file}: {name}");
            assert_eq!(found.dims(), expected.dims(), "{file}: {name}");
            assert_eq!(
                weights.shape(name).unwrap(),
                expected.dims(),
                "{file}: {name}"
            );
            assert_eq!(bits(&found), bits(expected), "{file}: {name}");
        }
        if let Some(skipped) = entry["skipped"].as_array() {
            let names = weights.skipped().iter().map(|(name, _)| name.as_str());
            let names: Vec<&str> = names.collect();
            let expected: Vec<&str> = skipped.iter().map(|n| n.as_str().unwrap()).collect();
            assert_eq!(names, expected, "{file}");
        }
        compared += 1;
    }
    assert!(compared > 20, "{compared}");
}

#[test]
fn files_that_must_be_refused_say_why() {
    let mut refused = 0;
    for entry in manifest() {
        let (file, Some(reason)) = (entry["file"].as_str().unwrap(), entry["error"].as_str())
        else {
            continue;
        };
        let found = weights::load(&folder().join(file));
        let message = found.expect_err(file).to_string();
        assert!(
            message.contains(reason) && message.contains(file),
            "{message}"
        );
        refused += 1;
    }
    assert!(refused > 10, "{refused}");
}

#[test]
fn what_is_no_tensor_is_metadata() {
    for file in ["nested_zip.ckpt", "nested_legacy.ckpt"] {
        let checkpoint = Checkpoint::open(&folder().join(file)).unwrap();
        let metadata = checkpoint.metadata();
        assert_eq!(metadata["epoch"], "3");
        assert_eq!(metadata["args"], "an object of argparse.Namespace");
        assert_eq!(metadata["unknown"], "an object of __main__.Unknown");
        assert_eq!(metadata["settings/layers"], "3");
        assert_eq!(metadata["checkpoint/model/note"], "nested");
        let paths = checkpoint.dictionaries();
        assert!(
            paths.contains(&("checkpoint/model/state_dict", 9)),
            "{paths:?}"
        );
        let optimiser = checkpoint.weights_at("optimizer/state/0").unwrap();
        assert_eq!(optimiser.shape("exp_avg").unwrap(), [3, 2, 3, 3]);
        let message = checkpoint.weights_at("model").unwrap_err().to_string();
        assert!(message.contains("checkpoint/model/state_dict"), "{message}");
    }
}

#[test]
fn prefixes_are_stripped_added_and_chosen() {
    let value = Tensor::new(&[1f32], &Device::Cpu).unwrap();
    let names = ["model.a", "model.b", "ema_model.a"];
    let tensors: HashMap<String, Tensor> = names
        .iter()
        .map(|n| (n.to_string(), value.clone()))
        .collect();
    let weights = weights::Weights::from(tensors);
    let names = |w: weights::Weights| w.names().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        names(weights.clone().strip("model.")),
        ["ema_model.a", "a", "b"]
    );
    assert_eq!(names(weights.clone().below("model.")), ["a", "b"]);
    let student = weights.below("model.").prefixed("student.");
    assert_eq!(names(student), ["student.a", "student.b"]);
}
