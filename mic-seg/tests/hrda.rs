//! HRDA against the recorded reference: training with a detail crop, its variants, inference.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;
mod recorded;

use std::collections::HashMap;

use candle_core::{D, Tensor};
use golden::{Golden, refuse_unknown, values};
use mic_nn::autograd::backward;
use mic_nn::forward::Forward;
use mic_nn::models::mit::MitConfig;
use mic_nn::models::resnet::ResNetConfig;
use mic_nn::ops::{self, CrossEntropyOptions};
use mic_nn::optim::Grads;
use mic_nn::params::Store;
use mic_seg::Result;
use mic_seg::config::Inference;
use mic_seg::inference;
use mic_seg::model::{
    CropBox, DaformerHeadConfig, DeeplabHeadConfig, DetailCrop, HrdaConfig, Output, ScaleAttention,
    Segmentor, SegmentorConfig, separable_aspp,
};
use rand::SeedableRng;
use recorded::{check_accuracy, count, fresh, list, mit, number};
use serde_json::Value;

/// The options that this test reads.
const USED: [&str; 22] = [
    "embed_dims",
    "depths",
    "num_heads",
    "sr_ratios",
    "mlp_ratio",
    "head_channels",
    "head_embed",
    "attention_embed_dim",
    "attention_classwise",
    "fixed_attention",
    "blur_hr_crop",
    "num_classes",
    "scales",
    "hr_crop_size",
    "feature_scale",
    "crop_coord_divisible",
    "hr_loss_weight",
    "lr_loss_weight",
    "hr_slide_inference",
    "hr_slide_overlapping",
    "dilations",
    "test_slide",
];
/// Variants, and what the tensors tell themselves.
const ABOUT: [&str; 6] = [
    "full_variant",
    "single_variant",
    "size",
    "infer_size",
    "ori_shape",
    "seed",
];

fn model(config: &Value) -> SegmentorConfig {
    refuse_unknown("hrda", config, &USED, &ABOUT);
    let backbone = mit(config, "embed_dims");
    let published = DaformerHeadConfig::new(&backbone.embed_dims, count(config, "num_classes"));
    let head = DaformerHeadConfig {
        embed: count(config, "head_embed"),
        channels: count(config, "head_channels"),
        fusion: match &config["dilations"] {
            Value::Null => published.fusion.clone(),
            dilations => separable_aspp(&list(dilations)),
        },
        dropout: 0.0,
        ..published
    };
    let scales = config["scales"].as_array().unwrap().iter();
    let lowest = scales.filter_map(Value::as_f64).fold(1.0, f64::min);
    let crop = list(&config["hr_crop_size"]);
    let classwise = config["attention_classwise"].as_bool().unwrap();
    SegmentorConfig::new(backbone, head).with_hrda(HrdaConfig {
        crop: DetailCrop {
            size: (crop[0], crop[1]),
            divisible: count(config, "crop_coord_divisible"),
        },
        context_scale: lowest,
        slide: config["hr_slide_inference"].as_bool().unwrap(),
        overlap: config["hr_slide_overlapping"].as_bool().unwrap(),
        attention: match (config["fixed_attention"].as_f64(), classwise) {
            (Some(share), _) => ScaleAttention::Fixed(share),
            (None, true) => ScaleAttention::ClassWise,
            (None, false) => ScaleAttention::Single,
        },
        attention_channels: count(config, "attention_embed_dim"),
        detail_loss: number(config, "hr_loss_weight", 0.0),
        context_loss: number(config, "lr_loss_weight", 0.0),
        blur: config["blur_hr_crop"].as_bool().unwrap_or(false),
        ..HrdaConfig::new((crop[0], crop[1]))
    })
}

/// The configuration of a variant: some keys replaced.
fn variant(config: &Value, key: &str) -> Value {
    let mut config = config.clone();
    let changes = config[key].as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(changes);
    config
}

struct Built {
    net: Segmentor,
    store: Store,
    hrda: HrdaConfig,
}

