//! Whole iterations of DACS with masked consistency against the recorded reference.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;
mod recorded;

use std::collections::HashMap;

use candle_core::{Tensor, Var};
use golden::{Golden, values};
use mic_core::augment::{ColorJitterConfig, StrongConfig};
use mic_core::{BlockMask, BlockMaskConfig, Confidence, PseudoLabelConfig};
use mic_data::{SourceBatch, TargetBatch, UdaBatch};
use mic_nn::autograd::Gradients;
use mic_nn::models::mit::{MitConfig, Stem};
use mic_nn::optim::{AdamW, AdamWConfig, Grads, GroupRules, Optimizer, Rule};
use mic_nn::params::Store;
use mic_nn::schedule::PolyWarmup;
use mic_seg::Result;
use mic_seg::config::{Images, MaskMode};
use mic_seg::model::{Backbone, CropBox, DaformerHeadConfig, HrdaConfig, SegmentorConfig};
use mic_seg::uda::{
    ClassMix, Crops, Draws, FeatureDistance, MaskDraws, MaskedConsistency, MixDraws, Options,
    SelfTraining, TargetUse, distinct_classes,
};
use recorded::{NoDrops, count, fresh, list, normalization, number, strong};
use serde_json::Value;

fn backbone(config: &Value) -> MitConfig {
    MitConfig {
        embed_dims: list(&config["embed"]),
        depths: list(&config["depths"]),
        num_heads: vec![1, 2, 5, 8],
        sr_ratios: vec![8, 4, 2, 1],
        mlp_ratio: 4,
        drop_path_rate: 0.0,
        stem: Stem::Overlap,
    }
}

fn model(config: &Value) -> SegmentorConfig {
    let head = DaformerHeadConfig {
        embed: count(config, "hemb"),
        channels: count(config, "channels"),
        dropout: 0.0,
        ..DaformerHeadConfig::new(&list(&config["embed"]), count(config, "num_classes"))
    };
    let model = SegmentorConfig::new(backbone(config), head);
    if config["arch"] != "hrda" {
        return model;
    }
    let crop = list(&config["hr_crop"]);
    let default = HrdaConfig::new((crop[0], crop[1]));
    model.with_hrda(HrdaConfig {
        attention_channels: count(config, "att"),
        detail_loss: number(config, "hr_loss_weight", default.detail_loss),
        ..default
    })
}

fn options(config: &Value) -> Options {
    let pseudo = PseudoLabelConfig {
        confidence: Confidence::ShareAbove(number(config, "threshold", 0.0) as f32),
        ignore_top: count(config, "top"),
        ignore_bottom: count(config, "bottom"),
    };
    let alpha = number(config, "alpha", 0.0);
    let mode = config["mask_mode"].as_str().unwrap();
    let (images, augment) = match mode.trim_end_matches("aug") {
        "separatetrg" => (Images::Target, mode.ends_with("aug")),
        "separatesrc" => (Images::Source, mode.ends_with("aug")),
        "separate" => (Images::Mixed, mode.ends_with("aug")),
        other => panic!("unknown mask mode {other}"),
    };
    let own = config["separate_mic_teacher"].as_bool().unwrap();
    let own_teacher = own.then(|| {
        let confidence = match config.get("mask_thr") {
            None => pseudo.confidence,
            Some(Value::Null) => Confidence::None,
            Some(value) => Confidence::ShareAbove(value.as_f64().unwrap() as f32),
        };
        let pseudo = PseudoLabelConfig {
            confidence,
            ..pseudo
        };
        (number(config, "mask_alpha", alpha), pseudo)
    });
    Options {
        target: TargetUse::Mixing,
        augment_source: false,
        strong: StrongConfig {
            jitter: ColorJitterConfig::with_strength(number(config, "jitter_s", 0.2)),
            jitter_threshold: number(config, "color_jitter_probability", 0.2),
            blur: config["blur"].as_bool().unwrap(),
        },
        normalization: normalization(config),
        alpha,
        pseudo,
        feature_distance: Some(FeatureDistance {
            lambda: number(config, "fd_lambda", 0.0),
            classes: list(&config["fd_classes"])
                .iter()
                .map(|&c| c as u8)
                .collect(),
            min_ratio: number(config, "fd_min_ratio", 0.75),
            num_classes: count(config, "num_classes"),
        }),
        masked: Some(MaskedConsistency {
            mode: MaskMode { images, augment },
            blocks: BlockMaskConfig {
                block: count(config, "mask_block"),
                ratio: number(config, "mask_ratio", 0.7),
            },
            lambda: number(config, "mask_lambda", 1.0),
            own_teacher,
        }),
        detail: model(config).hrda.map(|hrda| hrda.crop),
        recompute: false,
    }
}

