//! Optimisers and gradient clipping against sequences recorded from PyTorch
//! (`testdata/record/optim.py`).

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;

use mic_nn::autograd::backward;
use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{DType, Device, Result, Tensor, Var};
use golden::{Golden, values};
use mic_nn::optim::{
    AdamW, AdamWConfig, Grads, GroupRules, NonFinite, Optimizer, Rule, Sgd, SgdConfig,
};
use serde_json::Value;

fn recorded() -> Golden {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/recorded/optim");
    Golden::read(folder.join("steps.safetensors"))
}

fn number(options: &Value, key: &str) -> f64 {
    options[key].as_f64().unwrap()
}

fn optimizer(options: &Value, rules: &Value, named: &[(String, Var)]) -> Box<dyn Optimizer> {
    let rules = rules.as_array().unwrap().iter().map(|rule| Rule {
        key: rule[0].as_str().unwrap().into(),
        lr_mult: rule[1].as_f64().unwrap(),
        decay_mult: rule[2].as_f64().unwrap(),
    });
    let rules = GroupRules {
        base_lr: number(options, "lr"),
        base_weight_decay: number(options, "weight_decay"),
        rules: rules.collect(),
    };
    match options["type"].as_str().unwrap() {
        "sgd" => {
            let config = SgdConfig {
                momentum: number(options, "momentum"),
                nesterov: options["nesterov"].as_bool().unwrap(),
            };
            Box::new(Sgd::new(named, &rules, config))
        }
        "adam" | "adamw" => {
            let betas = &options["betas"];
            let config = AdamWConfig {
                betas: (betas[0].as_f64().unwrap(), betas[1].as_f64().unwrap()),
                eps: number(options, "eps"),
            };
            Box::new(AdamW::new(named, &rules, config))
        }
        other => panic!("unknown optimiser {other}"),
    }
}

/// Puts given gradients into the accumulator, by way of a loss that has them.
fn accumulate(
    grads: &mut Grads,
    named: &[(String, Var)],
    given: &HashMap<String, Tensor>,
) -> Result<()> {
    grads.clear();
    for (name, var) in named {
        if let Some(grad) = given.get(name) {
            grads.accumulate(&backward(&(var.as_tensor() * grad)?.sum_all()?)?)?;
        }
    }
    Ok(())
}

#[test]
fn sequences_of_steps() -> Result<()> {
    let golden = recorded();
    let cases = golden.metadata("cases");
    let rules = golden.metadata("rules");
    let steps = golden.metadata("steps").as_u64().unwrap();
    assert!(steps > 3 && !cases.as_object().unwrap().is_empty());
    for (case, options) in cases.as_object().unwrap() {
        for (dtype, suffix, tolerance) in [(DType::F64, "f64", 2e-14), (DType::F32, "f32", 2e-6)] {
            let start = golden.below("start.");
            let mut names: Vec<&String> = start.keys().collect();
            names.sort();
            let named = names
                .into_iter()
                .map(|name| {
                    Ok((
                        name.clone(),
                        Var::from_tensor(&start[name].to_dtype(dtype)?)?,
                    ))
                })
                .collect::<Result<Vec<_>>>()?;
            let mut grads = Grads::new(&named);
            let mut optimizer = optimizer(options, &rules, &named);
            for step in 0..steps {
                let key = format!("{case}.{suffix}.{step}");
                accumulate(&mut grads, &named, &golden.below(&format!("{key}.grad.")))?;
                if let Some(max) = options["clip"].as_f64() {
                    let norm = grads.clip_global_norm(max, NonFinite::Error)?;
                    golden.check_within(
                        &format!("{key}.norm"),
                        &Tensor::new(norm, &Device::Cpu)?,
                        tolerance * 10.0,
                    );
                }
                let factor = golden.scalar(&format!("{key}.factor"));
                optimizer.step(&grads, &|base| factor * base)?;
                for (name, var) in &named {
                    golden.check_within(&format!("{key}.after.{name}"), var, tolerance);
                }
                // A round trip through the saved state changes nothing.
                let state: HashMap<String, Tensor> = optimizer.state()?.into_iter().collect();
                optimizer.load_state(&state)?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_gradient_that_does_not_fit_changes_nothing() -> Result<()> {
    let a = Var::new(&[1f32, 2.0], &Device::Cpu)?;
    let b = Var::new(&[1f32, 2.0, 3.0], &Device::Cpu)?;
    let named = [("a".to_string(), a.clone()), ("b".to_string(), b.clone())];
    // The accumulator has other ideas of what "b" is.
    let other = [("a".to_string(), a.clone()), ("b".to_string(), a.clone())];
    let mut grads = Grads::new(&other);
    grads.accumulate(&backward(&a.sum_all()?)?)?;
    let rules = GroupRules::uniform(0.1, 0.0);
    let mut optimizer = Sgd::new(&named, &rules, SgdConfig::default());
    let error = optimizer.step(&grads, &|lr| lr).err().unwrap().to_string();
    assert!(error.contains("sgd: the gradient of b is [2] F32, the parameter [3] F32"));
    assert_eq!(values(&a), [1.0, 2.0]);
    Ok(())
}

#[test]
fn detection_and_classification_groups() {
    let rule = |key: &str, lr_mult, decay_mult| Rule {
        key: key.into(),
        lr_mult,
        decay_mult,
    };
    // Faster R-CNN: twice the rate and no decay for biases.
    let detection = GroupRules {
        base_lr: 0.0025,
        base_weight_decay: 1e-4,
        rules: vec![rule("bias", 2.0, 0.0)],
    };
    let group = detection.group("roi_heads.box.predictor.cls_score.bias");
    assert_eq!((group.lr, group.weight_decay), (0.005, 0.0));
    let group = detection.group("backbone.fpn.fpn_inner1.weight");
    assert_eq!((group.lr, group.weight_decay), (0.0025, 1e-4));
    // Classification: a tenth of the rate for the backbone, decay everywhere.
    let classification = GroupRules {
        base_lr: 0.002,
        base_weight_decay: 1e-3,
        rules: vec![rule("backbone.", 0.1, 1.0)],
    };
    let group = classification.group("backbone.layer1.0.bn1.bias");
    assert_eq!((group.lr, group.weight_decay), (0.1 * 0.002, 1e-3));
    let group = classification.group("bottleneck.0.weight");
    assert_eq!((group.lr, group.weight_decay), (0.002, 1e-3));
}