fn build(golden: &Golden, config: &Value, replaced: &str) -> Result<Built> {
    let model = model(config);
    let store = fresh();
    let net = Segmentor::new(&model, &store.root())?;
    let mut weights: HashMap<String, Tensor> = golden.below("param.");
    weights.extend(golden.below("buffer."));
    weights.extend(golden.below(replaced));
    let report = store.load(&weights)?;
    assert!(
        report.complete() && report.unexpected.is_empty(),
        "{report}"
    );
    let hrda = model.hrda.unwrap();
    Ok(Built { net, store, hrda })
}

/// The terms of the loss by their logged names, and their accuracies.
fn losses(
    golden: &Golden,
    hrda: &HrdaConfig,
    output: &Output,
    weighted: bool,
) -> Result<Vec<(&'static str, Tensor, f64)>> {
    let label = golden.get("label").squeeze(1)?;
    let weight = golden.get("weight");
    let detail = output.detail.as_ref().unwrap();
    let one = |logits: &Tensor, label: &Tensor, weight: &Tensor, factor: f64| {
        let (_, h, w) = label.dims3()?;
        let logits = ops::resize_bilinear(logits, (h, w), false)?;
        let options = CrossEntropyOptions {
            weight: weighted.then(|| weight.clone()),
            ..CrossEntropyOptions::default()
        };
        let loss = (ops::cross_entropy(&logits, label, &options)? * factor)?;
        Ok::<_, candle_core::Error>((loss, ops::pixel_accuracy(&logits, label)?))
    };
    let main = 1.0 - hrda.detail_loss - hrda.context_loss;
    let mut terms = Vec::new();
    let (loss, accuracy) = one(&output.logits, &label, weight, main)?;
    terms.push(("decode", loss, accuracy));
    let (cut, cut_weight) = (detail.crop.of(&label)?, detail.crop.of(weight)?);
    let (loss, accuracy) = one(&detail.logits, &cut, &cut_weight, hrda.detail_loss)?;
    terms.push(("decode.hr", loss, accuracy));
    if hrda.context_loss > 0.0 {
        let (loss, accuracy) = one(&detail.context, &label, weight, hrda.context_loss)?;
        terms.push(("decode.lr", loss, accuracy));
    }
    Ok(terms)
}

