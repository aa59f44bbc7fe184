//! Whole iterations of DACS with masked consistency against the recorded reference.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;
mod recorded;

use std::collections::HashMap;

use candle_core::{Tensor, Var};
use golden::{Golden, refuse_unknown, values};
use mic_data::{SourceBatch, TargetBatch, UdaBatch};
use mic_nn::autograd::Gradients;
use mic_nn::optim::{Grads, Optimizer};
use mic_nn::schedule::PolyWarmup;
use mic_seg::Result;
use mic_seg::model::{
    Backbone, CropBox, DaformerHeadConfig, DetailCrop, DetailFeatures, HrdaConfig, ScaleAttention,
    SegmentorConfig, separable_aspp,
};
use mic_seg::uda::{
    ClassMix, Crops, Draws, FeatureDistance, MixDraws, Options, SelfTraining, TargetUse,
    distinct_classes,
};
use recorded::{
    ABOUT, NoDrops, check_accuracy, check_all_seen, count, fresh, list, mask_draws, masked, mit,
    normalization, number, optimiser, pseudo, strong, strong_config,
};
use serde_json::Value;

/// The options that this test reads.
const USED: [&str; 49] = [
    "arch",
    "embed",
    "depths",
    "num_heads",
    "sr_ratios",
    "mlp_ratio",
    "drop_path_rate",
    "hemb",
    "channels",
    "dilations",
    "num_classes",
    "att",
    "hr_crop",
    "scales",
    "crop_coord_divisible",
    "hr_loss_weight",
    "lr_loss_weight",
    "attention_classwise",
    "fixed_attention",
    "hr_slide_inference",
    "hr_slide_overlapping",
    "blur_hr_crop",
    "feature_scale",
    "alpha",
    "threshold",
    "top",
    "bottom",
    "valid",
    "source_only",
    "fd_lambda",
    "fd_classes",
    "fd_min_ratio",
    "jitter_s",
    "color_jitter_probability",
    "blur",
    "img_mean",
    "img_std",
    "mix",
    "mask_mode",
    "mask_block",
    "mask_ratio",
    "mask_lambda",
    "mask_alpha",
    "mask_thr",
    "separate_mic_teacher",
    "max_iters",
    "optimizer",
    "sched",
    "n_iters",
];

fn model(config: &Value) -> SegmentorConfig {
    let backbone = mit(config, "embed");
    let classes = count(config, "num_classes");
    let published = DaformerHeadConfig::new(&backbone.embed_dims, classes);
    let head = DaformerHeadConfig {
        embed: count(config, "hemb"),
        channels: count(config, "channels"),
        fusion: match &config["dilations"] {
            Value::Null => published.fusion.clone(),
            dilations => separable_aspp(&list(dilations)),
        },
        dropout: 0.0,
        ..published
    };
    let model = SegmentorConfig::new(backbone, head);
    match config["arch"].as_str() {
        Some("daformer") => model,
        Some("hrda") => model.with_hrda(hrda(config)),
        other => panic!("unknown architecture {other:?}"),
    }
}

fn hrda(config: &Value) -> HrdaConfig {
    let crop = list(&config["hr_crop"]);
    let crop = (crop[0], crop[1]);
    let default = HrdaConfig::new(crop);
    let flag = |key: &str, default: bool| config[key].as_bool().unwrap_or(default);
    let scales = config["scales"].as_array().into_iter().flatten();
    let lowest = scales.filter_map(Value::as_f64).min_by(f64::total_cmp);
    let attention = match (
        config["fixed_attention"].as_f64(),
        flag("attention_classwise", true),
    ) {
        (Some(share), _) => ScaleAttention::Fixed(share),
        (None, true) => ScaleAttention::ClassWise,
        (None, false) => ScaleAttention::Single,
    };
    HrdaConfig {
        crop: DetailCrop {
            size: crop,
            divisible: match count(config, "crop_coord_divisible") {
                0 => default.crop.divisible,
                divisible => divisible,
            },
        },
        context_scale: lowest.unwrap_or(default.context_scale),
        slide: flag("hr_slide_inference", default.slide),
        overlap: flag("hr_slide_overlapping", default.overlap),
        attention,
        attention_channels: count(config, "att"),
        detail_loss: number(config, "hr_loss_weight", default.detail_loss),
        context_loss: number(config, "lr_loss_weight", default.context_loss),
        blur: flag("blur_hr_crop", default.blur),
        features: match &config["feature_scale"] {
            Value::String(all) if all == "all" => DetailFeatures::All,
            _ => DetailFeatures::Context,
        },
    }
}

