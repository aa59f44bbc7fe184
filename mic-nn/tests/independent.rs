//! Forward passes of other implementations, with the same weights under their names: SegFormer and
//! ViT of candle-transformers, and SegFormer of transformers, recorded.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::{Activation, VarBuilder, VarMap};
use candle_transformers::models::{segformer, vit as candle_vit};
use golden::{Golden, values};
use mic_nn::forward::Forward;
use mic_nn::init::from_name;
use mic_nn::models::mit::{Mit, MitConfig};
use mic_nn::models::vit::{Vit, VitConfig, VitSize};
use mic_nn::ops::{self, Conv2dOptions};
use mic_nn::params::Store;
use mic_nn::weights::{LoadReport, Weights, tables};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

type Tensors = HashMap<String, Tensor>;

fn store(dtype: DType) -> Store {
    Store::trainable(ChaCha8Rng::seed_from_u64(0), dtype, &Device::Cpu)
}

fn named(name: &str, shape: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(from_name(name, &shape.into()), shape, &Device::Cpu)
}

/// An image batch with values in [-sqrt(3), sqrt(3)).
fn image(shape: &[usize], dtype: DType) -> Result<Tensor> {
    let pixels: usize = shape.iter().skip(1).product();
    (named("image", shape)?.to_dtype(DType::F64)? * (pixels as f64).sqrt())?.to_dtype(dtype)
}

/// A model of candle with weights from names, and these: it is built once to see what it asks for.
fn filled<M>(new: impl Fn(VarBuilder) -> Result<M>) -> Result<(M, Tensors)> {
    let asked = VarMap::new();
    new(VarBuilder::from_varmap(&asked, DType::F32, &Device::Cpu))?;
    let asked = asked.data().lock().unwrap();
    let weights = asked.iter();
    let weights: Tensors = weights
        .map(|(name, var)| Ok((name.clone(), named(name, var.dims())?)))
        .collect::<Result<_>>()?;
    let builder = VarBuilder::from_tensors(weights.clone(), DType::F32, &Device::Cpu);
    Ok((new(builder)?, weights))
}

/// The largest difference relative to the largest magnitude of `theirs`.
fn difference(ours: &[f64], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let largest = theirs.iter().fold(0f64, |m, v| m.max(v.abs()));
    let off = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs());
    off.fold(0f64, f64::max) / largest
}

fn load_mit(store: &Store, weights: Tensors) -> Result<(Mit, LoadReport)> {
    let net = Mit::new(&MitConfig::variant(0)?, &store.root())?;
    let weights = Weights::from(weights)
        .rename(&tables::hugging_face_segformer())
        .unwrap();
    let report = store.load_weights(&weights).unwrap();
    Ok((net, report))
}

#[test]
fn segformer_of_transformers() -> Result<()> {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let golden = Golden::read(workspace.join("testdata/recorded/segformer.safetensors"));
    let sizes = |value: &serde_json::Value| -> Vec<usize> {
        serde_json::from_value(value.clone()).unwrap()
    };
    let keys = golden.metadata("keys");
    let weights = keys.as_object().unwrap().iter();
    let weights: Tensors = weights
        .map(|(name, shape)| Ok((name.clone(), named(name, &sizes(shape))?)))
        .collect::<Result<_>>()?;
    let stride = golden.metadata("stride").as_u64().unwrap() as usize;
    let shape = sizes(&golden.metadata("image"));
    for (dtype, tolerance) in [(DType::F64, 1e-9), (DType::F32, 2e-5)] {
        let store = store(dtype);
        let (net, report) = load_mit(&store, weights.clone())?;
        assert!(report.exact(), "{report}");
        let stages = net.forward(&image(&shape, dtype)?, &Forward::eval())?;
        assert_eq!(stages.len(), 4);
        for (s, stage) in stages.iter().enumerate() {
            let ours: Vec<f64> = values(stage).into_iter().step_by(stride).collect();
            let off = difference(&ours, &golden.numbers(&format!("stage.{s}")));
            assert!(off < tolerance, "stage {s} {dtype:?}: {off:e}");
        }
    }
    Ok(())
}

/// MiT-B0 as candle-transformers describes it. Its norms have one epsilon, ours two.
fn segformer_config(decoder: usize) -> segformer::Config {
    segformer::Config {
        id2label: HashMap::new(),
        num_channels: 3,
        num_encoder_blocks: 4,
        depths: vec![2; 4],
        sr_ratios: vec![8, 4, 2, 1],
        hidden_sizes: vec![32, 64, 160, 256],
        patch_sizes: vec![7, 3, 3, 3],
        strides: vec![4, 2, 2, 2],
        num_attention_heads: vec![1, 2, 5, 8],
        mlp_ratios: vec![4; 4],
        hidden_act: Activation::Gelu,
        layer_norm_eps: 1e-6,
        decoder_hidden_size: decoder,
    }
}

