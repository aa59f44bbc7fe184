//! Cross-entropy, learning rates and parameter groups against the reference's records.

#![allow(clippy::unwrap_used)]

#[path = "../../testdata/golden.rs"]
mod golden;

use candle_core::{Result, Tensor, Var};
use golden::{Golden, values};
use mic_nn::autograd::backward;
use mic_nn::ops::{CrossEntropyOptions, cross_entropy, pixel_accuracy};
use mic_nn::optim::{GroupRules, Rule};
use mic_nn::schedule::PolyWarmup;
use serde_json::Value;

#[test]
fn cross_entropy_and_accuracy() -> Result<()> {
    let golden = Golden::open("seg", "labels");
    let label = golden.get("ce.label").squeeze(1)?;
    let run = |name: &str, weight: Option<Tensor>| -> Result<()> {
        let logits = Var::from_tensor(golden.get("ce.logits"))?;
        let options = CrossEntropyOptions {
            weight,
            ..Default::default()
        };
        let loss = cross_entropy(&logits, &label, &options)?;
        golden.check(&format!("ce.{name}.loss"), &loss);
        let grads = backward(&loss)?;
        golden.check(&format!("ce.{name}.grad"), grads.get(&logits).unwrap());
        Ok(())
    };
    run("noweight", None)?;
    run("weight", Some(golden.get("ce.weight").clone()))?;
    let accuracy = pixel_accuracy(golden.get("ce.logits"), &label)?;
    golden.check_scalar("ce.accuracy", accuracy);
    Ok(())
}

fn poly(config: &Value) -> PolyWarmup {
    PolyWarmup {
        max_iters: config["max_iters"].as_u64().unwrap() as usize,
        power: config["power"].as_f64().unwrap(),
        min_lr: config["min_lr"].as_f64().unwrap(),
        warmup_iters: config["warmup_iters"].as_u64().unwrap() as usize,
        warmup_ratio: config["warmup_ratio"].as_f64().unwrap(),
    }
}

fn assert_close(actual: f64, expected: f64, what: &str) {
    let allowed = 1e-12 * expected.abs();
    assert!(
        (actual - expected).abs() <= allowed,
        "{what}: {actual:e}, recorded {expected:e}"
    );
}

#[test]
fn learning_rates_of_every_iteration() {
    let recorded = golden::json("seg", "labels.json");
    let schedules = recorded["lr"].as_array().unwrap();
    assert!(!schedules.is_empty());
    for config in schedules {
        let schedule = poly(config);
        let bases = config["base_lrs"].as_array().unwrap();
        let sequence = config["sequence"].as_array().unwrap();
        assert!(!sequence.is_empty());
        for (step, rates) in sequence.iter().enumerate() {
            for (base, rate) in bases.iter().zip(rates.as_array().unwrap()) {
                let lr = schedule.lr(step, base.as_f64().unwrap());
                assert_close(lr, rate.as_f64().unwrap(), &format!("iteration {step}"));
            }
        }
    }
}

fn rules(optimizer: &Value) -> GroupRules {
    let keys = optimizer["paramwise_cfg"]["custom_keys"]
        .as_object()
        .unwrap();
    let rule = |(key, value): (&String, &Value)| Rule {
        key: key.clone(),
        lr_mult: value["lr_mult"].as_f64().unwrap_or(1.0),
        decay_mult: value["decay_mult"].as_f64().unwrap_or(1.0),
    };
    GroupRules {
        base_lr: optimizer["lr"].as_f64().unwrap(),
        base_weight_decay: optimizer["weight_decay"].as_f64().unwrap(),
        rules: keys.iter().map(rule).collect(),
    }
}

#[test]
fn parameter_groups_and_the_rates_of_training_steps() {
    for path in golden::files("seg", "dacs_step") {
        let golden = Golden::read(path);
        let rules = rules(&golden.config["optimizer"]);
        let rows = golden.metadata("param_groups");
        let rows = rows.as_array().unwrap();
        assert!(!rows.is_empty());
        for row in rows {
            let name = row[0].as_str().unwrap();
            let group = rules.group(name);
            assert_close(group.lr, row[1].as_f64().unwrap(), name);
            assert_close(group.weight_decay, row[2].as_f64().unwrap(), name);
        }
        let mut bases: Vec<f64> = rows.iter().map(|row| row[1].as_f64().unwrap()).collect();
        bases.sort_by(f64::total_cmp);
        bases.dedup();
        let mut config = golden.config["sched"].clone();
        config["max_iters"] = golden.config["max_iters"].clone();
        let schedule = poly(&config);
        for step in 0..golden.config["n_iters"].as_u64().unwrap() as usize {
            let recorded = values(golden.get(&format!("iter{step}.lr")));
            assert_eq!(recorded.len(), bases.len());
            for (&base, &rate) in bases.iter().zip(&recorded) {
                assert_close(schedule.lr(step, base), rate, &format!("step {step}"));
            }
        }
    }
}