fn options(config: &Value) -> Options {
    let source_only = config["source_only"].as_bool().unwrap_or(false);
    if let Some(mix) = config["mix"].as_str() {
        assert_eq!(mix, "class");
    }
    let lambda = number(config, "fd_lambda", 0.0);
    let distance = (lambda > 0.0).then(|| FeatureDistance {
        lambda,
        classes: match &config["fd_classes"] {
            Value::Null => Vec::new(),
            classes => list(classes).iter().map(|&c| c as u8).collect(),
        },
        min_ratio: number(config, "fd_min_ratio", 0.75),
        num_classes: count(config, "num_classes"),
    });
    Options {
        target: match source_only {
            true => TargetUse::Nothing,
            false => TargetUse::Mixing,
        },
        augment_source: false,
        strong: strong_config(config),
        normalization: normalization(config),
        alpha: number(config, "alpha", 0.999),
        pseudo: pseudo(config),
        feature_distance: distance,
        masked: masked(config, false),
        detail: model(config).hrda.map(|hrda| hrda.crop),
        recompute: false,
    }
}

fn mix_draws(golden: &Golden, options: &Options, key: &str, label: &Tensor) -> Result<MixDraws> {
    let batch = label.dim(0)?;
    let distinct = distinct_classes(label)?;
    let pasted = (0..batch).map(|b| {
        let choice = values(golden.get(&format!("{key}.class_choice.{b}")));
        choice.iter().map(|&i| distinct[i as usize]).collect()
    });
    let blur = golden
        .find(&format!("{key}.blur"))
        .map_or(0.0, |draw| values(draw)[0]);
    let gates = options
        .strong
        .gates(golden.scalar(&format!("{key}.color_jitter")), blur);
    let keys: Vec<String> = (0..batch).map(|b| format!("{key}.mix.{b}")).collect();
    Ok(MixDraws {
        classes: ClassMix {
            pasted: pasted.collect(),
        },
        strong: strong(golden, &keys, gates.jitter, gates.blur),
    })
}

fn draws(golden: &Golden, options: &Options, iteration: usize, label: &Tensor) -> Result<Draws> {
    let key = format!("iter{iteration}.rand");
    let crop = |name: &str| {
        let bounds = golden.find(&format!("iter{iteration}.{name}.crop_box"))?;
        let bounds: Vec<usize> = values(bounds).iter().map(|&v| v as usize).collect();
        Some(CropBox {
            y1: bounds[0],
            y2: bounds[1],
            x1: bounds[2],
            x2: bounds[3],
        })
    };
    let mixing = options.target == TargetUse::Mixing;
    Ok(Draws {
        crops: Crops {
            source: crop("source"),
            mixed: crop("mix"),
            target: None,
            masked: crop("masked"),
        },
        source: None,
        mix: match mixing {
            true => Some(mix_draws(golden, options, &key, label)?),
            false => None,
        },
        masked: mask_draws(golden, options, &format!("{key}.masked"), label)?,
    })
}

/// `grads` with the recorded ones in place of ours.
fn replaced(
    grads: &Grads,
    parameters: &[(String, Var)],
    recorded: &HashMap<String, Tensor>,
) -> Result<Grads> {
    let mut store = Gradients::default();
    for (name, var) in parameters {
        if let Some(grad) = recorded.get(name).or(grads.get(name)) {
            store.insert(var, grad.clone());
        }
    }
    let mut replaced = Grads::new(parameters);
    replaced.accumulate(&store)?;
    Ok(replaced)
}

