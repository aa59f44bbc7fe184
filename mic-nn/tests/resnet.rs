//! ResNets against the numbers recorded from the references for classification and segmentation.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor, Var};
use golden::{Golden, values};
use mic_nn::autograd::backward;
use mic_nn::forward::Forward;
use mic_nn::models::resnet::{ResNet, ResNetConfig};
use mic_nn::ops::{self, Conv2dOptions, CrossEntropyOptions};
use mic_nn::params::Store;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

fn store(dtype: DType) -> Store {
    Store::trainable(ChaCha8Rng::seed_from_u64(0), dtype, &Device::Cpu)
}

fn number(config: &Value, key: &str) -> usize {
    config[key].as_u64().unwrap() as usize
}

fn list(value: &Value) -> Vec<usize> {
    let entries = value.as_array().unwrap();
    entries
        .iter()
        .map(|v| v.as_u64().unwrap() as usize)
        .collect()
}

fn load(store: &Store, values: &HashMap<String, Tensor>) -> Result<()> {
    let report = store.load(values)?;
    assert!(
        report.complete() && report.unexpected.is_empty(),
        "{report}"
    );
    Ok(())
}

/// Compares at the file's tolerance, which is relative to the largest value of a tensor.
fn check_relative(golden: &Golden, key: &str, actual: &Tensor) {
    let tolerance = golden.metadata("tolerance_rel_to_max_abs");
    let numbers = golden.numbers(key);
    let largest = numbers.iter().fold(0.02, |m: f64, v| m.max(v.abs()));
    golden.check_within(key, actual, tolerance.as_f64().unwrap() * largest);
}

/// All buffers of a store that were recorded below `prefix`; at least `count`.
fn check_buffers(store: &Store, recorded: &HashMap<String, Tensor>, check: impl Fn(&str, &Tensor)) {
    assert!(!recorded.is_empty());
    let buffers: HashMap<_, _> = store.buffers().into_iter().collect();
    for name in recorded.keys() {
        check(name, &buffers[name].get());
    }
}

#[test]
fn classification_reference() -> Result<()> {
    let golden = Golden::open("cls", "resnet");
    let config = ResNetConfig {
        depths: list(&golden.config["layers"]),
        stem_channels: number(&golden.config, "width"),
        width: number(&golden.config, "width"),
        classes: Some(golden.get("params.fc.bias").elem_count()),
        ..ResNetConfig::torchvision(50)?
    };
    let store = store(DType::F32);
    let net = ResNet::new(&config, &store.root())?;
    load(&store, &golden.below("params."))?;
    let x = Var::from_tensor(golden.get("x"))?;
    let mode = Forward::eval();
    let stem = net.stem(&x, &mode)?;
    check_relative(&golden, "eval.maxpool", &stem);
    let features = net.forward(&x, &mode)?;
    for (n, feature) in features.iter().enumerate() {
        check_relative(&golden, &format!("eval.layer{}", n + 1), feature);
    }
    let pooled = features[3].flatten_from(2)?.mean(2)?;
    check_relative(&golden, "eval.pooled", &pooled);

    let mode = Forward::batch_statistics();
    let features = net.forward(&x, &mode)?;
    check_relative(&golden, "train.layer2", &features[1]);
    check_relative(&golden, "train.layer4", &features[3]);
    let after = golden.below("train.after.");
    check_buffers(&store, &after, |name, value| {
        check_relative(&golden, &format!("train.after.{name}"), value);
    });
    let loss = (&features[3] * golden.get("train.cotangent"))?.sum_all()?;
    check_relative(&golden, "train.loss", &loss);
    let grads = backward(&loss)?;
    check_relative(&golden, "train.grad_x", grads.get(&x).unwrap());
    let recorded = golden.below("train.grad.");
    for (name, var) in store.vars() {
        match grads.get(&var) {
            Some(grad) => check_relative(&golden, &format!("train.grad.{name}"), grad),
            None => assert!(!recorded.contains_key(&name), "no gradient for {name}"),
        }
    }
    Ok(())
}

/// DeepLabV2's head: the sum of dilated 3x3 convolutions.
fn deeplab_head(
    x: &Tensor,
    params: &HashMap<String, Tensor>,
    dilations: &[usize],
) -> Result<Tensor> {
    let mut logits: Option<Tensor> = None;
    for (i, &dilation) in dilations.iter().enumerate() {
        let param =
            |name: &str| params[&format!("aspp_modules.{i}.conv.{name}")].to_dtype(x.dtype());
        let options = Conv2dOptions {
            padding: (dilation, dilation),
            dilation: (dilation, dilation),
            ..Conv2dOptions::default()
        };
        let branch = ops::conv2d(x, &param("weight")?, Some(&param("bias")?), &options)?;
        logits = Some(match logits {
            Some(sum) => ops::add(&sum, &branch)?,
            None => branch,
        });
    }
    Ok(logits.unwrap())
}

#[test]
fn segmentation_reference() -> Result<()> {
    check_segmentation(DType::F32)?;
    check_segmentation(DType::F64)
}

