//! What every method does to its networks.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;
mod support;

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use golden::values;
use mic_cls::train::step;
use mic_cls::uda::{Adaptation, Draws, REVERSALS, Statistics, TEACHER, WeightedLosses};
use mic_cls::{Error, Result};
use mic_nn::optim::Grads;
use support::{KINDS, NoDrops, SIDE, backbones, batch, images, method, options, same, state};

fn norm(grads: &Grads, name: &str) -> Option<f64> {
    let squares = values(grads.get(name)?).into_iter().map(|v| v * v);
    Some(squares.sum::<f64>().sqrt())
}

#[test]
fn gradients_reach_every_parameter_that_is_used() -> Result<()> {
    for backbone in backbones() {
        for kind in KINDS {
            for masked in [false, true] {
                let mut method = method(&backbone, options(kind, masked), 1);
                for number in 0..2 {
                    step(&mut method, 3, number, &batch(number))?;
                }
                for (name, _) in method.student().store.params() {
                    let norm = norm(method.grads(), &name);
                    // The bias in front of a batch norm has none but rounding.
                    let expected = !name.starts_with("backbone.fc.");
                    assert_eq!(norm.is_some(), expected, "{kind}: {name}");
                    let shifted = name == "bottleneck.0.bias";
                    assert!(shifted || norm.is_none_or(|n| n > 0.0), "{kind}: {name}");
                }
                assert_eq!(method.adversary().is_some(), kind != "source_only");
                let Some(adversary) = method.adversary() else {
                    continue;
                };
                for (name, _) in adversary.store().params() {
                    assert!(norm(adversary.grads(), &name).is_some(), "{kind}: {name}");
                }
            }
        }
    }
    Ok(())
}

/// How often batch norms have seen a batch: student, teacher, discriminator.
fn passes(method: &Adaptation) -> [Option<f64>; 3] {
    let state = state(method);
    let count = |key: &str| state.get(key).map(|count| values(count)[0]);
    [
        count("model.bottleneck.1.num_batches_tracked"),
        count("ema_model.bottleneck.1.num_batches_tracked"),
        count("model_D.1.num_batches_tracked"),
    ]
}

#[test]
fn passes_move_the_statistics_as_often_as_in_the_published_code() -> Result<()> {
    let backbone = &backbones()[2];
    for (kind, unmasked, adversary) in [
        ("source_only", 1.0, None),
        ("cdan", 1.0, Some(2.0)),
        ("cdan_mcc", 1.0, Some(2.0)),
        ("cdan_sdat", 2.0, Some(2.0)),
        ("sdat", 2.0, Some(2.0)),
    ] {
        for masked in [false, true] {
            for statistics in [Statistics::EveryPass, Statistics::CleanPass] {
                let mut options = options(kind, masked);
                options.statistics = statistics;
                let mut method = method(backbone, options, 1);
                for number in 0..2 {
                    step(&mut method, 3, number, &batch(number))?;
                }
                let each = match statistics {
                    Statistics::EveryPass if masked => 2.0 * unmasked,
                    Statistics::EveryPass => unmasked,
                    Statistics::CleanPass => 1.0,
                };
                let expected = [Some(2.0 * each), masked.then_some(2.0), adversary];
                assert_eq!(passes(&method), expected, "{kind}, masked: {masked}");
            }
        }
    }
    Ok(())
}

#[test]
fn the_teacher_copies_and_then_averages() -> Result<()> {
    let mut method = method(&backbones()[1], options("sdat", true), 1);
    let first = state(&method);
    step(&mut method, 3, 0, &batch(0))?;
    let after = state(&method);
    let teachers: Vec<_> = method.teacher().unwrap().network().store.params();
    let second = &after;
    step(&mut method, 3, 1, &batch(1))?;
    let third = state(&method);
    for (name, _) in &teachers {
        let (student, teacher) = (format!("model.{name}"), format!("{TEACHER}{name}"));
        assert!(same(&first[&student], &after[&teacher]), "{name}");
        let of = |state: &HashMap<String, Tensor>| values(&state[&student]);
        let middle = of(&first)
            .into_iter()
            .zip(of(second))
            .map(|(a, b)| (a + b) / 2.0);
        for (ours, expected) in values(&third[&teacher]).into_iter().zip(middle) {
            assert!((ours - expected).abs() < 1e-6, "{name}: {ours}, {expected}");
        }
    }
    Ok(())
}