fn total(terms: &[(&'static str, Tensor, f64)]) -> Result<Tensor> {
    let mut sum = terms[0].1.clone();
    for (_, loss, _) in &terms[1..] {
        sum = (sum + loss)?;
    }
    Ok(sum)
}

fn check_terms(golden: &Golden, prefix: &str, built: &Built, output: &Output) -> Result<()> {
    let terms = losses(golden, &built.hrda, output, true)?;
    for (key, loss, accuracy) in &terms {
        golden.check(&format!("{prefix}{key}.loss_seg"), loss);
        let recorded = golden.scalar(&format!("{prefix}{key}.acc_seg"));
        let (rows, columns) = built.hrda.crop.size;
        let pixels = match *key {
            "decode.hr" => golden.get("label").dim(0)? * rows * columns,
            _ => golden.get("label").elem_count(),
        };
        check_accuracy(key, *accuracy, recorded, pixels);
    }
    let loss = total(&terms)?;
    golden.check(&format!("{prefix}loss_total"), &loss);
    let parameters = built.store.vars();
    let mut grads = Grads::new(&parameters);
    grads.accumulate(&backward(&loss)?)?;
    for (name, _) in &parameters {
        assert!(grads.get(name).is_some(), "no gradient for {name}");
    }
    let grad_prefix = match prefix {
        "train." => "grad.".to_owned(),
        other => format!("{other}grad."),
    };
    let (mut strict, mut kinked) = (0, 0);
    for name in golden.below(&grad_prefix).keys() {
        let grad = grads.get(name).unwrap();
        match golden.check_gradient(&format!("{grad_prefix}{name}"), grad) {
            true => strict += 1,
            false => kinked += 1,
        }
    }
    assert!(strict > 0, "no gradient agrees strictly");
    if prefix == "train." && kinked == 0 {
        golden.check_scalar("grad_global_norm", grads.global_norm()?);
    }
    Ok(())
}

#[test]
fn training_agrees_with_the_recorded_reference() -> Result<()> {
    let golden = Golden::open("seg", "hrda");
    let built = build(&golden, &golden.config, "none.")?;
    let bounds: Vec<usize> = golden
        .numbers("crop_box")
        .iter()
        .map(|&v| v as usize)
        .collect();
    let crop = CropBox {
        y1: bounds[0],
        y2: bounds[1],
        x1: bounds[2],
        x2: bounds[3],
    };
    let image = golden.get("input");
    let mode = Forward::batch_statistics();
    let output = built.net.forward_train(image, Some(&crop), &mode)?;
    let detail = output.detail.as_ref().unwrap();
    golden.check("train.lr_logits", &detail.unweighted);
    golden.check("train.att_sigmoid", &detail.attention);
    golden.check("train.lr_logits_weighted", &detail.context);
    golden.check("train.hr_logits", &detail.logits);
    golden.check("train.fused_logits", &output.logits);
    let unweighted = losses(&golden, &built.hrda, &output, false)?;
    golden.check("train.noweight.loss_total", &total(&unweighted)?);
    for (name, buffer) in built.store.buffers() {
        golden.check(&format!("after.{name}"), &buffer.get());
    }
    check_terms(&golden, "train.", &built, &output)?;

    let single = build(
        &golden,
        &variant(&golden.config, "single_variant"),
        "single.param.",
    )?;
    let output = single.net.forward_train(image, Some(&crop), &mode)?;
    golden.check("single.fused_logits", &output.logits);
    let context = &output.detail.as_ref().unwrap().context;
    golden.check("single.lr_logits_weighted", context);
    check_terms(&golden, "single.", &single, &output)
}

#[test]
fn a_detail_crop_of_the_whole_image_agrees() -> Result<()> {
    let golden = Golden::open("seg", "hrda");
    let whole = build(&golden, &variant(&golden.config, "full_variant"), "none.")?;
    let image = golden.get("input");
    let (_, _, height, width) = image.dims4()?;
    let mut rng = rand_chacha::ChaCha8Rng::from_seed([0; 32]);
    let crop = whole.hrda.crop.sample(&mut rng, height, width)?;
    assert_eq!(crop.bounds(), [0, height, 0, width]);
    let mode = Forward::batch_statistics();
    let output = whole.net.forward_train(image, Some(&crop), &mode)?;
    golden.check("full.fused_logits", &output.logits);
    let context = &output.detail.as_ref().unwrap().context;
    golden.check("full.lr_logits_weighted", context);
    check_terms(&golden, "full.", &whole, &output)
}

/// Every so-manieth row and column, from the first, so that as many are left as were recorded.
fn sparse(x: &Tensor, recorded: &Tensor) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    let (_, _, rows, columns) = recorded.dims4()?;
    let every = |side: usize, left: usize| {
        let step = (1..=side)
            .find(|step| side.div_ceil(*step) == left)
            .unwrap();
        let index: Vec<u32> = (0..side).step_by(step).map(|i| i as u32).collect();
        Tensor::new(index, x.device())
    };
    Ok(x.index_select(&every(h, rows)?, 2)?
        .index_select(&every(w, columns)?, 3)?)
}

/// Compares what is left of `x` with the tensor of that name.
fn check_sparse(golden: &Golden, key: &str, x: &Tensor) -> Result<()> {
    golden.check(key, &sparse(x, golden.get(key))?);
    Ok(())
}

/// The first largest class of every pixel.
fn argmax(x: &Tensor) -> Vec<f64> {
    values(&x.argmax(1).unwrap())
}

#[test]
fn inference_agrees_with_the_recorded_reference() -> Result<()> {
    let golden = Golden::open("seg", "hrda");
    let built = build(&golden, &golden.config, "none.")?;
    let model = model(&golden.config);
    let net = Segmentor::new(&model, &built.store.frozen_copy()?.root())?;
    let image = golden.get("infer.input");
    let shape = golden.numbers("infer.ori_shape");
    let size = (shape[0] as usize, shape[1] as usize);
    let original = |logits: &Tensor| ops::resize_bilinear(logits, size, false);

    let low = net.forward(image, &Forward::eval())?.logits;
    golden.check("infer.whole.logits_lowres", &low);
    let whole = inference::logits(&net, image, &Inference::Whole)?;
    let probabilities = ops::softmax(&whole, 1)?;
    check_sparse(&golden, "infer.whole.prob_sub3", &probabilities)?;
    let resized = original(&whole)?;
    check_sparse(
        &golden,
        "infer.whole.prob_ori_rows",
        &ops::softmax(&resized, 1)?,
    )?;
    assert_eq!(argmax(&resized), golden.numbers("infer.whole.pred"));
    let mirrored = resized.flip(&[3])?;
    assert_eq!(argmax(&mirrored), golden.numbers("infer.whole.flip.pred"));

    let test = &golden.config["test_slide"];
    let (crop, stride) = (list(&test["crop_size"]), list(&test["stride"]));
    for batch in [1, 2, 100] {
        let slide = Inference::Slide {
            window: (crop[1] as u32, crop[0] as u32),
            stride: (stride[1] as u32, stride[0] as u32),
            batch,
        };
        let logits = inference::logits(&net, image, &slide)?;
        check_sparse(&golden, "infer.slide.logits_sub2", &logits)?;
        let resized = original(&logits)?;
        let probabilities = ops::softmax(&resized, 1)?;
        check_sparse(&golden, "infer.slide.prob_ori_rows", &probabilities)?;
        assert_eq!(argmax(&resized), golden.numbers("infer.slide.pred"));
    }
    Ok(())
}

fn difference(a: &Tensor, b: &Tensor) -> Result<f64> {
    let worst = (a - b)?.abs()?.flatten_all()?.max(D::Minus1)?;
    Ok(f64::from(worst.to_scalar::<f32>()?))
}

#[test]
fn fixed_attention_and_the_other_ablations_do_as_they_say() -> Result<()> {
    let golden = Golden::open("seg", "hrda");
    let built = build(&golden, &golden.config, "none.")?;
    let frozen = built.store.frozen_copy()?;
    let model = model(&golden.config);
    let net_with = |change: &dyn Fn(&mut HrdaConfig)| {
        let mut model = model.clone();
        model.hrda.iter_mut().for_each(change);
        Segmentor::new(&model, &frozen.root())
    };
    let image = golden.get("infer.input");
    let (_, _, height, width) = image.dims4()?;
    let eval = Forward::eval();
    let head = |image: &Tensor| {
        // The single head alone, on an image of any size.
        let plain = net_with(&|hrda| {
            hrda.attention = ScaleAttention::Fixed(1.0);
            hrda.slide = false;
        })?;
        Ok::<_, candle_core::Error>(plain.forward(image, &eval)?.logits)
    };
    // Attention 0 is the context alone, attention 1 the detail alone.
    let half = ops::resize_bilinear(image, (height / 2, width / 2), false)?;
    let context = ops::resize_bilinear(&head(&half)?, (height / 4, width / 4), false)?;
    let lowest = net_with(&|hrda| hrda.attention = ScaleAttention::Fixed(0.0))?;
    let lowest = lowest.forward(image, &eval)?.logits;
    assert!(difference(&lowest, &context)? < 1e-4);
    let at = |share: f64| {
        let net = net_with(&|hrda| hrda.attention = ScaleAttention::Fixed(share))?;
        Ok::<_, candle_core::Error>(net.forward(image, &eval)?.logits)
    };
    for share in [0.0, 1.0] {
        let learned = net_with(&|_| {})?.with_detail_share(share);
        let logits = learned.forward(image, &eval)?.logits;
        assert_eq!(difference(&logits, &at(share)?)?, 0.0);
    }
    let middle = ((at(0.0)? + at(1.0)?)? * 0.5)?;
    assert!(difference(&at(0.5)?, &middle)? < 1e-4);
    // Every other option changes the prediction.
    let plain = net_with(&|_| {})?.forward(image, &eval)?.logits;
    type Change<'a> = &'a dyn Fn(&mut HrdaConfig);
    let changes: [(&str, Change); 4] = [
        ("no overlap", &|hrda| hrda.overlap = false),
        ("whole detail", &|hrda| hrda.slide = false),
        ("blurred detail", &|hrda| hrda.blur = true),
        ("same scale", &|hrda| hrda.context_scale = 1.0),
    ];
    for (what, change) in changes {
        let logits = net_with(change)?.forward(image, &eval)?.logits;
        assert_eq!(logits.dims(), plain.dims(), "{what}");
        assert!(difference(&logits, &plain)? > 1e-3, "{what}");
    }
    Ok(())
}

#[test]
fn teachers_take_all_crops_as_one_batch_of_batch_norm() -> Result<()> {
    let golden = Golden::open("seg", "hrda");
    let built = build(&golden, &golden.config, "none.")?;
    let store = built.store.frozen_copy()?;
    let net = Segmentor::new(&model(&golden.config), &store.root())?;
    let image = golden.get("input");
    let counts = |what: &str| {
        let buffers = store.buffers().into_iter();
        let counts = buffers.filter(|(n, _)| n.contains(what) && n.ends_with("tracked"));
        counts.map(|(_, b)| values(&b.get())[0]).collect::<Vec<_>>()
    };
    let before = [counts("decode_head.head."), counts("scale_attention")];
    let first = net.forward(image, &Forward::batch_statistics())?.logits;
    let after = [counts("decode_head.head."), counts("scale_attention")];
    for (calls, (before, after)) in [2.0, 1.0].iter().zip(before.iter().zip(&after)) {
        assert!(!before.is_empty());
        for (before, after) in before.iter().zip(after) {
            assert_eq!(after - before, *calls);
        }
    }
    // Running statistics have no influence.
    let second = net.forward(image, &Forward::batch_statistics())?.logits;
    assert_eq!(difference(&first, &second)?, 0.0);
    Ok(())
}

#[test]
fn networks_of_the_published_shape_have_the_published_size() -> Result<()> {
    let backbone = MitConfig::variant(5)?;
    let head = DaformerHeadConfig::new(&backbone.embed_dims, 19);
    let hrda = HrdaConfig::new((512, 512));
    let store = fresh();
    let model = SegmentorConfig::new(backbone, head).with_hrda(hrda.clone());
    Segmentor::new(&model, &store.root())?;
    assert_eq!(store.parameter_count(), 85_685_990);
    assert_eq!((store.vars().len(), store.state().len()), (1099, 1126));
    let names: Vec<String> = store.vars().into_iter().map(|(name, _)| name).collect();
    let attention = "decode_head.scale_attention.";
    assert!(names.contains(&format!("{attention}fuse_layer.conv.weight")));
    assert!(
        !names
            .iter()
            .any(|n| n.starts_with(attention) && n.contains("aspp"))
    );

    let head = DeeplabHeadConfig {
        in_channels: 2048,
        dilations: vec![6, 12],
        classes: 19,
    };
    let store = fresh();
    let model = SegmentorConfig::new(ResNetConfig::v1c(101)?, head).with_hrda(hrda);
    Segmentor::new(&model, &store.root())?;
    assert_eq!(store.parameter_count(), 43_920_300);
    assert_eq!((store.vars().len(), store.state().len()), (326, 644));
    Ok(())
}
