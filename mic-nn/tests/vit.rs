//! Vision transformers against recorded numbers: the reference's reduced ViT, timm's networks with
//! weights from names, and timm's names.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;

use std::path::PathBuf;

use candle_core::{DType, Device, Result, Tensor, Var};
use golden::{Golden, values};
use mic_nn::autograd::backward;
use mic_nn::forward::Forward;
use mic_nn::init::from_name;
use mic_nn::models::vit::{Vit, VitConfig, VitSize};
use mic_nn::ops::{BicubicOptions, resize_tokens_bicubic};
use mic_nn::params::Store;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

fn store(dtype: DType) -> Store {
    Store::trainable(ChaCha8Rng::seed_from_u64(0), dtype, &Device::Cpu)
}

fn recorded() -> Golden {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    Golden::read(workspace.join("testdata/recorded/vit.safetensors"))
}

/// `scale * from_name(name)`.
fn named(name: &str, shape: &[usize], scale: f64, dtype: DType) -> Result<Tensor> {
    let values = from_name(name, &shape.into());
    Tensor::from_vec(values, shape, &Device::Cpu)?
        .to_dtype(DType::F64)?
        .affine(scale, 0.0)?
        .to_dtype(dtype)
}

fn shape(value: &Value) -> Vec<usize> {
    let sizes = value.as_array().unwrap().iter();
    sizes.map(|size| size.as_u64().unwrap() as usize).collect()
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// The reduced network of the reference, as its recording describes it.
fn config_of(config: &Value) -> VitConfig {
    let number = |key: &str| config[key].as_u64().unwrap() as usize;
    VitConfig {
        image_size: (number("img"), number("img")),
        patch: number("patch"),
        dim: number("dim"),
        depth: number("depth"),
        heads: number("heads"),
        ..VitConfig::variant(VitSize::Base)
    }
}

#[test]
fn agrees_with_the_recorded_reference() -> Result<()> {
    let golden = Golden::open("cls", "vit");
    let tolerance = golden
        .metadata("tolerance_rel_to_max_abs")
        .as_f64()
        .unwrap();
    let check = |key: &str, actual: &Tensor| {
        let largest = golden
            .numbers(key)
            .iter()
            .fold(0.02f64, |m, v| m.max(v.abs()));
        golden.check_within(key, actual, tolerance * largest);
    };
    let config = config_of(&golden.config);
    for recompute in [false, true] {
        let store = store(DType::F32);
        let net = Vit::new(&config, &store.root())?;
        let report = store.load(&golden.below("params."))?;
        assert!(report.exact(), "{report}");
        let input = Var::from_tensor(golden.get("x"))?;
        let all: Vec<usize> = (0..config.depth).collect();
        let mode = Forward::eval().recomputing(recompute);
        let features = net.features(&input, &mode, &all)?;
        check("tokens.embed", &features.embedded);
        for (number, tokens) in features.blocks.iter().enumerate() {
            check(&format!("tokens.block{number}"), tokens);
        }
        check("tokens.norm", &net.norm_tokens(&features.last)?);
        let feature = net.classify(&net.pooled(&features)?)?;
        check("feature", &feature);
        let loss = (feature * golden.get("cotangent"))?.sum_all()?;
        check("loss", &loss);
        let grads = backward(&loss)?;
        check("grad_x", grads.get(&input).unwrap());
        for (name, var) in store.vars() {
            let grad = grads.get(&var);
            let grad = grad.unwrap_or_else(|| panic!("no gradient for {name}"));
            check(&format!("grad.{name}"), grad);
        }
    }
    Ok(())
}

/// One of timm's networks, in one precision; `tolerance` is relative to the largest value.
fn check_case(golden: &Golden, case: &Value, dtype: DType, tolerance: f64) -> Result<()> {
    let name = case["name"].as_str().unwrap();
    let config: VitConfig = serde_json::from_value(case["options"].clone()).unwrap();
    let stride = golden.metadata("stride").as_u64().unwrap() as usize;
    let store = store(dtype);
    let net = Vit::new(&config, &store.root())?;
    store.fill_from_names()?;
    for (name, var) in store.vars() {
        if name == "pos_embed" {
            var.set(&(var.as_tensor() * golden.metadata("positions").as_f64().unwrap())?)?;
        }
    }
    let size = shape(&case["image"]);
    let pixels = (3 * size[2] * size[3]) as f64;
    let image = Var::from_tensor(&named("image", &size, pixels.sqrt(), dtype)?)?;
    let blocks = shape(&case["blocks"]);
    let features = net.features(&image, &Forward::eval(), &blocks)?;
    let result = net.classify(&net.pooled(&features)?)?;

    let compare = |key: &str, actual: &Tensor, stride: usize| {
        let key = format!("{name}.{key}");
        let expected = golden.numbers(&key);
        let actual: Vec<f64> = values(actual).into_iter().step_by(stride).collect();
        assert_eq!(actual.len(), expected.len(), "{key}");
        let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
        for (i, (a, e)) in actual.iter().zip(&expected).enumerate() {
            let off = (a - e).abs();
            assert!(
                off <= tolerance * largest,
                "{key} {dtype:?}: {a} {e} at {i}, off {off:e}"
            );
        }
    };
    let weighed = |x: &Tensor, by: &str| (x * named(by, x.dims(), 1.0, dtype)?)?.sum_all();
    compare("out", &result, 1);
    compare("norm", &net.norm_tokens(&features.last)?, stride);
    let mut loss = weighed(&result, "weigh.out")?;
    for (number, tokens) in blocks.iter().zip(&features.blocks) {
        compare(&format!("block.{number}"), tokens, stride);
        loss = (loss + weighed(tokens, &format!("weigh.{number}"))?)?;
    }
    let grads = backward(&loss)?;
    compare("image", grads.get(&image).unwrap(), stride);
    for (parameter, var) in store.vars() {
        let grad = values(grads.get(&var).unwrap());
        let probe = values(&named(
            &format!("probe.{parameter}"),
            var.dims(),
            1.0,
            DType::F64,
        )?);
        let recorded = golden.numbers(&format!("{name}.grad.{parameter}"));
        let product: f64 = grad.iter().zip(&probe).map(|(g, p)| g * p).sum();
        let scale = recorded[1].sqrt() * norm(&probe) / (probe.len() as f64).sqrt();
        let off = (product - recorded[0]).abs() / scale;
        assert!(
            off < 10.0 * tolerance,
            "{name} {parameter} {dtype:?}: off by {off:e}"
        );
        let off = (norm(&grad) / recorded[1].sqrt() - 1.0).abs();
        assert!(
            off < 10.0 * tolerance,
            "{name} {parameter} {dtype:?}: norm off by {off:e}"
        );
    }
    Ok(())
}

#[test]
fn agrees_with_timm() -> Result<()> {
    let golden = recorded();
    for case in golden.metadata("cases").as_array().unwrap() {
        check_case(&golden, case, DType::F32, 2e-5)?;
        // timm resizes position embeddings in single precision.
        if case["name"] != "whole" {
            check_case(&golden, case, DType::F64, 1e-6)?;
        }
    }
    Ok(())
}

#[test]
fn grids_are_resized_as_in_pytorch() -> Result<()> {
    let golden = recorded();
    for (n, case) in golden
        .metadata("resizes")
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
    {
        let pair = |key: &str| {
            let sizes = shape(&case[key]);
            (sizes[0], sizes[1])
        };
        let (from, to) = (pair("from"), pair("to"));
        let options = BicubicOptions {
            antialias: case["antialias"].as_bool().unwrap(),
            scale: serde_json::from_value(case["scale"].clone()).unwrap(),
        };
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 2e-5)] {
            let shape = [1, from.0 * from.1, 3];
            let x = Var::from_tensor(&named(&format!("resize.{n}"), &shape, 30.0, dtype)?)?;
            let y = resize_tokens_bicubic(&x, from, to, &options)?;
            let weights = named(&format!("resize.{n}.weigh"), y.dims(), 30.0, dtype)?;
            let grads = backward(&(&y * weights)?.sum_all()?)?;
            for (key, ours) in [("out", &y), ("grad", grads.get(&x).unwrap())] {
                let key = format!("resize.{n}.{key}");
                let expected = golden.numbers(&key);
                let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
                let ours = values(ours);
                let step = ours.len().div_ceil(expected.len());
                let thin: Vec<f64> = ours.into_iter().step_by(step).collect();
                assert_eq!(thin.len(), expected.len(), "{key}");
                for (a, e) in thin.iter().zip(&expected) {
                    assert!(
                        (a - e).abs() <= tolerance * largest,
                        "{key} {dtype:?}: {a} {e}"
                    );
                }
            }
        }
    }
    Ok(())
}