/// Pseudo-labels of an image depend on the images beside it: the teacher normalises with the batch.
#[test]
fn the_teacher_normalises_with_the_target_batch() -> Result<()> {
    let mut logits = Vec::new();
    for phase in [0.5, 4.5] {
        let mut method = method(&backbones()[1], options("sdat", true), 1);
        let mut batch = batch(0);
        let shared = images(1, SIDE, 0.3);
        let target = Tensor::cat(&[&shared, &images(4, SIDE, phase)], 0)?;
        batch.target = Some(target);
        let draws = Draws::sample(method.options(), 3, 0, (5, SIDE, SIDE))?;
        let mut tap = |name: &str, tensor: &Tensor| {
            if name == "teacher.logits" {
                logits.push(values(&tensor.get(0).unwrap()));
            }
        };
        method.step(0, &batch, &draws, &NoDrops, Some(&mut tap))?;
    }
    assert_eq!(logits.len(), 2);
    let change = logits[0].iter().zip(&logits[1]).map(|(a, b)| (a - b).abs());
    assert!(change.fold(0.0, f64::max) > 1e-3);
    Ok(())
}

#[test]
fn the_trade_off_leaves_the_ascent_alone() -> Result<()> {
    let run = |trade_off: f64, ascent: bool| -> Result<_> {
        let mut options = options("sdat", true);
        options.trade_off = trade_off;
        options.ascent.as_mut().unwrap().trade_off = ascent;
        let mut method = method(&backbones()[1], options, 1);
        let scalars = step(&mut method, 3, 0, &batch(0))?;
        let adversary = method.adversary().unwrap();
        // Without any loss there is no gradient at all.
        let discriminator = norm(adversary.grads(), "6.weight").unwrap_or(0.0);
        Ok((scalars, discriminator))
    };
    let (none, discriminator) = run(0.0, false)?;
    assert_eq!(discriminator, 0.0);
    assert_eq!(none["loss.total"], none["loss.cls"]);
    let sum = none["ascent.cls"] + none["ascent.mcc"] + none["ascent.masked"];
    assert!(none["ascent.mcc"] > 0.0 && none["ascent.masked"] > 0.0);
    assert!((none["ascent.total"] - sum).abs() < 1e-9);
    let (whole, discriminator) = run(1.0, false)?;
    assert!(discriminator > 0.0);
    assert_eq!(whole["ascent.norm"], none["ascent.norm"]);
    let (scaled, _) = run(0.0, true)?;
    assert_eq!(scaled["ascent.total"], scaled["ascent.cls"]);
    Ok(())
}

#[test]
fn confidence_enters_the_losses_it_is_meant_for() -> Result<()> {
    let masked = |kind: &str, weighted: WeightedLosses| -> Result<_> {
        let mut options = options(kind, true);
        options.masked.as_mut().unwrap().weighted = weighted;
        let scalars = step(&mut method(&backbones()[1], options, 1), 3, 0, &batch(0))?;
        let ascent = scalars.get("ascent.masked").copied();
        Ok((ascent, scalars["loss.masked"], scalars["pseudo.weight"]))
    };
    let (ascent, alone, confidence) = masked("sdat", WeightedLosses::Ascent)?;
    let (same_ascent, both, _) = masked("sdat", WeightedLosses::Both)?;
    assert_eq!(ascent, same_ascent);
    assert!(confidence < 0.9);
    // The weighted loss is the smaller one, by about the mean confidence.
    assert!(both < 0.95 * alone && ascent.unwrap() < 0.95 * alone);
    let (_, single, _) = masked("cdan", WeightedLosses::Ascent)?;
    let (_, same_single, _) = masked("cdan", WeightedLosses::Both)?;
    assert_eq!(single, same_single);
    Ok(())
}

