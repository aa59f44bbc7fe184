//! What the tests of recorded training steps share. Included by path, after `golden`.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use candle_core::{DType, Device, Tensor, Var};
use mic_core::augment::{
    ColorJitter, ColorJitterConfig, GaussianBlur, JitterOp, Normalization, Strong, StrongConfig,
};
use mic_core::{BlockMask, BlockMaskConfig, Confidence, PseudoLabelConfig};
use mic_nn::forward::Drops;
use mic_nn::models::mit::{MitConfig, Stem};
use mic_nn::optim::{AdamW, AdamWConfig, GroupRules, Optimizer, Rule, Sgd, SgdConfig};
use mic_nn::params::Store;
use mic_nn::schedule::PolyWarmup;
use mic_seg::config::{Images, MaskMode};
use mic_seg::uda::{MaskDraws, MaskedConsistency, Options};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::golden::{Golden, values};

/// The recordings were made without dropout.
pub struct NoDrops;

impl Drops for NoDrops {
    fn keep(&self, _: &str, _: f64, count: usize) -> Vec<bool> {
        vec![true; count]
    }
}

/// An empty trainable store.
pub fn fresh() -> Store {
    let rng = ChaCha8Rng::seed_from_u64(0);
    Store::trainable(rng, DType::F32, &Device::Cpu)
}

pub fn list(value: &Value) -> Vec<usize> {
    let entries = value.as_array().unwrap().iter();
    entries.map(|v| v.as_u64().unwrap() as usize).collect()
}

pub fn number(config: &Value, key: &str, default: f64) -> f64 {
    config[key].as_f64().unwrap_or(default)
}

pub fn count(config: &Value, key: &str) -> usize {
    number(config, key, 0.0) as usize
}

pub fn normalization(config: &Value) -> Normalization {
    let triple = |key: &str, default: [f32; 3]| match config[key].as_array() {
        Some(v) => [0, 1, 2].map(|i| v[i].as_f64().unwrap() as f32),
        None => default,
    };
    Normalization {
        mean: triple("img_mean", Normalization::IMAGENET.mean),
        std: triple("img_std", Normalization::IMAGENET.std),
    }
}

/// Recorded jitter and blur below `keys` for given gates.
pub fn strong(golden: &Golden, keys: &[String], jitter: bool, blur: bool) -> Strong {
    let floats = |key: String| values(golden.get(&key)).iter().map(|&v| v as f32).collect();
    let jitter_of = |key: &String| ColorJitter {
        brightness: floats(format!("{key}.brightness_factor")),
        contrast: floats(format!("{key}.contrast_factor")),
        saturation: floats(format!("{key}.saturation_factor")),
        hue: floats(format!("{key}.hue_factor")),
        order: values(golden.get(&format!("{key}.order")))
            .iter()
            .map(|&op| JitterOp::ALL[op as usize])
            .collect(),
    };
    let blur_of = |key: &String| GaussianBlur {
        sigma: golden.scalar(&format!("{key}.sigma")),
    };
    Strong {
        jitter: keys.iter().filter(|_| jitter).map(jitter_of).collect(),
        blur: keys.iter().filter(|_| blur).map(blur_of).collect(),
    }
}

/// What tells how a recording was made.
pub const ABOUT: [&str; 14] = [
    "seed",
    "start",
    "size",
    "cell",
    "noise",
    "conf_gain",
    "clean",
    "margin",
    "min_margins",
    "want_nojitter",
    "not_stored",
    "n_other_groups",
    "meta",
    "gradient_exactly_zero",
];

/// A list, or what the recordings' README says of all networks.
fn list_or(value: &Value, default: [usize; 4]) -> Vec<usize> {
    match value {
        Value::Null => default.to_vec(),
        value => list(value),
    }
}