fn check_segmentation(dtype: DType) -> Result<()> {
    let golden = Golden::open("seg", "deeplabv2");
    let options = &golden.config;
    let config = ResNetConfig {
        stem_channels: number(options, "stem_channels"),
        width: number(options, "base_channels"),
        strides: list(&options["strides"]),
        dilations: list(&options["dilations"]),
        contract_dilation: options["contract_dilation"].as_bool().unwrap(),
        ..ResNetConfig::v1c(number(options, "depth"))?
    };
    let store = store(dtype);
    let net = ResNet::new(&config, &store.root())?;
    let mut state = golden.below("param.backbone.");
    state.extend(golden.below("buffer.backbone."));
    load(&store, &state)?;
    let x = Var::from_tensor(&golden.get("input").to_dtype(dtype)?)?;
    let features = net.forward(&x, &Forward::eval())?;
    for (n, feature) in features.iter().enumerate() {
        golden.check(&format!("eval.feat.{n}"), feature);
    }
    let head = |key: &str| list(&options[key]);
    let logits = deeplab_head(
        &features[3],
        &golden.below("param.decode_head."),
        &head("head_dilations"),
    )?;
    golden.check("eval.logits", &logits);
    let logits = deeplab_head(
        &features[3],
        &golden.below("head2.decode_head."),
        &head("head2_dilations"),
    )?;
    golden.check("eval.logits_head2", &logits);

    let features = net.forward(&x, &Forward::batch_statistics())?;
    for (n, feature) in features.iter().enumerate() {
        golden.check(&format!("train.feat.{n}"), feature);
    }
    let after = golden.below("after.backbone.");
    check_buffers(&store, &after, |name, value| {
        golden.check(&format!("after.backbone.{name}"), value);
    });
    let logits = deeplab_head(
        &features[3],
        &golden.below("param.decode_head."),
        &head("head_dilations"),
    )?;
    golden.check("train.logits", &logits);
    let label = golden.get("label").squeeze(1)?;
    let (_, h, w) = label.dims3()?;
    let options = CrossEntropyOptions {
        weight: Some(golden.get("weight").to_dtype(dtype)?),
        ..CrossEntropyOptions::default()
    };
    let upsampled = ops::resize_bilinear(&logits, (h, w), false)?;
    let loss = ops::cross_entropy(&upsampled, &label, &options)?;
    golden.check("train.loss", &loss);
    let grads = backward(&loss)?;
    // In double precision no activation is on another side of a ReLU than in the recording.
    let agree = |key: &str, grad: &Tensor| {
        let strictly = golden.check_gradient(key, grad);
        assert!(strictly || dtype == DType::F32, "{key}");
    };
    agree("grad.input", grads.get(&x).unwrap());
    let recorded = golden.below("grad.backbone.");
    assert!(!recorded.is_empty());
    for (name, var) in store.vars() {
        if recorded.contains_key(&name) {
            let grad = grads.get(&var).unwrap();
            agree(&format!("grad.backbone.{name}"), grad);
        }
    }
    Ok(())
}

/// Spatial means of a tiny network with standard widths, from the specification of the
/// classification reference: weights `sin(0.37 i + t) sqrt(2 / fan_in)` for the t-th convolution.
#[test]
fn classification_fixture() -> Result<()> {
    let config = ResNetConfig {
        depths: vec![1; 4],
        ..ResNetConfig::torchvision(50)?
    };
    let store = store(DType::F32);
    let net = ResNet::new(&config, &store.root())?;
    let vars = store.vars();
    let kernels = vars.iter().filter(|(_, var)| var.rank() == 4);
    for (t, (_, var)) in kernels.enumerate() {
        let fan_in = var.elem_count() / var.dims()[0];
        let scale = (2.0 / fan_in as f64).sqrt();
        let value = |i: usize| ((0.37 * i as f64 + t as f64).sin() * scale) as f32;
        let data: Vec<f32> = (0..var.elem_count()).map(value).collect();
        var.set(&Tensor::from_vec(data, var.shape(), &Device::Cpu)?)?;
    }
    let shape = [2, 3, 64, 64];
    let data: Vec<f32> = (0..shape.iter().product())
        .map(|i: usize| (0.01 * i as f64).sin() as f32)
        .collect();
    let image = Tensor::from_vec(data, &shape, &Device::Cpu)?;
    let features = net.forward(&image, &Forward::batch_statistics())?;
    let means = features[3].flatten_from(2)?.mean(2)?;
    let expected = [
        [0.451338, 0.118058, 1.070292, 0.771360, 0.609966, 0.235192],
        [0.703166, 0.613597, 0.348993, 0.213922, 0.739229, 0.420961],
    ];
    for (sample, expected) in expected.iter().enumerate() {
        let means = values(&means.get(sample)?);
        for (a, e) in means.iter().zip(expected) {
            assert!((a - e).abs() < 3e-4, "{a} {e}");
        }
    }
    let mean = values(&features[3].mean_all()?)[0];
    assert!((mean - 0.556938).abs() < 3e-4, "{mean}");
    let buffers: HashMap<_, _> = store.buffers().into_iter().collect();
    let var = values(&buffers["bn1.running_var"].get());
    for (a, e) in var.iter().zip([0.900891, 0.902701, 0.901908, 0.900708]) {
        assert!((a - e).abs() < 2e-6, "{a} {e}");
    }
    Ok(())
}
