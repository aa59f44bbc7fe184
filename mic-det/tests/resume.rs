//! A method that continues from a saved state takes the very steps of one that never stopped.

mod small;

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use mic_det::Result;
use mic_det::detector::DetectorConfig;
use mic_det::train::step;
use mic_det::uda::{Adaptation, OPTIMIZER, Options, STUDENT, TEACHER};
use mic_nn::models::resnet::NormKind;
use small::{batch, config, equal, method, options, state};

const SEED: u64 = 5;

fn train(method: &mut Adaptation, steps: std::ops::Range<u64>) -> Result<()> {
    for number in steps {
        step(method, SEED, number, &batch(number))?;
    }
    Ok(())
}

fn check(config: &DetectorConfig, options: &Options, prefixes: &[&str]) -> Result<()> {
    let mut whole = method(config, options.clone(), 1);
    train(&mut whole, 0..2)?;
    let saved = state(&whole);
    for prefix in prefixes {
        assert!(saved.keys().any(|n| n.starts_with(prefix)), "{prefix}");
    }
    train(&mut whole, 2..4)?;
    // Other initial weights, so that whatever is not restored shows.
    let mut continued = method(config, options.clone(), 2);
    continued.restore(&saved)?;
    train(&mut continued, 2..4)?;
    equal(&state(&continued), &state(&whole));
    Ok(())
}

#[test]
fn a_continued_method_is_the_one_that_never_stopped() -> Result<()> {
    let plain = DetectorConfig {
        domain: None,
        ..config()
    };
    let mut with_statistics = config();
    with_statistics.body.norm = NormKind::Batch;
    for config in [plain, config(), with_statistics] {
        check(&config, &options(), &[STUDENT, OPTIMIZER, TEACHER])?;
        let without = Options {
            masked: None,
            ..options()
        };
        check(&config, &without, &[STUDENT, OPTIMIZER])?;
    }
    Ok(())
}

#[test]
fn states_of_other_methods_are_refused_and_change_nothing() -> Result<()> {
    let mut own = method(&config(), options(), 1);
    train(&mut own, 0..1)?;
    let before = state(&own);
    let other = || state(&method(&config(), options(), 2));
    let zeros = Tensor::zeros(3, DType::F32, &Device::Cpu)?;

    let mut lacking = other();
    lacking.remove("ema_model.rpn.head.conv.bias");
    let mut reshaped = other();
    reshaped.insert("model.rpn.head.conv.bias".into(), zeros.clone());
    let mut strange = other();
    strange.insert("model.roi_heads.mask.weight".into(), zeros);
    for (state, word) in [
        (lacking, "it lacks ema_model.rpn.head.conv.bias"),
        (reshaped, "model.rpn.head.conv.bias has shape [3]"),
        (strange, "the method has no model.roi_heads.mask.weight"),
    ] {
        let state: HashMap<String, Tensor> = state;
        let message = own.restore(&state).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    }
    equal(&state(&own), &before);
    Ok(())
}