/// MiT with the widths below `dims`; heads and reductions are those of the original.
pub fn mit(config: &Value, dims: &str) -> MitConfig {
    MitConfig {
        embed_dims: list(&config[dims]),
        depths: list(&config["depths"]),
        num_heads: list_or(&config["num_heads"], [1, 2, 5, 8]),
        sr_ratios: list_or(&config["sr_ratios"], [8, 4, 2, 1]),
        mlp_ratio: config["mlp_ratio"].as_u64().unwrap_or(4) as usize,
        drop_path_rate: number(config, "drop_path_rate", 0.0),
        stem: Stem::Overlap,
    }
}

/// The share of pixels above the threshold at `key`; without threshold the weight is 1.
fn confidence(config: &Value, key: &str) -> Confidence {
    match &config[key] {
        Value::Null => Confidence::None,
        value => Confidence::ShareAbove(value.as_f64().unwrap() as f32),
    }
}

pub fn pseudo(config: &Value) -> PseudoLabelConfig {
    PseudoLabelConfig {
        confidence: confidence(config, "threshold"),
        ignore_top: count(config, "top"),
        ignore_bottom: count(config, "bottom"),
    }
}

pub fn strong_config(config: &Value) -> StrongConfig {
    StrongConfig {
        jitter: ColorJitterConfig::with_strength(number(config, "jitter_s", 0.2)),
        jitter_threshold: number(config, "color_jitter_probability", 0.2),
        blur: config["blur"].as_bool().unwrap_or(true),
    }
}

/// Masked consistency, if the recording has it. Its teacher is its own where the method has none
/// (`alone`) or where its momentum or threshold differ.
pub fn masked(config: &Value, alone: bool) -> Option<MaskedConsistency> {
    let mode = config["mask_mode"].as_str()?;
    let images = match mode.trim_end_matches("aug") {
        "separatetrg" => Images::Target,
        "separatesrc" => Images::Source,
        "separate" => Images::Mixed,
        other => panic!("unknown mask mode {other}"),
    };
    let alpha = number(config, "alpha", 0.999);
    let same = |key: &str| config.get(key).is_none_or(|value| value == "same");
    let differs = !same("mask_alpha") || !same("mask_thr");
    if let Some(own) = config["separate_mic_teacher"].as_bool() {
        assert_eq!(own, alone || differs, "whose teacher it is");
    }
    let own_teacher = (alone || differs).then(|| {
        let confidence = match same("mask_thr") {
            true => pseudo(config).confidence,
            false => confidence(config, "mask_thr"),
        };
        let pseudo = PseudoLabelConfig {
            confidence,
            ..pseudo(config)
        };
        (number(config, "mask_alpha", alpha), pseudo)
    });
    Some(MaskedConsistency {
        mode: MaskMode {
            images,
            augment: mode.ends_with("aug"),
        },
        blocks: BlockMaskConfig {
            block: count(config, "mask_block"),
            ratio: number(config, "mask_ratio", 0.7),
        },
        lambda: number(config, "mask_lambda", 1.0),
        own_teacher,
    })
}

/// The recorded draws of masking below `key`, for labels (B, H, W).
pub fn mask_draws(
    golden: &Golden,
    options: &Options,
    key: &str,
    label: &Tensor,
) -> mic_seg::Result<Option<MaskDraws>> {
    let Some(masked) = &options.masked else {
        return Ok(None);
    };
    let (_, height, width) = label.dims3()?;
    let colours = masked.mode.augment.then(|| {
        // Blur is drawn for masked images whether or not mixed ones are blurred.
        let always = StrongConfig {
            blur: true,
            ..options.strong
        };
        let gates = always.gates(
            golden.scalar(&format!("{key}.color_jitter")),
            golden.scalar(&format!("{key}.blur")),
        );
        strong(golden, &[key.to_owned()], gates.jitter, gates.blur)
    });
    let blocks = golden.get(&format!("{key}.block"));
    let (_, _, rows, columns) = blocks.dims4()?;
    assert_eq!(
        masked.blocks.grid(height, width)?,
        (rows, columns),
        "the grid of blocks"
    );
    Ok(Some(MaskDraws {
        strong: colours,
        blocks: BlockMask::from_uniforms(blocks, masked.blocks.ratio, height, width)?,
    }))
}