/// `ours` with the recorded values where the recording says that they are rounding noise: nothing
/// (`None`) is left to compare, or the half that is not.
fn without_noise(golden: &Golden, key: &str, name: &str, ours: &Tensor) -> Result<Option<Tensor>> {
    match golden.config["gradient_exactly_zero"]
        .get(name)
        .map(|v| v.as_str().unwrap())
    {
        None => Ok(Some(ours.clone())),
        Some("all") => Ok(None),
        Some("first half (keys)") => {
            let half = ours.dim(0)? / 2;
            let noise = golden.get(key).narrow(0, 0, half)?;
            Ok(Some(Tensor::cat(
                &[&noise, &ours.narrow(0, half, half)?],
                0,
            )?))
        }
        Some(other) => panic!("unknown part {other} of {name}"),
    }
}

fn batch(golden: &Golden, i: usize) -> Result<UdaBatch> {
    let get = |name: &str| golden.get(&format!("iter{i}.{name}")).clone();
    let valid = golden.config["valid"].as_bool().unwrap_or(false);
    Ok(UdaBatch {
        source: SourceBatch {
            image: get("img"),
            label: get("gt").squeeze(1)?,
            names: Vec::new(),
        },
        target: Some(TargetBatch {
            image: get("target_img"),
            valid: valid
                .then(|| get("valid_pseudo_mask").squeeze(1))
                .transpose()?,
            names: Vec::new(),
        }),
    })
}

fn training(golden: &Golden, options: Options) -> Result<SelfTraining> {
    let model = model(&golden.config);
    let imagenet = options.feature_distance.as_ref().map(|_| {
        let store = fresh();
        Backbone::new(&model.backbone, &store.root())?;
        let report = store.load(&golden.below("imnet.backbone."))?;
        assert!(report.complete(), "{report}");
        Backbone::new(&model.backbone, &store.frozen_copy()?.root())
    });
    let training = SelfTraining::new(&model, fresh(), options, imagenet.transpose()?)?;
    let report = training.store().load(&golden.below("student."))?;
    // Buffers start at their defaults and are not recorded.
    assert!(
        report.missing.iter().all(|n| n.contains(".bn.")),
        "{report}"
    );
    assert!(
        report.reshaped.is_empty() && report.unexpected.is_empty(),
        "{report}"
    );
    Ok(training)
}

fn check_logs(
    golden: &Golden,
    i: usize,
    scalars: &std::collections::BTreeMap<String, f64>,
    pixels: usize,
) {
    // The detail's pixels are those of its crop.
    let crop = golden.config["hr_crop"]
        .as_array()
        .map(|_| list(&golden.config["hr_crop"]));
    let images = golden.get(&format!("iter{i}.img")).dim(0).unwrap();
    for (key, recorded) in golden.below(&format!("iter{i}.log.")) {
        let ours = scalars
            .get(&key)
            .unwrap_or_else(|| panic!("{key} is not logged"));
        if key.ends_with("acc_seg") {
            let pixels = match &crop {
                Some(crop) if key.contains(".hr.") => images * crop[0] * crop[1],
                _ => pixels,
            };
            check_accuracy(&key, *ours, values(&recorded)[0], pixels);
        } else {
            golden.check_scalar(&format!("iter{i}.log.{key}"), *ours);
        }
    }
}