fn draws(golden: &Golden, options: &Options, iteration: usize, label: &Tensor) -> Result<Draws> {
    let key = |name: &str| format!("iter{iteration}.rand.{name}");
    let gates = |prefix: &str| {
        options.strong.gates(
            golden.scalar(&key(&format!("{prefix}color_jitter"))),
            golden.scalar(&key(&format!("{prefix}blur"))),
        )
    };
    let (batch, height, width) = label.dims3()?;
    let distinct = distinct_classes(label)?;
    let pasted = (0..batch).map(|b| {
        let choice = values(golden.get(&key(&format!("class_choice.{b}"))));
        choice.iter().map(|&i| distinct[i as usize]).collect()
    });
    let mixing = gates("");
    let keys: Vec<String> = (0..batch).map(|b| key(&format!("mix.{b}"))).collect();
    let masked = options.masked.as_ref().unwrap();
    let blocks = golden.get(&key("masked.block"));
    let colours = masked.mode.augment.then(|| {
        let gates = gates("masked.");
        strong(golden, &[key("masked")], gates.jitter, gates.blur)
    });
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
    Ok(Draws {
        crops: Crops {
            source: crop("source"),
            mixed: crop("mix"),
            target: None,
            masked: crop("masked"),
        },
        source: None,
        mix: Some(MixDraws {
            classes: ClassMix {
                pasted: pasted.collect(),
            },
            strong: strong(golden, &keys, mixing.jitter, mixing.blur),
        }),
        masked: Some(MaskDraws {
            strong: colours,
            blocks: BlockMask::from_uniforms(blocks, masked.blocks.ratio, height, width)?,
        }),
    })
}

