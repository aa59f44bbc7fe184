//! The metrics against areas and ratios recorded from the reference implementation.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use mic_seg::metrics::Confusion;

/// The tensors of `labels.safetensors` and the cases of `labels.json`.
fn recorded() -> (HashMap<String, Tensor>, serde_json::Value) {
    let bytes = golden::read("seg", "labels.safetensors");
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap();
    (tensors, golden::json("seg", "labels.json"))
}

fn bytes(tensor: &Tensor) -> Vec<u8> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn areas(tensor: &Tensor, image: usize) -> Vec<u64> {
    let row: Vec<i64> = tensor.get(image).unwrap().to_vec1().unwrap();
    row.into_iter().map(|pixels| pixels as u64).collect()
}

/// Recorded NaN is our `None`.
fn assert_ratios(what: &str, ours: &[Option<f64>], recorded: &Tensor) {
    let recorded: Vec<f64> = recorded.to_vec1().unwrap();
    assert_eq!(ours.len(), recorded.len(), "{what}");
    for (class, (our, theirs)) in ours.iter().zip(&recorded).enumerate() {
        match our {
            None => assert!(
                theirs.is_nan(),
                "{what} of class {class}: {theirs}, ours absent"
            ),
            Some(our) => assert!(
                (our - theirs).abs() < 1e-7,
                "{what} of class {class}: {theirs}, ours {our}"
            ),
        }
    }
}

#[test]
fn areas_and_ratios_match_the_reference() {
    let (tensors, json) = recorded();
    let cases = json["metric"].as_array().expect("labels.json has `metric`");
    assert!(!cases.is_empty());
    for (n, case) in cases.iter().enumerate() {
        let tensor = |name: &str| &tensors[&format!("metric.{n}.{name}")];
        let (images, classes) = tensor("area_label").dims2().unwrap();
        let mut all = Confusion::new(classes);
        for image in 0..images {
            let prediction = bytes(&tensor("pred").get(image).unwrap());
            let label = bytes(&tensor("label").get(image).unwrap());
            all.add(&prediction, &label);
            let mut one = Confusion::new(classes);
            one.add(&prediction, &label);
            let what = format!("case {n}, image {image}");
            let recorded = |name: &str| areas(tensor(name), image);
            assert_eq!(one.intersection(), recorded("area_intersect"), "{what}");
            assert_eq!(one.prediction(), recorded("area_pred"), "{what}");
            assert_eq!(one.label(), recorded("area_label"), "{what}");
            assert_eq!(one.union(), recorded("area_union"), "{what}");
        }
        let metrics = all.metrics();
        assert_ratios("IoU", &metrics.iou, tensor("IoU"));
        assert_ratios("Acc", &metrics.acc, tensor("Acc"));
        for (key, ours) in [
            ("aAcc", metrics.aacc),
            ("mIoU", metrics.miou),
            ("mAcc", metrics.macc),
        ] {
            let theirs = case[key]
                .as_f64()
                .unwrap_or_else(|| panic!("case {n} has no {key}"));
            let ours = ours.unwrap_or_else(|| panic!("case {n}: {key} is absent"));
            assert!(
                (ours - theirs).abs() < 1e-7,
                "case {n}, {key}: {theirs}, ours {ours}"
            );
        }
    }
}
