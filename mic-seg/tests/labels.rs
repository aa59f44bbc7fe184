//! Class masks, downscaled labels and the feature distance against recorded numbers.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;

use candle_core::{Tensor, Var};
use golden::{Golden, json, refuse_unknown, values};
use mic_nn::autograd::backward;
use mic_seg::Result;
use mic_seg::uda::{ClassMix, FeatureDistance, distinct_classes, downscale_label};

fn ids(tensor: &Tensor) -> Vec<u8> {
    values(tensor).iter().map(|&v| v as u8).collect()
}

#[test]
fn class_masks_agree_with_the_recorded_reference() -> Result<()> {
    let golden = Golden::open("seg", "labels");
    let cases = json("seg", "labels.json")["classmask"]
        .as_array()
        .unwrap()
        .len();
    for case in 0..cases {
        let label = golden.get(&format!("classmask.{case}.label")).squeeze(1)?;
        let distinct = distinct_classes(&label)?;
        assert_eq!(
            distinct,
            ids(golden.get(&format!("classmask.{case}.unique")))
        );
        let pasted = (0..label.dim(0)?).map(|b| {
            let choice = values(golden.get(&format!("classmask.{case}.choice.{b}")));
            assert_eq!(choice.len(), distinct.len().div_ceil(2));
            choice.iter().map(|&i| distinct[i as usize]).collect()
        });
        let mix = ClassMix {
            pasted: pasted.collect(),
        };
        let mask = golden.get(&format!("classmask.{case}.mask"));
        assert_eq!(ids(&mix.mask(&label)?), ids(mask));
    }
    Ok(())
}

#[test]
fn downscaled_labels_agree_with_the_recorded_reference() -> Result<()> {
    let golden = Golden::open("seg", "labels");
    let cases = &json("seg", "labels.json")["downscale"];
    for (case, options) in cases.as_array().unwrap().iter().enumerate() {
        let used = ["scale_factor", "min_ratio", "n_classes"];
        refuse_unknown("downscale", options, &used, &["B", "H", "W"]);
        let number = |key: &str| options[key].as_u64().unwrap() as usize;
        let label = golden.get(&format!("downscale.{case}.label")).squeeze(1)?;
        let ratio = options["min_ratio"].as_f64().unwrap();
        let coarse = downscale_label(&label, number("scale_factor"), ratio, number("n_classes"))?;
        let recorded = golden.get(&format!("downscale.{case}.out"));
        assert_eq!(ids(&coarse), ids(recorded), "case {case}");
    }
    Ok(())
}

#[test]
fn feature_distances_agree_with_the_recorded_reference() -> Result<()> {
    let golden = Golden::open("seg", "labels");
    let student = Var::from_tensor(golden.get("fd.feat"))?;
    let reference = golden.get("fd.feat_ref");
    let (b, _, h, w) = student.dims4()?;
    let distance = FeatureDistance {
        lambda: 1.0,
        classes: Vec::new(),
        min_ratio: 0.75,
        num_classes: 19,
    };
    let (mut empty, mut expected) = (0, 0);
    for case in 0.. {
        let key = format!("fd.{case}.dist");
        if golden.find(&key).is_none() {
            assert!(case > 0);
            break;
        }
        let mask = golden.find(&format!("fd.{case}.mask"));
        expected += usize::from(mask.is_some_and(|mask| values(mask).iter().all(|&v| v == 0.0)));
        let positions = match mask {
            Some(mask) => mask.squeeze(1)?,
            None => Tensor::ones((b, h, w), candle_core::DType::U8, student.device())?,
        };
        match distance.loss(student.as_tensor(), reference, &positions)? {
            Some(loss) => {
                golden.check(&key, &loss);
                let grads = backward(&loss)?;
                golden.check(&format!("fd.{case}.grad"), grads.get(&student).unwrap());
            }
            None => {
                assert!(golden.scalar(&key).is_nan());
                empty += 1;
            }
        }
    }
    assert_eq!(empty, expected);
    Ok(())
}