/// timm's names and shapes of a whole network.
fn keys(recorded: &Value) -> Vec<(String, Vec<usize>)> {
    let entry = |prefix: &str, key: &Value| {
        let name = key[0].as_str().unwrap();
        (format!("{prefix}{name}"), shape(&key[1]))
    };
    let top = recorded["top"].as_array().unwrap();
    let mut keys: Vec<_> = top.iter().map(|key| entry("", key)).collect();
    for block in 0..recorded["depth"].as_u64().unwrap() {
        let block = format!("blocks.{block}.");
        let own = recorded["block"].as_array().unwrap().iter();
        keys.extend(own.map(|key| entry(&block, key)));
    }
    keys.sort();
    keys
}

#[test]
fn names_and_shapes_are_those_of_timm() -> Result<()> {
    let sizes = [
        ("tiny", VitSize::Tiny),
        ("small", VitSize::Small),
        ("base", VitSize::Base),
        ("large", VitSize::Large),
    ];
    let all = recorded().metadata("keys");
    let mut checked = 0;
    for (name, keys_of) in all.as_object().unwrap() {
        let size = sizes
            .iter()
            .find(|(size, _)| name.contains(size))
            .unwrap()
            .1;
        let config = match name {
            name if name.contains("reg4") => VitConfig::dinov2(size, 4),
            name if name.contains("dinov2") => VitConfig::dinov2(size, 0),
            _ => VitConfig {
                classes: 1000,
                ..VitConfig::variant(size)
            },
        };
        let store = store(DType::F32);
        Vit::new(&config, &store.root())?;
        let params = store.params().into_iter();
        let mut ours: Vec<_> = params.map(|(name, t)| (name, t.dims().to_vec())).collect();
        ours.sort();
        assert_eq!(ours, keys(keys_of), "{name}");
        checked += 1;
    }
    assert!(checked >= 8);
    Ok(())
}
