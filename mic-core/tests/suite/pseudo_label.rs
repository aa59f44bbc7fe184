//! Pseudo-labels and cross-entropy against the recorded ones.

use crate::golden::{Golden, json, values};
use candle_core::{DType, Var};
use mic_core::{Confidence, PseudoLabelConfig, cross_entropy};

#[test]
fn labels_and_weights_of_all_cases() {
    let golden = Golden::open("seg", "labels");
    let cases = json("seg", "labels.json")["pseudo"]
        .as_array()
        .unwrap()
        .clone();
    assert!(!cases.is_empty());
    for (index, case) in cases.iter().enumerate() {
        let key = |name: &str| format!("pseudo.{index}.{name}");
        let rows = |name: &str| case[name].as_u64().unwrap() as usize;
        let config = PseudoLabelConfig {
            confidence: match case["threshold"].as_f64() {
                Some(threshold) => Confidence::ShareAbove(threshold as f32),
                None => Confidence::None,
            },
            ignore_top: rows("ignore_top"),
            ignore_bottom: rows("ignore_bottom"),
        };
        let valid = case["valid_mask"]
            .as_bool()
            .unwrap()
            .then(|| golden.get(&key("valid_mask")));
        let logits = golden.get(&key("logits"));
        let fused = config.label(logits, valid).unwrap();
        // f64 logits take the path of other devices and dtypes.
        let composed = config
            .label(&logits.to_dtype(DType::F64).unwrap(), valid)
            .unwrap();
        for (pseudo, path) in [(fused, "fused"), (composed, "composed")] {
            assert_eq!(pseudo.label.dtype(), DType::U8, "{path}");
            assert_eq!(
                pseudo.label.dims(),
                golden.get(&key("label")).dims(),
                "{path}"
            );
            golden.check_within(&key("label"), &pseudo.label, 0.0);
            golden.check_within(&key("weight"), &pseudo.weight, 0.0);
            assert_eq!(
                f64::from(pseudo.confidence),
                golden.numbers(&key("weight_scalar"))[0]
            );
            if !case["threshold"].is_null() {
                let share = rows("confident") as f32 / rows("total") as f32;
                assert_eq!(pseudo.confidence, share, "{path}");
            }
        }
    }
}

#[test]
fn cross_entropy_and_its_gradient() {
    let golden = Golden::open("seg", "labels");
    let logits = Var::from_tensor(golden.get("ce.logits")).unwrap();
    let labels = golden.get("ce.label").squeeze(1).unwrap();
    assert!(values(&labels).contains(&255.0));
    for (name, weight) in [
        ("noweight", None),
        ("weight", Some(golden.get("ce.weight"))),
    ] {
        let loss = cross_entropy(&logits, &labels, weight, Some(255)).unwrap();
        golden.check(&format!("ce.{name}.loss"), &loss);
        let gradients = loss.backward().unwrap();
        golden.check(&format!("ce.{name}.grad"), gradients.get(&logits).unwrap());
    }
}