/// The recorded optimiser and its rate: of step and base.
pub fn optimiser(config: &Value, parameters: &[(String, Var)]) -> (Box<dyn Optimizer>, PolyWarmup) {
    let optimizer = &config["optimizer"];
    let used = [
        "type",
        "lr",
        "betas",
        "momentum",
        "weight_decay",
        "paramwise_cfg",
    ];
    crate::golden::refuse_unknown("optimizer", optimizer, &used, &[]);
    let custom = optimizer["paramwise_cfg"]["custom_keys"].as_object();
    let rule = |(key, rule): (&String, &Value)| {
        crate::golden::refuse_unknown("custom_keys", rule, &["lr_mult", "decay_mult"], &[]);
        Rule {
            key: key.clone(),
            lr_mult: number(rule, "lr_mult", 1.0),
            decay_mult: number(rule, "decay_mult", 1.0),
        }
    };
    let rules = GroupRules {
        base_lr: number(optimizer, "lr", 0.0),
        base_weight_decay: number(optimizer, "weight_decay", 0.0),
        rules: custom.into_iter().flatten().map(rule).collect(),
    };
    let optimizer: Box<dyn Optimizer> = match optimizer["type"].as_str() {
        Some("AdamW") => {
            let betas = &optimizer["betas"];
            let beta = |i: usize, default: f64| betas[i].as_f64().unwrap_or(default);
            let adamw = AdamWConfig {
                betas: (beta(0, 0.9), beta(1, 0.999)),
                ..AdamWConfig::default()
            };
            Box::new(AdamW::new(parameters, &rules, adamw))
        }
        Some("SGD") => {
            let sgd = SgdConfig {
                momentum: number(optimizer, "momentum", 0.0),
                nesterov: false,
            };
            Box::new(Sgd::new(parameters, &rules, sgd))
        }
        other => panic!("unknown optimiser {other:?}"),
    };
    (optimizer, schedule(config))
}

fn schedule(config: &Value) -> PolyWarmup {
    let sched = &config["sched"];
    let used = ["warmup", "warmup_iters", "warmup_ratio", "power", "min_lr"];
    crate::golden::refuse_unknown("sched", sched, &used, &[]);
    let warm = match sched["warmup"].as_str() {
        Some("linear") => true,
        None => false,
        Some(other) => panic!("unknown warm-up {other}"),
    };
    PolyWarmup {
        max_iters: count(config, "max_iters"),
        power: number(sched, "power", 1.0),
        min_lr: number(sched, "min_lr", 0.0),
        warmup_iters: if warm {
            count(sched, "warmup_iters")
        } else {
            0
        },
        warmup_ratio: number(sched, "warmup_ratio", 0.1),
    }
}

/// Compares a logged accuracy of `pixels` pixels: two of them may flip, and the recorded float is
/// rounded.
pub fn check_accuracy(what: &str, ours: f64, recorded: f64, pixels: usize) {
    let allowed = 200.0 / pixels as f64 + 1e-4;
    assert!(
        (ours - recorded).abs() < allowed,
        "{what}: {ours}, recorded {recorded}"
    );
}

/// Every recorded result below `key` that no scalar, gradient or weight accounts for has to have been
/// seen.
pub fn check_all_seen(golden: &Golden, key: &str, seen: &[String]) {
    let inputs = ["img", "gt", "target_img", "valid_pseudo_mask"];
    let others = [
        "rand.",
        "log.",
        "grad.",
        "disc",
        "student.",
        "lr",
        "grad_global_norm",
    ];
    for name in golden.below(key).keys() {
        let input = inputs.contains(&name.as_str());
        let other = others.iter().any(|other| name.starts_with(other));
        let teacher = name.starts_with("teacher.") || name.starts_with("mic_teacher.");
        let scalar = name.ends_with(".weight_scalar") || teacher;
        let ours = ["teacher.logits", "mic_teacher.logits", "disc_out."]
            .iter()
            .any(|ours| name.starts_with(ours));
        if ours || !(input || other || scalar) {
            assert!(
                seen.contains(name),
                "{key}{name} was recorded and is not ours"
            );
        }
    }
}