#[test]
fn recomputed_activations_give_the_same_step() -> Result<()> {
    for backbone in &backbones()[..2] {
        let run = |recompute: bool| -> Result<_> {
            let mut options = options("sdat", true);
            options.recompute = recompute;
            let mut method = method(backbone, options, 1);
            for number in 0..2 {
                step(&mut method, 3, number, &batch(number))?;
            }
            Ok(state(&method))
        };
        let (kept, again) = (run(false)?, run(true)?);
        for (name, tensor) in &kept {
            let pairs = values(tensor).into_iter().zip(values(&again[name]));
            for (a, b) in pairs {
                assert!((a - b).abs() < 1e-6, "{name}: {a}, {b}");
            }
        }
    }
    Ok(())
}

/// Everything but the teacher's weights, which have followed.
fn unchanged(before: &HashMap<String, Tensor>, method: &Adaptation, what: &str) {
    let after = state(method);
    assert_eq!(before.len(), after.len());
    for (name, tensor) in before {
        let followed = name.starts_with(TEACHER) && !name.contains("running_");
        assert!(followed || same(tensor, &after[name]), "{what}: {name}");
    }
    assert!(before.contains_key(REVERSALS));
}

#[test]
fn steps_that_are_not_finite_change_nothing() -> Result<()> {
    let nan = |tensor: &Tensor| (tensor * f64::NAN).unwrap();
    for (what, rho) in [
        ("source", 0.02),
        ("target", 0.02),
        ("perturbed weights", 1e38),
    ] {
        let mut options = options("sdat", true);
        options.ascent.as_mut().unwrap().sam.rho = rho;
        let mut method = method(&backbones()[0], options, 1);
        let mut batch = batch(1);
        match what {
            "source" => batch.source = nan(&batch.source),
            "target" => batch.target = batch.target.as_ref().map(nan),
            _ => {}
        }
        let before = state(&method);
        match step(&mut method, 3, 1, &batch) {
            Err(Error::NonFinite(found)) => assert!(!found.value.is_finite(), "{what}"),
            Err(other) => panic!("{what}: {other}"),
            Ok(_) => panic!("{what} was accepted"),
        }
        unchanged(&before, &method, what);
    }
    Ok(())
}

#[test]
fn batches_that_do_not_fit_are_refused() {
    let refusal = |kind: &str, change: fn(&mut mic_cls::uda::ClsBatch)| {
        let mut batch = batch(0);
        change(&mut batch);
        let mut method = method(&backbones()[1], options(kind, false), 1);
        step(&mut method, 3, 0, &batch).unwrap_err().to_string()
    };
    let labels = refusal("cdan", |b| b.labels = b.labels.narrow(0, 0, 2).unwrap());
    assert!(labels.contains("every image needs one"), "{labels}");
    let size = refusal("cdan", |b| b.target = Some(images(5, 16, 0.0)));
    assert!(size.contains("the same size"), "{size}");
    let target = refusal("sdat", |b| b.target = None);
    assert!(target.contains("the batch has none"), "{target}");
    let single = refusal("source_only", |b| {
        b.source = b.source.narrow(0, 0, 1).unwrap();
        b.labels = Tensor::new(&[1u32], &Device::Cpu).unwrap();
    });
    assert!(single.contains("at least 2 images"), "{single}");
}

#[test]
fn source_only_needs_no_target() -> Result<()> {
    let mut batch = batch(0);
    batch.target = None;
    let mut method = method(&backbones()[2], options("source_only", false), 1);
    let scalars = step(&mut method, 3, 0, &batch)?;
    assert_eq!(scalars["loss.total"], scalars["loss.cls"]);
    Ok(())
}