/// Compares the gradients; where rounding has put some past a kink, the recorded ones in place of
/// ours, so that all that follows stays exact.
fn check_gradients(golden: &Golden, i: usize, training: &SelfTraining) -> Result<Option<Grads>> {
    let (mut strict, mut kinked) = (0, 0);
    let recorded = golden.below(&format!("iter{i}.grad."));
    for name in recorded.keys() {
        let grad = training.grads().get(name);
        let grad = grad.unwrap_or_else(|| panic!("{name} got no gradient"));
        let key = format!("iter{i}.grad.{name}");
        let Some(grad) = without_noise(golden, &key, name, grad)? else {
            continue;
        };
        match golden.check_gradient(&key, &grad) {
            true => strict += 1,
            false => kinked += 1,
        }
    }
    let norm_key = format!("iter{i}.grad_global_norm");
    let norm = training.grads().global_norm()?;
    if kinked == 0 {
        golden.check_scalar(&norm_key, norm);
        return Ok(None);
    }
    assert!(strict > 0, "no gradient of iteration {i} agrees strictly");
    let exact = golden.scalar(&norm_key);
    assert!(
        (norm / exact - 1.0).abs() < 1e-2,
        "{norm}, recorded {exact}"
    );
    let parameters = training.store().vars();
    Ok(Some(replaced(training.grads(), &parameters, &recorded)?))
}

fn check_weights(golden: &Golden, i: usize, training: &SelfTraining) -> Result<()> {
    let mut networks = vec![("student", training.store())];
    networks.extend(training.teacher().map(|t| ("teacher", t.store())));
    networks.extend(training.mask_teacher().map(|t| ("mic_teacher", t.store())));
    for (who, store) in networks {
        let state: HashMap<_, _> = store.state().into_iter().collect();
        for name in golden.below(&format!("iter{i}.{who}.")).keys() {
            // The teacher's logits share the prefix of its parameters.
            if name == "logits" {
                continue;
            }
            let key = format!("iter{i}.{who}.{name}");
            if let Some(ours) = without_noise(golden, &key, name, &state[name])? {
                golden.check(&key, &ours);
            }
        }
    }
    Ok(())
}

fn check(golden: &Golden) -> Result<()> {
    let config = &golden.config;
    let file = golden.path.display().to_string();
    refuse_unknown(&file, config, &USED, &ABOUT);
    let options = options(config);
    let mut training = training(golden, options.clone())?;
    let parameters = training.store().vars();
    let (mut optimizer, schedule): (Box<dyn Optimizer>, PolyWarmup) =
        optimiser(config, &parameters);
    let base = number(&config["optimizer"], "lr", 0.0);

    let iterations = count(config, "n_iters");
    assert!(iterations > 0 && golden.find(&format!("iter{iterations}.img")).is_none());
    for i in 0..iterations {
        let batch = batch(golden, i)?;
        let label = batch.source.label.clone();
        let draws = draws(golden, &options, i, &label)?;
        let mut seen = Vec::new();
        let mut tap = |name: &str, tensor: &Tensor| {
            let key = format!("iter{i}.{name}");
            if golden.find(&key).is_some() {
                golden.check(&key, tensor);
                seen.push(name.to_owned());
            }
        };
        let scalars = training.step(i as u64, &batch, &draws, &NoDrops, Some(&mut tap))?;
        check_all_seen(golden, &format!("iter{i}."), &seen);
        for name in ["pseudo", "mic_pseudo"] {
            let key = format!("iter{i}.{name}.weight_scalar");
            if golden.find(&key).is_some() {
                golden.check_scalar(&key, scalars[&format!("{name}.weight")]);
            }
        }
        check_logs(golden, i, &scalars, label.elem_count());
        let known = check_gradients(golden, i, &training)?;
        let rate = |base| schedule.lr(i, base);
        let rates = values(golden.get(&format!("iter{i}.lr")));
        let ours = rate(base);
        let near = |recorded: &f64| (ours - recorded).abs() <= 1e-12 * recorded.max(1.0);
        assert!(rates.iter().any(near), "{ours}, recorded {rates:?}");
        optimizer.step(known.as_ref().unwrap_or(training.grads()), &rate)?;
        check_weights(golden, i, &training)?;
    }
    Ok(())
}

#[test]
fn iterations_agree_with_the_recorded_reference() -> Result<()> {
    let files = ["dacs_step", "hrda_dacs_step"].map(|prefix| golden::files("seg", prefix));
    for path in files.into_iter().flatten() {
        check(&Golden::read(path))?;
    }
    Ok(())
}
