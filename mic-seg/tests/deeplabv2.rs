//! ResNet-V1c with DeepLabV2's head against the recorded reference.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;
mod recorded;

use candle_core::{Tensor, Var};
use golden::{Golden, refuse_unknown};
use mic_nn::autograd::backward;
use mic_nn::forward::Forward;
use mic_nn::models::resnet::ResNetConfig;
use mic_nn::ops::{self, CrossEntropyOptions};
use mic_seg::Result;
use mic_seg::model::{DeeplabHead, DeeplabHeadConfig, Segmentor, SegmentorConfig};
use recorded::{count, fresh, list};
use serde_json::Value;

fn backbone(config: &Value) -> Result<ResNetConfig> {
    Ok(ResNetConfig {
        stem_channels: count(config, "stem_channels"),
        width: count(config, "base_channels"),
        strides: list(&config["strides"]),
        dilations: list(&config["dilations"]),
        contract_dilation: config["contract_dilation"].as_bool().unwrap(),
        ..ResNetConfig::v1c(count(config, "depth"))?
    })
}

#[test]
fn network_agrees_with_the_recorded_reference() -> Result<()> {
    let golden = Golden::open("seg", "deeplabv2");
    let config = &golden.config;
    let used = [
        "backbone",
        "depth",
        "stem_channels",
        "base_channels",
        "strides",
        "dilations",
        "contract_dilation",
        "head_dilations",
        "head2_dilations",
        "num_classes",
        "bn_eps",
        "bn_momentum",
    ];
    refuse_unknown("deeplabv2", config, &used, &["size", "seed"]);
    assert_eq!(config["backbone"], "ResNetV1c");
    let backbone = backbone(config)?;
    let head = |key: &str| DeeplabHeadConfig {
        in_channels: backbone.channels().last().copied().unwrap(),
        dilations: list(&config[key]),
        classes: count(config, "num_classes"),
    };
    let store = fresh();
    let model = SegmentorConfig::new(backbone.clone(), head("head_dilations"));
    let net = Segmentor::new(&model, &store.root())?;
    let mut weights = golden.below("param.");
    weights.extend(golden.below("buffer."));
    let report = store.load(&weights)?;
    assert!(
        report.complete() && report.unexpected.is_empty(),
        "{report}"
    );
    let second = fresh();
    let reduced = DeeplabHead::new(&head("head2_dilations"), &second.root())?;
    let report = second.load(&golden.below("head2.decode_head."))?;
    assert!(report.complete(), "{report}");

    let image = Var::from_tensor(golden.get("input"))?;
    let output = net.forward(&image, &Forward::eval())?;
    for (n, feature) in output.features.iter().enumerate() {
        golden.check(&format!("eval.feat.{n}"), feature);
    }
    golden.check("eval.logits", &output.logits);
    golden.check("eval.logits_head2", &reduced.forward(&output.features)?);

    let label = golden.get("label").squeeze(1)?;
    let (_, height, width) = label.dims3()?;
    let output = net.forward_train(&image, None, &Forward::batch_statistics())?;
    for (n, feature) in output.features.iter().enumerate() {
        golden.check(&format!("train.feat.{n}"), feature);
    }
    golden.check("train.logits", &output.logits);
    let logits = ops::resize_bilinear(&output.logits, (height, width), false)?;
    let options = CrossEntropyOptions {
        weight: Some(golden.get("weight").clone()),
        ..CrossEntropyOptions::default()
    };
    let loss = ops::cross_entropy(&logits, &label, &options)?;
    golden.check("train.loss", &loss);
    golden.check_scalar("train.acc", ops::pixel_accuracy(&logits, &label)?);
    for (name, buffer) in store.buffers() {
        golden.check(&format!("after.{name}"), &buffer.get());
    }
    let grads = backward(&loss)?;
    let mut strict = usize::from(golden.check_gradient("grad.input", grads.get(&image).unwrap()));
    for (name, var) in store.vars() {
        let grad: &Tensor = grads.get(&var).unwrap_or_else(|| panic!("none for {name}"));
        let key = format!("grad.{name}");
        if golden.find(&key).is_some() {
            strict += usize::from(golden.check_gradient(&key, grad));
        }
    }
    assert!(strict > 0, "no gradient agrees strictly");
    Ok(())
}

#[test]
fn networks_of_the_published_shape_have_the_published_size() -> Result<()> {
    let backbone = ResNetConfig::v1c(101)?;
    let head = DeeplabHeadConfig {
        in_channels: 2048,
        dilations: vec![6, 12],
        classes: 19,
    };
    let store = fresh();
    let model = SegmentorConfig::new(backbone, head);
    Segmentor::new(&model, &store.root())?;
    assert_eq!(store.parameter_count(), 43_219_846);
    assert_eq!((store.vars().len(), store.state().len()), (322, 640));
    Ok(())
}
