//! Whole iterations of adversarial training and entropy minimisation, with and without masked
//! consistency, against the recorded reference.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;
mod recorded;

use std::collections::HashMap;

use candle_core::{DType, Tensor};
use golden::{Golden, refuse_unknown, values};
use mic_data::{SourceBatch, TargetBatch, UdaBatch};
use mic_nn::models::resnet::ResNetConfig;
use mic_seg::Result;
use mic_seg::model::{DeeplabHeadConfig, SegmentorConfig};
use mic_seg::uda::{
    Adversarial, AdversarialLoss, AdversarialOptions, Crops, Draws, Options, TargetUse, Training,
};
use recorded::{
    ABOUT, NoDrops, check_accuracy, check_all_seen, count, fresh, list, mask_draws, masked,
    normalization, number, optimiser, pseudo, strong_config,
};
use serde_json::Value;

/// The options that this test reads; variants replace some of them.
const USED: [&str; 35] = [
    "depth",
    "stem",
    "base",
    "strides",
    "dilations",
    "dil",
    "num_classes",
    "ndf",
    "disc",
    "lambda_adv",
    "lambda_ent",
    "lr_D",
    "lr_D_min",
    "lr_D_power",
    "alpha",
    "threshold",
    "top",
    "bottom",
    "valid",
    "jitter_s",
    "color_jitter_probability",
    "blur",
    "img_mean",
    "img_std",
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
    "variants",
];

/// The options of a variant, which override those of all.
fn merged(config: &Value, own: &Value) -> Value {
    let mut config = config.clone();
    let own = own.as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(own);
    config
}

fn model(config: &Value) -> Result<SegmentorConfig> {
    let published = ResNetConfig::v1c(count(config, "depth"))?;
    let list_or = |key: &str, default: &Vec<usize>| match &config[key] {
        Value::Null => default.clone(),
        value => list(value),
    };
    let backbone = ResNetConfig {
        stem_channels: count(config, "stem"),
        width: count(config, "base"),
        strides: list_or("strides", &published.strides),
        dilations: list_or("dilations", &published.dilations),
        ..published
    };
    let head = DeeplabHeadConfig {
        in_channels: backbone.channels().last().copied().unwrap(),
        dilations: list(&config["dil"]),
        classes: count(config, "num_classes"),
    };
    Ok(SegmentorConfig::new(backbone, head))
}

fn options(config: &Value, method: &str) -> Options {
    let target = match method {
        "AdvSeg" => TargetUse::Adversarial(AdversarialOptions {
            lambda: number(config, "lambda_adv", 0.0),
            loss: match config["disc"].as_str().unwrap() {
                "LS" => AdversarialLoss::LeastSquares,
                "Vanilla" => AdversarialLoss::CrossEntropy,
                other => panic!("unknown discriminator {other}"),
            },
            channels: count(config, "ndf"),
            lr: number(config, "lr_D", 0.0),
            min_lr: number(config, "lr_D_min", 0.0),
            power: number(config, "lr_D_power", 0.9),
            ..AdversarialOptions::new(count(config, "max_iters") as u64)
        }),
        "MinEnt" => TargetUse::Entropy {
            lambda: number(config, "lambda_ent", 0.0),
        },
        other => panic!("unknown method {other}"),
    };
    Options {
        target,
        augment_source: false,
        strong: strong_config(config),
        normalization: normalization(config),
        alpha: number(config, "alpha", 0.999),
        pseudo: pseudo(config),
        feature_distance: None,
        masked: masked(config, true),
        detail: None,
        recompute: false,
    }
}

/// What stands before the discriminator's names in checkpoints, and not in the recording.
const MAIN: &str = "main.";

/// The discriminator's tensors as the recording names them.
fn discriminator(adversarial: &Adversarial) -> HashMap<String, Tensor> {
    let state = adversarial.discriminator_store().state().into_iter();
    let strip = |(name, tensor): (String, Tensor)| (name.replacen(MAIN, "", 1), tensor);
    state.map(strip).collect()
}

/// Compares parameters with those below `key`, which may hold other things, too.
fn check_parameters(golden: &Golden, key: &str, state: &HashMap<String, Tensor>) {
    for name in golden.below(key).keys() {
        match state.get(name) {
            Some(tensor) => golden.check(&format!("{key}{name}"), tensor),
            // Other recordings share the teacher's prefix.
            None => assert_eq!(name, "logits", "{key}{name} is not ours"),
        }
    }
}

