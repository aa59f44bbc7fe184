//! Sharpness-aware minimisation with Nesterov momentum against the reference's record.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;

use candle_core::{DType, Device, Result, Tensor, Var};
use golden::{Golden, values};
use mic_nn::autograd::backward;
use mic_nn::ops::{CrossEntropyOptions, cross_entropy, linear, relu};
use mic_nn::optim::{Grads, GroupRules, Optimizer, Rule, Sam, SamConfig, Sgd, SgdConfig};

/// A golden file whose tolerance is relative to the largest value of a tensor.
struct Recorded {
    golden: Golden,
    tolerance: f64,
}

impl Recorded {
    fn open(name: &str) -> Self {
        let golden = Golden::open("cls", name);
        let tolerance = golden.metadata("tolerance_rel_to_max_abs");
        let tolerance = tolerance.as_f64().unwrap();
        Self { golden, tolerance }
    }

    fn check(&self, key: &str, actual: &Tensor) {
        let largest = self
            .golden
            .numbers(key)
            .iter()
            .fold(0f64, |m, v| m.max(v.abs()));
        self.golden
            .check_within(key, actual, self.tolerance * largest.max(0.02));
    }

    fn number(&self, key: &str) -> f64 {
        self.golden.config[key].as_f64().unwrap()
    }
}

struct Network(Vec<(String, Var)>);

impl Network {
    fn var(&self, name: &str) -> &Tensor {
        let found = self.0.iter().find(|(n, _)| n == name);
        found.unwrap().1.as_tensor()
    }

    fn layer(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let bias = self
            .0
            .iter()
            .any(|(n, _)| *n == bias)
            .then(|| self.var(&bias));
        linear(x, self.var(&weight), bias)
    }

    fn loss(&self, x: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let x = relu(&self.layer("fc1", x)?)?;
        let x = self.layer("head", &self.layer("fc2", &x)?.tanh()?)?;
        let (b, c) = x.dims2()?;
        cross_entropy(
            &x.reshape((b, c, 1, 1))?,
            &labels.to_dtype(DType::U32)?.reshape((b, 1, 1))?,
            &CrossEntropyOptions::default(),
        )
    }
}

fn run(adaptive: bool) -> Result<()> {
    let file = Recorded::open("sam_step");
    let variant = if adaptive { "adaptive" } else { "plain" };
    let init = file.golden.below("init.");
    let mut names: Vec<String> = init.keys().cloned().collect();
    names.sort();
    let named = names.into_iter().map(|name| {
        let var = Var::from_tensor(&init[&name]).unwrap();
        (name, var)
    });
    let network = Network(named.collect());
    let rule = |key: &str| Rule {
        key: key.into(),
        lr_mult: 0.1,
        decay_mult: 1.0,
    };
    let rules = GroupRules {
        base_lr: file.number("lr"),
        base_weight_decay: file.number("wd"),
        rules: vec![rule("fc1"), rule("unused")],
    };
    let config = SgdConfig {
        momentum: file.number("momentum"),
        nesterov: true,
    };
    let mut optimizer = Sgd::new(&network.0, &rules, config);
    let config = SamConfig {
        rho: file.number("rho"),
        adaptive,
    };
    let mut sam = Sam::new(&network.0, config);
    let mut grads = Grads::new(&network.0);
    for step in 0..file.golden.config["steps"].as_u64().unwrap() {
        let key = |what: &str| format!("{variant}.step{step}.{what}");
        let check_grads = |what: &str, grads: &Grads| {
            for (name, _) in &network.0 {
                let key = key(&format!("{what}.{name}"));
                match grads.get(name) {
                    Some(grad) => file.check(&key, grad),
                    None => assert!(file.golden.find(&key).is_none()),
                }
            }
        };
        let x = file.golden.get(&format!("step{step}.x"));
        let labels = file.golden.get(&format!("step{step}.labels"));
        grads.clear();
        let loss = network.loss(x, labels)?;
        file.check(&key("loss_pass1"), &loss);
        grads.accumulate(&backward(&loss)?)?;
        check_grads("grad_pass1", &grads);
        let before: Vec<_> = network.0.iter().map(|(_, v)| values(v)).collect();
        let norm = sam.ascend(&mut grads)?;
        file.check(&key("grad_norm"), &Tensor::new(norm, &Device::Cpu)?);
        for (name, var) in &network.0 {
            file.check(&key(&format!("perturbed.{name}")), var);
        }
        let loss = network.loss(x, labels)?;
        file.check(&key("loss_pass2"), &loss);
        grads.accumulate(&backward(&loss)?)?;
        check_grads("grad_pass2", &grads);
        sam.restore()?;
        let after: Vec<_> = network.0.iter().map(|(_, v)| values(v)).collect();
        assert_eq!(before, after, "restored to the bit");
        optimizer.step(&grads, &|lr| lr)?;
        for (name, var) in &network.0 {
            file.check(&key(&format!("after.{name}")), var);
        }
        for (name, tensor) in optimizer.state()? {
            if let Some(name) = name.strip_suffix(".momentum_buffer") {
                file.check(&key(&format!("momentum.{name}")), &tensor);
            }
        }
    }
    Ok(())
}

#[test]
fn three_steps() -> Result<()> {
    run(false)
}

#[test]
fn three_adaptive_steps() -> Result<()> {
    run(true)
}

#[test]
fn misuse_is_refused() -> Result<()> {
    let p = Var::new(&[1f32, 0.0], &Device::Cpu)?;
    let named = [("p".to_string(), p.clone())];
    let mut sam = Sam::new(&named, SamConfig::default());
    let mut grads = Grads::new(&named);
    sam.restore()?;
    grads.accumulate(&backward(&p.sqrt()?.sum_all()?)?)?;
    let error = sam.ascend(&mut grads).err().unwrap().to_string();
    assert!(error.contains("the gradient of p is not finite"), "{error}");
    assert_eq!(values(&p), [1.0, 0.0]);
    grads.clear();
    grads.accumulate(&backward(&p.sum_all()?)?)?;
    sam.ascend(&mut grads)?;
    assert!(grads.get("p").is_none());
    let error = sam.ascend(&mut grads).err().unwrap().to_string();
    assert!(error.contains("not restored"), "{error}");
    sam.restore()?;
    assert_eq!(values(&p), [1.0, 0.0]);
    // Without any gradient nothing moves.
    assert_eq!(sam.ascend(&mut grads)?, 0.0);
    assert_eq!(values(&p), [1.0, 0.0]);
    Ok(())
}