fn optimiser(config: &Value, store: &Store) -> (AdamW, PolyWarmup, f64) {
    let optimizer = &config["optimizer"];
    assert_eq!(optimizer["type"], "AdamW");
    let custom = optimizer["paramwise_cfg"]["custom_keys"]
        .as_object()
        .unwrap();
    let rules = custom
        .iter()
        .map(|(key, rule)| Rule {
            key: key.clone(),
            lr_mult: number(rule, "lr_mult", 1.0),
            decay_mult: number(rule, "decay_mult", 1.0),
        })
        .collect();
    let lr = number(optimizer, "lr", 0.0);
    let rules = GroupRules {
        base_lr: lr,
        base_weight_decay: number(optimizer, "weight_decay", 0.0),
        rules,
    };
    let betas = &optimizer["betas"];
    let adamw = AdamWConfig {
        betas: (betas[0].as_f64().unwrap(), betas[1].as_f64().unwrap()),
        ..AdamWConfig::default()
    };
    let sched = &config["sched"];
    assert_eq!(sched["warmup"], "linear");
    let schedule = PolyWarmup {
        max_iters: count(config, "max_iters"),
        power: number(sched, "power", 1.0),
        min_lr: number(sched, "min_lr", 0.0),
        warmup_iters: count(sched, "warmup_iters"),
        warmup_ratio: number(sched, "warmup_ratio", 0.0),
    };
    (AdamW::new(&store.vars(), &rules, adamw), schedule, lr)
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

fn check(golden: &Golden) -> Result<()> {
    let config = &golden.config;
    let imagenet = fresh();
    let shape = backbone(config).into();
    Backbone::new(&shape, &imagenet.root())?;
    let report = imagenet.load(&golden.below("imnet.backbone."))?;
    assert!(report.complete(), "{report}");
    let imagenet = Backbone::new(&shape, &imagenet.frozen_copy()?.root())?;

    let options = options(config);
    let mut training = SelfTraining::new(&model(config), fresh(), options.clone(), Some(imagenet))?;
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
    let (mut optimizer, schedule, lr) = optimiser(config, training.store());
    let noise = |name: &str| config["gradient_exactly_zero"].get(name).is_some();

    for i in 0..count(config, "n_iters") {
        let get = |name: &str| golden.get(&format!("iter{i}.{name}")).clone();
        let valid = config["valid"].as_bool().unwrap_or(false);
        let label = get("gt").squeeze(1)?;
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
        let draws = draws(golden, &options, i, &label)?;
        let mut seen = 0;
        let mut tap = |name: &str, tensor: &Tensor| {
            let key = format!("iter{i}.{name}");
            if golden.find(&key).is_some() {
                golden.check(&key, tensor);
                seen += 1;
            }
        };
        let scalars = training.step(i as u64, &batch, &draws, &NoDrops, Some(&mut tap))?;
        assert!(seen >= 9, "only {seen} recorded tensors were compared");
        golden.check_scalar(
            &format!("iter{i}.pseudo.weight_scalar"),
            scalars["pseudo.weight"],
        );
        let pixels = label.elem_count() as f64;
        for (key, recorded) in golden.below(&format!("iter{i}.log.")) {
            let ours = scalars
                .get(&key)
                .unwrap_or_else(|| panic!("{key} is not logged"));
            if key.ends_with("acc_seg") {
                let recorded = values(&recorded)[0];
                // Two pixels, and the rounding of the recorded float.
                assert!((ours - recorded).abs() < 200.0 / pixels + 1e-4, "{key}");
            } else {
                golden.check_scalar(&format!("iter{i}.log.{key}"), *ours);
            }
        }
        let (mut strict, mut kinked) = (0, 0);
        let recorded = golden.below(&format!("iter{i}.grad."));
        for name in recorded.keys().filter(|n| !noise(n)) {
            let grad = training.grads().get(name);
            let grad = grad.unwrap_or_else(|| panic!("{name} got no gradient"));
            match golden.check_gradient(&format!("iter{i}.grad.{name}"), grad) {
                true => strict += 1,
                false => kinked += 1,
            }
        }
        let norm_key = format!("iter{i}.grad_global_norm");
        let norm = training.grads().global_norm()?;
        // Past a kink the step goes on with the recorded gradients, so that all else stays exact.
        let known;
        let grads = if kinked == 0 {
            golden.check_scalar(&norm_key, norm);
            training.grads()
        } else {
            assert!(strict > 0, "no gradient of iteration {i} agrees strictly");
            let exact = golden.scalar(&norm_key);
            assert!(
                (norm / exact - 1.0).abs() < 1e-2,
                "{norm}, recorded {exact}"
            );
            known = replaced(training.grads(), &training.store().vars(), &recorded)?;
            &known
        };
        let rate = |base| schedule.lr(i, base);
        let rates = values(golden.get(&format!("iter{i}.lr")));
        assert!(
            (rate(lr) - rates[0]).abs() <= 1e-12 * rates[0].max(1.0),
            "{rates:?}"
        );
        optimizer.step(grads, &rate)?;
        let teacher = training.teacher().unwrap();
        for (who, store) in [("student", training.store()), ("teacher", teacher.store())] {
            let state: HashMap<_, _> = store.state().into_iter().collect();
            for name in golden
                .below(&format!("iter{i}.{who}."))
                .keys()
                .filter(|n| !noise(n))
            {
                // The teacher's logits share the prefix of its parameters.
                if name != "logits" {
                    golden.check(&format!("iter{i}.{who}.{name}"), &state[name]);
                }
            }
        }
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
