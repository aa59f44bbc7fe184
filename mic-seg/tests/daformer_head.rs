//! The DAFormer head and the whole network: recorded numbers, gradient flow, fixtures.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;

use candle_core::{DType, Device, Tensor, Var};
use golden::{Golden, refuse_unknown, values};
use mic_nn::autograd::backward;
use mic_nn::forward::{Drops, Forward, RandomDrops};
use mic_nn::models::mit::{MitConfig, Stem};
use mic_nn::ops::{self, CrossEntropyOptions};
use mic_nn::params::Store;
use mic_seg::Result;
use mic_seg::model::{
    DaformerHead, DaformerHeadConfig, Segmentor, SegmentorConfig, separable_aspp,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

fn fresh() -> Store {
    let rng = ChaCha8Rng::seed_from_u64(0);
    Store::trainable(rng, DType::F32, &Device::Cpu)
}

fn list(value: &Value) -> Vec<usize> {
    let entries = value.as_array().unwrap().iter();
    entries.map(|v| v.as_u64().unwrap() as usize).collect()
}

/// The recorded channel flags.
struct Recorded(Vec<bool>);

impl Drops for Recorded {
    fn keep(&self, _: &str, _: f64, count: usize) -> Vec<bool> {
        assert_eq!(count, self.0.len());
        self.0.clone()
    }
}

const HEAD_OPTIONS: [&str; 10] = [
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

#[test]
fn head_agrees_with_the_recorded_reference() -> Result<()> {
    let golden = Golden::open("seg", "daformer_head");
    let config = &golden.config;
    refuse_unknown("daformer_head", config, &HEAD_OPTIONS, &["size", "seed"]);
    assert_eq!(config["head"], "daformer");
    for (key, ours) in [("bn_momentum", 0.1), ("bn_eps", 1e-5)] {
        assert_eq!(config[key].as_f64().unwrap_or(ours), ours, "{key}");
    }
    let number = |key: &str| config[key].as_u64().unwrap() as usize;
    let head_config = DaformerHeadConfig {
        embed: number("embed"),
        channels: number("channels"),
        fusion: separable_aspp(&list(&config["dilations"])),
        dropout: config["dropout"].as_f64().unwrap(),
        ..DaformerHeadConfig::new(&list(&config["in_channels"]), number("num_classes"))
    };
    let store = fresh();
    let head = DaformerHead::new(&head_config, &store.root())?;
    let mut recorded = golden.below("param.");
    recorded.extend(golden.below("buffer."));
    let report = store.load(&recorded)?;
    assert!(
        report.complete() && report.unexpected.is_empty(),
        "{report}"
    );

    let levels: Vec<Var> = (0..head_config.in_channels.len())
        .map(|n| Var::from_tensor(golden.get(&format!("input.{n}"))))
        .collect::<candle_core::Result<_>>()?;
    let features: Vec<Tensor> = levels.iter().map(|v| v.as_tensor().clone()).collect();
    golden.check("eval.logits", &head.forward(&features, &Forward::eval())?);

    let label = golden.get("label").squeeze(1)?;
    let (_, height, width) = label.dims3()?;
    let loss = |logits: &Tensor, weight: Option<&Tensor>| -> Result<Tensor> {
        let logits = ops::resize_bilinear(logits, (height, width), false)?;
        let options = CrossEntropyOptions {
            weight: weight.cloned(),
            ..CrossEntropyOptions::default()
        };
        Ok(ops::cross_entropy(&logits, &label, &options)?)
    };
    let weight = golden.get("weight");
    let logits = head.forward(&features, &Forward::batch_statistics())?;
    golden.check("train.logits", &logits);
    let weighted = loss(&logits, Some(weight))?;
    golden.check("train.loss", &weighted);
    golden.check("train.loss_noweight", &loss(&logits, None)?);
    let resized = ops::resize_bilinear(&logits, (height, width), false)?;
    golden.check_scalar("train.acc", ops::pixel_accuracy(&resized, &label)?);
    for (name, buffer) in store.buffers() {
        golden.check(&format!("after.{name}"), &buffer.get());
    }
    let grads = backward(&weighted)?;
    for (n, level) in levels.iter().enumerate() {
        golden.check(&format!("grad.input.{n}"), grads.get(level).unwrap());
    }
    let without = list_of_names(&config["params_without_grad"]);
    for (name, var) in store.vars() {
        match grads.get(&var) {
            Some(grad) => golden.check(&format!("grad.{name}"), grad),
            None => assert!(without.contains(&name), "no gradient for {name}"),
        }
    }

    store.load(&recorded)?;
    let keep = values(golden.get("dropout.keep"));
    let drops = Recorded(keep.iter().map(|&k| k != 0.0).collect());
    let mode = Forward::train(&drops);
    let logits = head.forward(&features, &mode)?;
    golden.check("dropout.logits", &logits);
    golden.check("dropout.loss", &loss(&logits, Some(weight))?);
    Ok(())
}

fn list_of_names(value: &Value) -> Vec<String> {
    let names = value.as_array().into_iter().flatten();
    names.map(|v| v.as_str().unwrap().to_string()).collect()
}

fn small() -> SegmentorConfig {
    let backbone = MitConfig {
        embed_dims: vec![12, 16, 24],
        depths: vec![1, 1, 1],
        num_heads: vec![1, 2, 3],
        sr_ratios: vec![4, 2, 1],
        mlp_ratio: 2,
        drop_path_rate: 0.1,
        stem: Stem::Conv,
    };
    let head = DaformerHeadConfig {
        embed: 8,
        channels: 8,
        fusion: separable_aspp(&[1, 2]),
        ..DaformerHeadConfig::new(&backbone.embed_dims, 5)
    };
    SegmentorConfig::new(backbone, head)
}

#[test]
fn every_parameter_of_the_network_gets_a_gradient() -> Result<()> {
    let store = fresh();
    let net = Segmentor::new(&small(), &store.root())?;
    let image: Vec<f32> = (0..2 * 3 * 48 * 64)
        .map(|i| (0.13 * i as f32).sin())
        .collect();
    let image = Tensor::from_vec(image, (2, 3, 48, 64), &Device::Cpu)?;
    let label: Vec<u8> = (0..2 * 48 * 64).map(|i| (i / 37 % 6) as u8).collect();
    let label: Vec<u8> = label
        .iter()
        .map(|&l| if l == 5 { 255 } else { l })
        .collect();
    let label = Tensor::from_vec(label, (2, 48, 64), &Device::Cpu)?;
    let drops = RandomDrops::new(ChaCha8Rng::seed_from_u64(2));
    let logits = net.encode_decode(&image, &Forward::train(&drops))?;
    let loss = ops::cross_entropy(&logits, &label, &CrossEntropyOptions::default())?;
    let grads = backward(&loss)?;
    for (name, var) in store.vars() {
        let grad = grads.get(&var);
        let grad = values(grad.unwrap_or_else(|| panic!("{name} got no gradient")));
        assert!(grad.iter().all(|g| g.is_finite()), "{name}");
        assert!(grad.iter().any(|&g| g != 0.0), "{name} has a zero gradient");
    }
    Ok(())
}

#[test]
fn a_network_with_the_published_shape_has_the_published_size() -> Result<()> {
    let backbone = MitConfig::variant(5)?;
    let head = DaformerHeadConfig::new(&backbone.embed_dims, 19);
    let store = fresh();
    Segmentor::new(&SegmentorConfig::new(backbone, head), &store.root())?;
    assert_eq!(store.parameter_count(), 85_155_283);
    assert_eq!((store.vars().len(), store.state().len()), (1086, 1110));
    Ok(())
}