/// The model's results for every image alone. In candle 0.11.1 a batch of more than one is wrong on
/// the CPU: the product of a batch of transposed matrices with one matrix mixes images.
fn one_by_one(model: &impl Module, images: &Tensor) -> Result<Vec<f64>> {
    let mut all = Vec::new();
    for i in 0..images.dim(0)? {
        all.extend(values(&model.forward(&images.narrow(0, i, 1)?)?));
    }
    Ok(all)
}

/// The decoder of candle-transformers' SegFormer on our features: all four stages, resized to the
/// first by repeating, the last stage first.
fn decode(features: &[Tensor], weights: &Tensors) -> Result<Tensor> {
    let get = |name: &str| &weights[&format!("decode_head.{name}")];
    let (_, _, height, width) = features[0].dims4()?;
    let mut maps = Vec::new();
    for (s, feature) in features.iter().enumerate().rev() {
        let (_, _, h, w) = feature.dims4()?;
        let proj = |part: &str| get(&format!("linear_c.{s}.proj.{part}"));
        let tokens = ops::map_to_tokens(feature)?;
        let tokens = ops::linear(&tokens, proj("weight"), Some(proj("bias")))?;
        let map = ops::tokens_to_map(&tokens, h, w)?;
        maps.push(ops::resize_nearest(&map, (height, width))?);
    }
    let plain = Conv2dOptions::default();
    let fused = ops::conv2d(
        &Tensor::cat(&maps, 1)?,
        get("linear_fuse.weight"),
        None,
        &plain,
    )?;
    let norm =
        ["weight", "bias", "running_mean", "running_var"].map(|p| get(&format!("batch_norm.{p}")));
    let [gamma, beta, mean, var] = norm;
    let fused = ops::relu(&ops::batch_norm_eval(&fused, gamma, beta, mean, var, 1e-6)?)?;
    ops::conv2d(&fused, get("classifier.weight"), None, &plain)
}

#[test]
fn segformer_of_candle_transformers() -> Result<()> {
    let image = image(&[2, 3, 64, 96], DType::F32)?;
    let config = segformer_config(48);
    let (model, weights) =
        filled(|builder| segformer::SemanticSegmentationModel::new(&config, 5, builder))?;
    let store = store(DType::F32);
    let (net, report) = load_mit(&store, weights.clone())?;
    assert!(report.exact(), "{report}");
    let features = net.forward(&image, &Forward::eval())?;
    let ours = values(&decode(&features, &weights)?);
    let off = difference(&ours, &one_by_one(&model, &image)?);
    assert!(off < 1e-4, "{off:e}");

    // The classifier sees the mean of the last stage.
    let config = segformer_config(256);
    let (model, weights) =
        filled(|builder| segformer::ImageClassificationModel::new(&config, 7, builder))?;
    let mean = features[3].mean((2, 3))?;
    let (weight, bias) = (&weights["classifier.weight"], &weights["classifier.bias"]);
    let ours = values(&ops::linear(&mean, weight, Some(bias))?);
    let off = difference(&ours, &one_by_one(&model, &image)?);
    assert!(off < 1e-4, "{off:e}");
    Ok(())
}

#[test]
fn vit_of_candle_transformers() -> Result<()> {
    let config = VitConfig {
        image_size: (64, 64),
        depth: 4,
        classes: 5,
        ..VitConfig::variant(VitSize::Tiny)
    };
    let theirs = candle_vit::Config {
        hidden_size: config.dim,
        num_hidden_layers: config.depth,
        num_attention_heads: config.heads,
        intermediate_size: config.dim * config.mlp_ratio,
        hidden_act: Activation::Gelu,
        layer_norm_eps: 1e-6,
        image_size: config.image_size.0,
        patch_size: config.patch,
        num_channels: 3,
        qkv_bias: true,
    };
    let new = |builder: VarBuilder| candle_vit::Model::new(&theirs, config.classes, builder);
    let (model, weights) = filled(new)?;
    let store = store(DType::F32);
    let net = Vit::new(&config, &store.root())?;
    let weights = Weights::from(weights)
        .rename(&tables::hugging_face_vit())
        .unwrap();
    let report = store.load_weights(&weights).unwrap();
    assert!(report.exact(), "{report}");
    let image = image(&[2, 3, 64, 64], DType::F32)?;
    let ours = values(&net.forward(&image, &Forward::eval())?);
    let off = difference(&ours, &values(&model.forward(&image)?));
    assert!(off < 1e-4, "{off:e}");
    Ok(())
}