fn check(golden: &Golden, variant: &str, method: &str, own: &Value) -> Result<()> {
    let config = &merged(&golden.config, own);
    let file = format!("{}, {variant}", golden.path.display());
    refuse_unknown(&file, config, &USED, &ABOUT);
    let options = options(config, method);
    let mut training = Training::new(&model(config)?, options.clone(), None, |_| fresh())?;
    let mut weights = golden.below("param.");
    weights.extend(golden.below("buffer."));
    let report = training.store().load(&weights)?;
    assert!(
        report.complete() && report.unexpected.is_empty(),
        "{report}"
    );
    if let Training::Adversarial(adversarial) = &training {
        let recorded = golden.below("disc.").into_iter();
        let recorded = recorded.map(|(name, tensor)| (format!("{MAIN}{name}"), tensor));
        let report = adversarial
            .discriminator_store()
            .load(&recorded.collect())?;
        assert!(
            report.complete() && report.unexpected.is_empty(),
            "{report}"
        );
    }
    let (mut optimizer, schedule) = optimiser(config, &training.parameters());
    let lr = number(&config["optimizer"], "lr", 0.0);
    let iterations = (0..).take_while(|i| golden.find(&format!("iter{i}.img")).is_some());
    for i in iterations {
        let get = |name: &str| golden.get(&format!("iter{i}.{name}")).clone();
        let label = get("gt").squeeze(1)?;
        let valid = config["valid"].as_bool().unwrap_or(false);
        let batch = UdaBatch {
            source: SourceBatch {
                image: get("img"),
                label: label.clone(),
                names: Vec::new(),
            },
            target: Some(TargetBatch {
                image: get("target_img"),
                valid: valid
                    .then(|| get("valid_pseudo_mask").squeeze(1))
                    .transpose()?,
                names: Vec::new(),
            }),
        };
        let key = format!("{variant}.iter{i}");
        let draws = Draws {
            source: None,
            mix: None,
            masked: mask_draws(golden, &options, &format!("{key}.rand.masked"), &label)?,
            crops: Crops::default(),
        };
        let mut seen = Vec::new();
        let mut tap = |name: &str, tensor: &Tensor| {
            // The only teacher is that of masked consistency.
            let name = match name.strip_prefix("mic_") {
                Some(name) => name,
                None => name,
            };
            let key = format!("{key}.{name}");
            if golden.find(&key).is_some() {
                golden.check(&key, tensor);
                seen.push(name.to_owned());
            }
        };
        let scalars = training.step(i as u64, &batch, &draws, &NoDrops, Some(&mut tap))?;
        check_all_seen(golden, &format!("{key}."), &seen);
        if options.masked.is_some() {
            let weight = scalars["mic_pseudo.weight"];
            golden.check_scalar(&format!("{key}.pseudo.weight_scalar"), weight);
        }
        for (name, recorded) in golden.below(&format!("{key}.log.")) {
            let ours = scalars
                .get(&name)
                .unwrap_or_else(|| panic!("{name} is not logged"));
            if name.ends_with("acc_seg") {
                check_accuracy(&name, *ours, values(&recorded)[0], label.elem_count());
            } else {
                golden.check_scalar(&format!("{key}.log.{name}"), *ours);
            }
        }
        check_gradients(golden, &key, &training)?;

        let rate = |base| schedule.lr(i, base);
        golden.check_scalar(&format!("{key}.lr"), rate(lr));
        optimizer.step(training.grads(), &rate)?;
        if let (Training::Adversarial(adversarial), TargetUse::Adversarial(options)) =
            (&training, &options.target)
        {
            golden.check_scalar(&format!("{key}.lr_disc"), options.lr_at(i as u64));
            let state = discriminator(adversarial);
            check_parameters(golden, &format!("{key}.disc_after_main_opt."), &state);
        }
        training.after_update(i as u64)?;
        if let Training::Adversarial(adversarial) = &training {
            let state = discriminator(adversarial);
            check_parameters(golden, &format!("{key}.disc."), &state);
        }
        let student: HashMap<_, _> = training.store().state().into_iter().collect();
        check_parameters(golden, &format!("{key}.student."), &student);
        if let Some(teacher) = training.mask_teacher() {
            let teacher: HashMap<_, _> = teacher.store().state().into_iter().collect();
            check_parameters(golden, &format!("{key}.teacher."), &teacher);
        }
    }
    Ok(())
}

fn check_gradients(golden: &Golden, key: &str, training: &Training) -> Result<()> {
    let mut strict = 0;
    let mut kinked = 0;
    for (prefix, ours) in [("grad.", ""), ("disc_grad.", "model_D.main.")] {
        for name in golden.below(&format!("{key}.{prefix}")).keys() {
            let grad = training.grads().get(&format!("{ours}{name}"));
            let grad = grad.unwrap_or_else(|| panic!("{name} got no gradient"));
            match golden.check_gradient(&format!("{key}.{prefix}{name}"), grad) {
                true => strict += 1,
                false => kinked += 1,
            }
        }
    }
    assert!(strict > 0, "no gradient agrees strictly");
    if kinked > 0 {
        return Ok(());
    }
    // The recorded norm is the student's alone.
    let mut squares = 0.0;
    for (name, _) in training.store().vars() {
        if let Some(grad) = training.grads().get(&name) {
            let grad = grad.to_dtype(DType::F64)?;
            squares += grad.sqr()?.sum_all()?.to_scalar::<f64>()?;
        }
    }
    golden.check_scalar(&format!("{key}.grad_global_norm"), squares.sqrt());
    Ok(())
}

#[test]
fn iterations_agree_with_the_recorded_reference() -> Result<()> {
    for path in golden::files("seg", "uda_baselines") {
        let golden = Golden::read(path);
        for (variant, entry) in golden.config["variants"].as_object().unwrap() {
            check(&golden, variant, entry[0].as_str().unwrap(), &entry[1])?;
        }
    }
    Ok(())
}
