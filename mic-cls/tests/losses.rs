//! Single losses against the recorded reference.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;
mod support;

use candle_core::{DType, Device, Result, Tensor, Var};
use mic_cls::losses::{
    DomainLoss, domain_score, entropy, entropy_weights, minimum_class_confusion,
};
use mic_cls::model::{Conditioning, DiscriminatorConfig, DomainDiscriminator, Output};
use mic_nn::autograd::backward;
use mic_nn::forward::Forward;
use mic_nn::ops::{CrossEntropyOptions, cross_entropy, softmax};
use mic_nn::params::Store;
use mic_nn::schedule::WarmStart;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use support::{NoDrops, Recorded};

#[test]
fn cross_entropy_with_and_without_confidence() -> Result<()> {
    let file = Recorded::open("losses");
    let labels = file.golden.get("ce.labels").to_dtype(DType::U32)?;
    for (weight, loss, gradient) in [
        (None, "ce.loss_mean", "ce.grad_logits"),
        (
            Some(file.golden.get("ce.prob_weight")),
            "ce.weighted_loss",
            "ce.weighted_grad",
        ),
    ] {
        let logits = Var::from_tensor(file.golden.get("ce.logits"))?;
        let options = CrossEntropyOptions {
            ignore: None,
            weight: weight.cloned(),
            class_weight: None,
        };
        let value = cross_entropy(&logits, &labels, &options)?;
        file.check(loss, &value);
        file.check(gradient, backward(&value)?.get(&logits).unwrap());
    }
    Ok(())
}

#[test]
fn entropies() -> Result<()> {
    let file = Recorded::open("losses");
    let p = softmax(file.golden.get("ce.logits"), 1)?;
    file.check("entropy.value", &entropy(&p)?);
    let logits = [file.golden.get("cdan.g_s"), file.golden.get("cdan.g_t")];
    let p = softmax(&Tensor::cat(&logits, 0)?, 1)?;
    file.check("cdan.entropy_weight", &entropy_weights(&p)?);
    Ok(())
}

#[test]
fn class_confusion_and_its_gradient() -> Result<()> {
    let file = Recorded::open("losses");
    let temperatures = file.golden.config["temperatures"].as_array().unwrap();
    assert!(!temperatures.is_empty());
    for temperature in temperatures {
        let temperature = temperature.as_f64().unwrap();
        let logits = Var::from_tensor(file.golden.get("mcc.logits"))?;
        let loss = minimum_class_confusion(&logits, temperature)?;
        file.check(&format!("mcc.T{temperature:?}.loss"), &loss);
        let grads = backward(&loss)?;
        file.check(
            &format!("mcc.T{temperature:?}.grad"),
            grads.get(&logits).unwrap(),
        );
    }
    Ok(())
}

fn conditioning(file: &Recorded, map: &str) -> Conditioning {
    let get = |name: &str| file.golden.find(&format!("cdan.{map}.{name}")).cloned();
    match (get("Rf"), get("Rg")) {
        (Some(features), Some(predictions)) => Conditioning::Randomized {
            features,
            predictions,
        },
        _ => Conditioning::Multilinear,
    }
}

/// One recorded case; how many of its tensors were compared.
fn check_domain(file: &Recorded, map: &str, entropy: usize, step: usize) -> Result<usize> {
    let get = |name: &str| file.golden.get(&format!("cdan.{name}"));
    let conditioning = conditioning(file, map);
    let features = [get("f_s"), get("f_t")].map(|f| Var::from_tensor(f).unwrap());
    let logits = [get("g_s"), get("g_t")].map(|g| Var::from_tensor(g).unwrap());
    let join = |pair: &[Var; 2]| Tensor::cat(&[pair[0].as_tensor(), pair[1].as_tensor()], 0);
    let output = Output {
        features: join(&features)?,
        logits: join(&logits)?,
    };
    let rng = ChaCha8Rng::seed_from_u64(0);
    let store = Store::trainable(rng, DType::F32, &Device::Cpu);
    let (classes, width) = (output.logits.dim(1)?, output.features.dim(1)?);
    let config = DiscriminatorConfig {
        inputs: conditioning.outputs(width, classes)?,
        hidden: file.count("hidden"),
    };
    let discriminator = DomainDiscriminator::new(&config, &store.root())?;
    let report = store.load(&file.golden.below(&format!("cdan.{map}.disc.")))?;
    assert!(report.exact(), "{report}");
    let predictions = softmax(&output.logits.detach(), 1)?;
    let joined = conditioning.map(&output.features.detach(), &predictions)?;
    file.check(&format!("cdan.{map}.h"), &joined);

    let mut compared = 0;
    for kind in [DomainLoss::Probabilities, DomainLoss::Logits] {
        store.load(&file.golden.below(&format!("cdan.{map}.disc.")))?;
        let score = domain_score(
            &discriminator,
            &conditioning,
            &output,
            get("f_s").dim(0)?,
            WarmStart::default().coefficient(step),
            (kind, entropy == 1),
            &Forward::train(&NoDrops),
        )?;
        let mut check = |key: &str, tensor: &Tensor| {
            if file.has(key) {
                file.check(key, tensor);
                compared += 1;
            }
        };
        check(&format!("cdan.{map}.d"), &score.probabilities);
        let accuracy = Tensor::new(score.accuracy, &Device::Cpu)?;
        check(&format!("cdan.{map}.accuracy"), &accuracy);
        let case = format!("cdan.{map}.ent{entropy}.it{step}");
        check(&format!("{case}.loss"), &score.loss);
        let grads = backward(&score.loss)?;
        for (name, feature) in [("grad_f_s", &features[0]), ("grad_f_t", &features[1])] {
            check(&format!("{case}.{name}"), grads.get(feature).unwrap());
        }
        for logits in &logits {
            assert!(grads.get(logits).is_none(), "predictions are constants");
        }
        for (name, var) in store.vars() {
            let grad = grads.get(&var).unwrap();
            check(&format!("{case}.grad_disc.{name}"), grad);
        }
        let state: std::collections::HashMap<_, _> = store.state().into_iter().collect();
        let running = [
            "1.running_mean",
            "1.running_var",
            "4.running_mean",
            "4.running_var",
        ];
        let running: Vec<&Tensor> = running.iter().map(|name| &state[*name]).collect();
        check(
            &format!("cdan.{map}.after.running"),
            &Tensor::cat(&running, 0)?,
        );
    }
    Ok(compared)
}

#[test]
fn adversarial_losses_and_their_gradients() -> Result<()> {
    let file = Recorded::open("losses");
    let steps = file.golden.config["grl_iters"].as_array().unwrap();
    assert!(!steps.is_empty());
    for map in ["multilinear", "randomized"] {
        for entropy in [0, 1] {
            for step in steps {
                let step = step.as_u64().unwrap() as usize;
                let compared = check_domain(&file, map, entropy, step)?;
                assert!(
                    compared >= 12,
                    "only {compared} tensors of {map} were compared"
                );
            }
        }
    }
    Ok(())
}

/// A layout with features outermost has the same numbers in another order.
#[test]
fn classes_are_outermost_in_the_multilinear_map() -> Result<()> {
    let f = Tensor::new(&[[1f32, 2.0, 3.0]], &Device::Cpu)?;
    let g = Tensor::new(&[[10f32, 100.0]], &Device::Cpu)?;
    let h = Conditioning::Multilinear.map(&f, &g)?;
    assert_eq!(
        h.to_vec2::<f32>()?,
        [[10.0, 20.0, 30.0, 100.0, 200.0, 300.0]]
    );
    Ok(())
}
