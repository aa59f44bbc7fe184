//! A method that continues from a saved state takes the very steps of one that never stopped.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;
mod support;

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use mic_cls::Result;
use mic_cls::model::BackboneConfig;
use mic_cls::train::step;
use mic_cls::uda::{
    Adaptation, CONDITIONING, DISCRIMINATOR, OPTIMIZER, OPTIMIZER_OF_DISCRIMINATOR, Options,
    STUDENT, TEACHER, TeacherNorm,
};
use support::{KINDS, backbones, batch, method, options, same, state};

const SEED: u64 = 5;

fn train(method: &mut Adaptation, steps: std::ops::Range<u64>) -> Result<()> {
    for number in steps {
        step(method, SEED, number, &batch(number))?;
    }
    Ok(())
}

#[track_caller]
fn equal(ours: &HashMap<String, Tensor>, theirs: &HashMap<String, Tensor>) {
    let mut names: Vec<_> = ours.keys().collect();
    names.sort();
    assert_eq!(ours.len(), theirs.len());
    for name in names {
        assert!(same(&ours[name], &theirs[name]), "{name}");
    }
}

fn check(backbone: &BackboneConfig, options: &Options, prefixes: &[&str]) -> Result<()> {
    let mut whole = method(backbone, options.clone(), 1);
    train(&mut whole, 0..2)?;
    let saved = state(&whole);
    for prefix in prefixes {
        assert!(saved.keys().any(|n| n.starts_with(prefix)), "{prefix}");
    }
    train(&mut whole, 2..4)?;
    // Other initial weights, so that whatever is not restored shows.
    let mut continued = method(backbone, options.clone(), 2);
    continued.restore(&saved)?;
    train(&mut continued, 2..4)?;
    equal(&state(&continued), &state(&whole));
    Ok(())
}

#[test]
fn a_continued_method_is_the_one_that_never_stopped() -> Result<()> {
    for backbone in backbones() {
        for kind in KINDS {
            for masked in [false, true] {
                let mut prefixes = vec![STUDENT, OPTIMIZER];
                if kind != "source_only" {
                    prefixes.extend([DISCRIMINATOR, OPTIMIZER_OF_DISCRIMINATOR]);
                }
                if masked {
                    prefixes.push(TEACHER);
                }
                check(&backbone, &options(kind, masked), &prefixes)?;
            }
        }
    }
    Ok(())
}

#[test]
fn so_it_is_with_other_options() -> Result<()> {
    let mut options = options("sdat", true);
    let adversary = options.adversary.as_mut().unwrap();
    adversary.randomized = Some(9);
    adversary.by_entropy = true;
    options.ascent.as_mut().unwrap().sam.adaptive = true;
    options.masked.as_mut().unwrap().teacher_norm = TeacherNorm::Running;
    check(&backbones()[0], &options, &[CONDITIONING])
}

#[test]
fn states_of_other_methods_are_refused_and_change_nothing() -> Result<()> {
    let backbone = &backbones()[2];
    let mut own = method(backbone, options("cdan", true), 1);
    train(&mut own, 0..1)?;
    let before = state(&own);
    let other = || state(&method(backbone, options("cdan", true), 2));

    let mut lacking = other();
    lacking.remove("ema_model.head.weight");
    let mut reshaped = other();
    let zeros = Tensor::zeros(3, DType::F32, &Device::Cpu)?;
    reshaped.insert("model_D.6.bias".into(), zeros.clone());
    let mut strange = other();
    strange.insert("conditioning.features".into(), zeros);
    for (state, word) in [
        (lacking, "it lacks ema_model.head.weight"),
        (reshaped, "model_D.6.bias has shape [3]"),
        (strange, "the method has no conditioning.features"),
    ] {
        let message = own.restore(&state).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    }
    equal(&state(&own), &before);
    Ok(())
}
