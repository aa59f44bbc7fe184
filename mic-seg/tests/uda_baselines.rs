//! Whole iterations of adversarial training and entropy minimisation, with and without masked
//! consistency, against the recorded reference.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;
mod recorded;

use std::collections::HashMap;

use candle_core::{DType, Tensor};
use golden::{Golden, values};
use mic_core::augment::{ColorJitterConfig, StrongConfig};
use mic_core::{BlockMask, BlockMaskConfig, Confidence, PseudoLabelConfig};
use mic_data::{SourceBatch, TargetBatch, UdaBatch};
use mic_nn::models::resnet::ResNetConfig;
use mic_nn::optim::{GroupRules, Optimizer, Sgd, SgdConfig};
use mic_nn::schedule::PolyWarmup;
use mic_seg::Result;
use mic_seg::config::{Images, MaskMode};
use mic_seg::model::{DeeplabHeadConfig, SegmentorConfig};
use mic_seg::uda::{
    Adversarial, AdversarialLoss, AdversarialOptions, Crops, Draws, MaskDraws, MaskedConsistency,
    Options, TargetUse, Training,
};
use recorded::{NoDrops, count, fresh, list, normalization, number, strong};
use serde_json::Value;

fn model(config: &Value) -> Result<SegmentorConfig> {
    let backbone = ResNetConfig {
        stem_channels: count(config, "stem"),
        width: count(config, "base"),
        ..ResNetConfig::v1c(count(config, "depth"))?
    };
    let head = DeeplabHeadConfig {
        in_channels: backbone.channels().last().copied().unwrap(),
        dilations: list(&config["dil"]),
        classes: count(config, "num_classes"),
    };
    Ok(SegmentorConfig::new(backbone, head))
}

/// The options of a variant, which overrides those of all.
fn options(config: &Value, method: &str, own: &Value) -> Options {
    let pseudo = PseudoLabelConfig {
        confidence: Confidence::ShareAbove(number(config, "threshold", 0.0) as f32),
        ignore_top: count(own, "top"),
        ignore_bottom: count(own, "bottom"),
    };
    let target = match method {
        "AdvSeg" => TargetUse::Adversarial(AdversarialOptions {
            lambda: number(config, "lambda_adv", 0.0),
            loss: match own["disc"].as_str().unwrap() {
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
    let alpha = number(config, "alpha", 0.999);
    let masked = own["mask_mode"].as_str().map(|mode| {
        let images = match mode.trim_end_matches("aug") {
            "separatetrg" => Images::Target,
            "separatesrc" => Images::Source,
            "separate" => Images::Mixed,
            other => panic!("unknown mask mode {other}"),
        };
        MaskedConsistency {
            mode: MaskMode {
                images,
                augment: mode.ends_with("aug"),
            },
            blocks: BlockMaskConfig {
                block: count(config, "mask_block"),
                ratio: number(config, "mask_ratio", 0.7),
            },
            lambda: 1.0,
            own_teacher: Some((alpha, pseudo)),
        }
    });
    Options {
        target,
        augment_source: false,
        strong: StrongConfig {
            jitter: ColorJitterConfig::with_strength(number(config, "jitter_s", 0.2)),
            jitter_threshold: number(config, "color_jitter_probability", 0.2),
            blur: true,
        },
        normalization: normalization(config),
        alpha,
        pseudo,
        feature_distance: None,
        masked,
        detail: None,
        recompute: false,
    }
}

fn draws(golden: &Golden, options: &Options, key: &str, label: &Tensor) -> Result<Draws> {
    let (_, height, width) = label.dims3()?;
    let masked = options.masked.as_ref().map(|masked| {
        let key = format!("{key}.rand.masked");
        let gates = options.strong.gates(
            golden.scalar(&format!("{key}.color_jitter")),
            golden.scalar(&format!("{key}.blur")),
        );
        let augment = masked.mode.augment;
        let blocks = golden.get(&format!("{key}.block"));
        Ok::<_, mic_core::Error>(MaskDraws {
            strong: augment.then(|| strong(golden, &[key], gates.jitter, gates.blur)),
            blocks: BlockMask::from_uniforms(blocks, masked.blocks.ratio, height, width)?,
        })
    });
    Ok(Draws {
        source: None,
        mix: None,
        masked: masked.transpose()?,
        crops: Crops::default(),
    })
}

fn optimiser(config: &Value, training: &Training) -> (Sgd, PolyWarmup, f64) {
    let optimizer = &config["optimizer"];
    assert_eq!(optimizer["type"], "SGD");
    let lr = number(optimizer, "lr", 0.0);
    let rules = GroupRules::uniform(lr, number(optimizer, "weight_decay", 0.0));
    let sgd = SgdConfig {
        momentum: number(optimizer, "momentum", 0.0),
        nesterov: false,
    };
    let sched = &config["sched"];
    let schedule = PolyWarmup {
        max_iters: count(config, "max_iters"),
        power: number(sched, "power", 1.0),
        min_lr: number(sched, "min_lr", 0.0),
        warmup_iters: count(sched, "warmup_iters"),
        warmup_ratio: number(sched, "warmup_ratio", 0.0),
    };
    (Sgd::new(&training.parameters(), &rules, sgd), schedule, lr)
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
    let config = &golden.config;
    let options = options(config, method, own);
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
    let (mut optimizer, schedule, lr) = optimiser(config, &training);
    let iterations = (0..).take_while(|i| golden.find(&format!("iter{i}.img")).is_some());
    for i in iterations {
        let get = |name: &str| golden.get(&format!("iter{i}.{name}")).clone();
        let label = get("gt").squeeze(1)?;
        let valid = own["valid"].as_bool().unwrap_or(false);
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
        let draws = draws(golden, &options, &key, &label)?;
        let mut seen = 0;
        let mut tap = |name: &str, tensor: &Tensor| {
            // The only teacher is that of masked consistency.
            let name = match name.strip_prefix("mic_") {
                Some(name) => name,
                None => name,
            };
            let key = format!("{key}.{name}");
            if golden.find(&key).is_some() {
                golden.check(&key, tensor);
                seen += 1;
            }
        };
        let scalars = training.step(i as u64, &batch, &draws, &NoDrops, Some(&mut tap))?;
        let least = match options.masked {
            Some(_) => 6,
            None => 2,
        };
        assert!(seen >= least, "only {seen} recorded tensors were compared");
        if options.masked.is_some() {
            let weight = scalars["mic_pseudo.weight"];
            golden.check_scalar(&format!("{key}.pseudo.weight_scalar"), weight);
        }
        let pixels = label.elem_count() as f64;
        for (name, recorded) in golden.below(&format!("{key}.log.")) {
            let ours = scalars
                .get(&name)
                .unwrap_or_else(|| panic!("{name} is not logged"));
            if name.ends_with("acc_seg") {
                let recorded = values(&recorded)[0];
                assert!((ours - recorded).abs() < 200.0 / pixels + 1e-4, "{name}");
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
