//! The metrics against those recorded from the reference.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;

use candle_core::{Device, Tensor};
use mic_cls::metrics::Tally;
use serde_json::Value;

fn percent(what: &str, ours: Option<f64>, recorded: &Value) {
    match (ours, recorded.as_f64()) {
        (Some(ours), Some(recorded)) => {
            assert!(
                (100.0 * ours - recorded).abs() < 1e-4,
                "{what}: {ours}, {recorded}"
            );
        }
        (None, None) => {}
        (ours, recorded) => panic!("{what}: {ours:?}, recorded {recorded:?}"),
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap())
        .collect()
}

#[test]
fn accuracies_match_the_reference() {
    let json = golden::json("cls", "metrics.json");
    let cases = json["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    for (n, case) in cases.iter().enumerate() {
        let classes = case["num_classes"].as_u64().unwrap() as usize;
        let k = case["k"].as_u64().unwrap() as usize;
        let mut tally = Tally::new(classes, k);
        for batch in case["batches"].as_array().unwrap() {
            let rows: Vec<Vec<f64>> = batch["logits"]
                .as_array()
                .unwrap()
                .iter()
                .map(numbers)
                .collect();
            let rows: Vec<Vec<f32>> = rows
                .iter()
                .map(|r| r.iter().map(|v| *v as f32).collect())
                .collect();
            let labels: Vec<u32> = numbers(&batch["labels"])
                .iter()
                .map(|v| *v as u32)
                .collect();
            let logits = Tensor::new(rows, &Device::Cpu).unwrap();
            let labels = Tensor::new(labels, &Device::Cpu).unwrap();
            let mut one = Tally::new(classes, k);
            one.add(&logits, &labels).unwrap();
            percent(
                "top-1 of a batch",
                one.confusion.metrics().top1,
                &batch["top1"],
            );
            percent("top-k of a batch", one.top_k(), &batch["topk"]);
            tally.add(&logits, &labels).unwrap();
        }
        let (expected, metrics) = (&case["expected"], tally.confusion.metrics());
        percent("top-1", metrics.top1, &expected["top1_avg"]);
        percent(
            "top-1 of the matrix",
            metrics.top1,
            &expected["global_correct"],
        );
        percent("top-k", tally.top_k(), &expected["topk_avg"]);
        percent(
            "mean of classes",
            metrics.mean_class,
            &expected["mean_correct"],
        );
        percent("mean IoU", metrics.mean_iou, &expected["mean_iou"]);
        let loss = tally.loss().unwrap();
        assert!(
            (loss - expected["loss_avg"].as_f64().unwrap()).abs() < 1e-4,
            "case {n}"
        );
        for class in 0..classes {
            let row = numbers(&expected["confusion"][class]);
            let ours: Vec<f64> = tally
                .confusion
                .row(class)
                .iter()
                .map(|c| *c as f64)
                .collect();
            assert_eq!(ours, row, "case {n}, class {class}");
            percent(
                "accuracy",
                metrics.accuracy[class],
                &expected["per_class_acc"][class],
            );
            percent("IoU", metrics.iou[class], &expected["per_class_iou"][class]);
        }
    }
}
