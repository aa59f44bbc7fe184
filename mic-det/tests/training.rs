//! Training steps of a small detector: what learns, what does not, and input that is not as it
//! should be.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

mod small;

use std::collections::HashMap;

use candle_core::{DType, Tensor};
use mic_det::batch::{Batch, Truth};
use mic_det::detector::DetectorConfig;
use mic_det::train::step;
use mic_det::uda::{Adaptation, Options, STUDENT};
use mic_det::{Error, Result};
use small::{CLASSES, batch, batch_with, bits, config, method, model, options, state};

const SEED: u64 = 3;

fn values(tensor: &Tensor) -> Vec<f32> {
    let flat = tensor.flatten_all().unwrap();
    flat.to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

/// Parameters by whether the step reached them with gradients that are not all 0.
fn learning(method: &Adaptation) -> HashMap<String, bool> {
    let grads = method.grads().iter();
    grads
        .map(|(name, _, grad)| {
            let values = grad.map(values).unwrap_or_default();
            assert!(values.iter().all(|v| v.is_finite()), "{name}");
            (name.to_owned(), values.iter().any(|v| *v != 0.0))
        })
        .collect()
}

/// The stem and the first stage.
fn is_frozen(name: &str) -> bool {
    ["body.stem.", "body.layer1."]
        .iter()
        .any(|part| name.contains(part))
}

#[test]
fn every_trainable_tensor_gets_a_gradient() -> Result<()> {
    // With both sizes of regions all instance heads have something to say.
    let mut config = small::with_all_levels();
    config.anchors.sizes = vec![24.0, 100.0, 110.0, 150.0, 200.0];
    config.rpn.sampler.batch = 256;
    let mut method = method(&config, options(), 1);
    let mut reached: HashMap<String, bool> = HashMap::new();
    let mut scalars = HashMap::new();
    for number in 0..2 {
        scalars.extend(step(&mut method, SEED, number, &batch(number))?);
        for (name, learns) in learning(&method) {
            *reached.entry(name).or_default() |= learns;
        }
    }
    assert!(scalars["pseudo.boxes"] > 0.0);
    assert!(scalars.contains_key("loss_objectness_mask"));
    // Images of this size hold no region of the two coarsest levels that regions are read from.
    let too_coarse = |name: &str| name.contains("da_ins_fc") && !name.contains("level0");
    for (name, learns) in &reached {
        if !too_coarse(name) {
            assert_eq!(*learns, !is_frozen(name), "{name}");
        }
    }
    assert!(reached["da_heads.inshead.da_ins_fc1_level1.weight"]);
    Ok(())
}

#[test]
fn by_default_the_heads_of_other_levels_stay_as_they_are() -> Result<()> {
    let mut method = method(&config(), options(), 1);
    let before = state(&method);
    for number in 0..3 {
        step(&mut method, SEED, number, &batch(number))?;
    }
    let after = state(&method);
    let mut still = 0;
    for (name, _) in method.student().store.params() {
        let key = format!("{STUDENT}{name}");
        let of_other_level = name.contains("da_ins_fc") && !name.contains("level0");
        let same = bits(&before[&key]) == bits(&after[&key]);
        assert_eq!(same, of_other_level || is_frozen(&name), "{name}");
        still += usize::from(of_other_level);
    }
    assert_eq!(still, 18);
    Ok(())
}

/// The same step with and without recomputation of the backbone's activations, which may add
/// gradients up in another order.
#[test]
fn recomputation_changes_nothing() -> Result<()> {
    let run = |recompute| -> Result<HashMap<String, Tensor>> {
        let mut method = method(
            &config(),
            Options {
                recompute,
                ..options()
            },
            1,
        );
        step(&mut method, SEED, 0, &batch(0))?;
        Ok(state(&method))
    };
    let (with, without) = (run(true)?, run(false)?);
    for (name, tensor) in &with {
        for (a, b) in values(tensor).iter().zip(values(&without[name])) {
            assert!((a - b).abs() <= 1e-5 * b.abs().max(1e-2), "{name}: {a} {b}");
        }
    }
    Ok(())
}

#[test]
fn what_the_draws_of_a_step_are_depends_on_seed_and_number_alone() -> Result<()> {
    let run = |seed, number| -> Result<HashMap<String, Tensor>> {
        let mut method = method(&config(), options(), 1);
        step(&mut method, seed, number, &batch(0))?;
        Ok(state(&method))
    };
    small::equal(&run(SEED, 7)?, &run(SEED, 7)?);
    let key = format!("{STUDENT}rpn.head.cls_logits.weight");
    let differ = |a: &HashMap<String, Tensor>, b: &HashMap<String, Tensor>| {
        assert_ne!(bits(&a[&key]), bits(&b[&key]));
    };
    differ(&run(SEED, 7)?, &run(SEED, 8)?);
    differ(&run(SEED, 7)?, &run(SEED + 1, 7)?);
    Ok(())
}

#[test]
fn without_a_certain_box_there_is_no_masked_pass() -> Result<()> {
    let mut options = options();
    options.masked.as_mut().unwrap().threshold = 1.0;
    let mut method = method(&config(), options, 1);
    let scalars = step(&mut method, SEED, 0, &batch(0))?;
    assert_eq!(scalars["pseudo.boxes"], 0.0);
    assert!(scalars.keys().all(|name| !name.ends_with("_mask")));
    assert!(scalars.contains_key("loss_da_consistency"));
    Ok(())
}

#[test]
fn losses_follow_the_method() -> Result<()> {
    let names = |config: &DetectorConfig, options: Options, batch: &Batch| -> Result<Vec<String>> {
        let mut method = method(config, options, 1);
        let scalars = step(&mut method, SEED, 0, batch)?;
        Ok(scalars
            .into_keys()
            .filter(|n| n.starts_with("loss_"))
            .collect())
    };
    let plain = DetectorConfig {
        domain: None,
        ..config()
    };
    let without = Options {
        masked: None,
        ..options()
    };
    let supervised = [
        "loss_box_reg",
        "loss_classifier",
        "loss_objectness",
        "loss_rpn_box_reg",
    ];
    let mut alone = batch(0);
    alone.target = None;
    assert_eq!(names(&plain, without.clone(), &alone)?, supervised);
    // A source alone does not train domain heads.
    assert_eq!(names(&config(), without.clone(), &alone)?, supervised);
    assert_eq!(names(&config(), without, &batch(0))?.len(), 7);
    assert_eq!(names(&plain, options(), &batch(0))?.len(), 8);
    assert_eq!(names(&config(), options(), &batch(0))?.len(), 11);
    let error = names(&config(), options(), &alone).unwrap_err().to_string();
    assert!(error.contains("target images"), "{error}");
    Ok(())
}

#[test]
fn an_image_without_objects_is_background() -> Result<()> {
    let mut method = method(&config(), options(), 1);
    let scalars = step(&mut method, SEED, 0, &batch_with(0, Truth::default()))?;
    assert_eq!(scalars["loss_box_reg"], 0.0);
    assert_eq!(scalars["loss_rpn_box_reg"], 0.0);
    assert!(scalars["loss_classifier"] > 0.0 && scalars["loss_objectness"] > 0.0);
    Ok(())
}

#[test]
fn a_single_class_is_enough() -> Result<()> {
    let mut config = config();
    config.roi.classes = 2;
    let mut method = method(&config, options(), 1);
    let truth = Truth {
        boxes: vec![[10.0, 12.0, 41.0, 40.0]],
        labels: vec![1],
    };
    let scalars = step(&mut method, SEED, 0, &batch_with(0, truth))?;
    assert!(scalars["loss"].is_finite());
    Ok(())
}

#[test]
fn broken_boxes_are_refused_and_change_nothing() -> Result<()> {
    let mut method = method(&config(), options(), 1);
    let before = state(&method);
    for (corners, label, part) in [
        ([40.0, 12.0, 10.0, 40.0], 1, "positive size"),
        ([f32::NAN, 12.0, 41.0, 40.0], 1, "positive size"),
        ([10.0, 12.0, 41.0, 40.0], CLASSES as u32, "1 to 3"),
    ] {
        let truth = Truth {
            boxes: vec![corners],
            labels: vec![label],
        };
        let error = step(&mut method, SEED, 0, &batch_with(0, truth)).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
        small::equal(&before, &state(&method));
    }
    Ok(())
}

/// A parameter of the network by name, all of it set to `value`.
fn fill(model: &mic_det::detector::Model, name: &str, value: f32) -> Result<()> {
    let vars: HashMap<_, _> = model.store.vars().into_iter().collect();
    Ok(vars[name].set(&(vars[name].zeros_like()? + f64::from(value))?)?)
}

#[test]
fn proposals_that_are_no_numbers_are_no_proposals() -> Result<()> {
    for name in ["rpn.head.bbox_pred.bias", "rpn.head.cls_logits.bias"] {
        let model = model(&config(), 1);
        fill(&model, name, f32::NAN)?;
        let found = model.net.detect(&small::images(1, 0.3), &[small::SIZE])?;
        assert!(found[0].is_empty());
    }
    Ok(())
}

#[test]
fn a_loss_that_is_no_number_is_named_and_changes_no_weight() -> Result<()> {
    let mut method = method(&config(), options(), 1);
    fill(method.student(), "rpn.head.cls_logits.bias", f32::NAN)?;
    let before = state(&method);
    let error = step(&mut method, SEED, 0, &batch(0)).unwrap_err();
    let Error::NonFinite(found) = error else {
        panic!("{error}")
    };
    assert_eq!(found.name, "loss_objectness");
    let after = state(&method);
    for (name, tensor) in &before {
        if name.starts_with(STUDENT) {
            assert_eq!(bits(tensor), bits(&after[name]), "{name}");
        }
    }
    Ok(())
}
