//! SegFormer's head against the recorded reference.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;
mod recorded;

use candle_core::{Tensor, Var};
use golden::{Golden, refuse_unknown, values};
use mic_nn::autograd::backward;
use mic_nn::forward::{Drops, Forward};
use mic_nn::ops::{self, CrossEntropyOptions};
use mic_seg::Result;
use mic_seg::model::{SegformerHead, SegformerHeadConfig};
use recorded::{count, fresh, list, number};

/// The recorded channel flags.
struct Recorded(Vec<bool>);

impl Drops for Recorded {
    fn keep(&self, _: &str, _: f64, count: usize) -> Vec<bool> {
        assert_eq!(count, self.0.len());
        self.0.clone()
    }
}

#[test]
fn head_agrees_with_the_recorded_reference() -> Result<()> {
    let golden = Golden::open("seg", "segformer_head");
    let config = &golden.config;
    let used = [
        "head",
        "in_channels",
        "channels",
        "embed",
        "num_classes",
        "dilations",
        "dropout",
        "params_without_grad",
        "bn_momentum",
        "bn_eps",
    ];
    refuse_unknown("segformer_head", config, &used, &["size", "seed"]);
    assert!(config["head"] == "segformer" && config["dilations"].is_null());
    let shape = SegformerHeadConfig {
        embed: count(config, "embed"),
        unused: count(config, "channels"),
        dropout: number(config, "dropout", 0.0),
        ..SegformerHeadConfig::new(&list(&config["in_channels"]), count(config, "num_classes"))
    };
    let store = fresh();
    let head = SegformerHead::new(&shape, &store.root())?;
    let mut weights = golden.below("param.");
    weights.extend(golden.below("buffer."));
    let report = store.load(&weights)?;
    assert!(
        report.complete() && report.unexpected.is_empty(),
        "{report}"
    );

    let levels: Vec<Var> = (0..shape.in_channels.len())
        .map(|n| Var::from_tensor(golden.get(&format!("input.{n}"))))
        .collect::<candle_core::Result<_>>()?;
    let features: Vec<Tensor> = levels.iter().map(|v| v.as_tensor().clone()).collect();
    golden.check("eval.logits", &head.forward(&features, &Forward::eval())?);

    let label = golden.get("label").squeeze(1)?;
    let (_, height, width) = label.dims3()?;
    let resized = |logits: &Tensor| ops::resize_bilinear(logits, (height, width), false);
    let loss = |logits: &Tensor, weight: Option<&Tensor>| -> Result<Tensor> {
        let options = CrossEntropyOptions {
            weight: weight.cloned(),
            ..CrossEntropyOptions::default()
        };
        Ok(ops::cross_entropy(&resized(logits)?, &label, &options)?)
    };
    let weight = golden.get("weight");
    let logits = head.forward(&features, &Forward::batch_statistics())?;
    golden.check("train.logits", &logits);
    let weighted = loss(&logits, Some(weight))?;
    golden.check("train.loss", &weighted);
    golden.check("train.loss_noweight", &loss(&logits, None)?);
    golden.check_scalar(
        "train.acc",
        ops::pixel_accuracy(&resized(&logits)?, &label)?,
    );
    for (name, buffer) in store.buffers() {
        golden.check(&format!("after.{name}"), &buffer.get());
    }
    let grads = backward(&weighted)?;
    for (n, level) in levels.iter().enumerate() {
        golden.check(&format!("grad.input.{n}"), grads.get(level).unwrap());
    }
    let unused = config["params_without_grad"].as_array().unwrap();
    for (name, var) in store.vars() {
        match grads.get(&var) {
            Some(grad) => golden.check(&format!("grad.{name}"), grad),
            None => assert!(unused.iter().any(|n| *n == *name), "no gradient for {name}"),
        }
    }

    store.load(&weights)?;
    let keep = values(golden.get("dropout.keep"));
    let drops = Recorded(keep.iter().map(|&k| k != 0.0).collect());
    let logits = head.forward(&features, &Forward::train(&drops))?;
    golden.check("dropout.logits", &logits);
    golden.check("dropout.loss", &loss(&logits, Some(weight))?);
    Ok(())
}
