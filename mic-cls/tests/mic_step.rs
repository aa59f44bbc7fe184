//! Whole iterations of MIC on SDAT against the recorded reference.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;
mod support;

use std::collections::{HashMap, HashSet};

use candle_core::{Device, Tensor};
use golden::{Golden, values};
use mic_cls::Result;
use mic_cls::model::{BackboneConfig, ClassifierConfig, Network};
use mic_cls::uda::{
    Adaptation, ClsBatch, DISCRIMINATOR, Draws, MaskDraws, OPTIMIZER, OPTIMIZER_OF_DISCRIMINATOR,
    Options, REVERSALS, STUDENT, TEACHER,
};
use mic_core::{BlockMask, Confidence};
use mic_nn::models::resnet::ResNetConfig;
use mic_nn::models::vit::{VitConfig, VitSize};
use mic_nn::schedule::InverseDecay;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use support::{NoDrops, Recorded, mic, strong};

fn backbone(file: &Recorded) -> BackboneConfig {
    let config = &file.golden.config;
    match config["arch"].as_str().unwrap() {
        "resnet" => {
            let layers = config["layers"].as_array().unwrap().iter();
            let fc = file.golden.find("student.init.backbone.fc.weight");
            BackboneConfig::ResNet(ResNetConfig {
                depths: layers.map(|n| n.as_u64().unwrap() as usize).collect(),
                width: file.count("width"),
                stem_channels: file.count("width"),
                classes: fc.map(|fc| fc.dims()[0]),
                ..ResNetConfig::torchvision(50).unwrap()
            })
        }
        "vit" => {
            let (height, width) = match config["img"].as_array() {
                Some(sides) => (sides[0].as_u64().unwrap(), sides[1].as_u64().unwrap()),
                None => (file.count("img") as u64, file.count("img") as u64),
            };
            BackboneConfig::Vit(VitConfig {
                image_size: (height as usize, width as usize),
                patch: file.count("patch"),
                dim: file.count("dim"),
                depth: file.count("depth"),
                heads: file.count("heads"),
                ..VitConfig::variant(VitSize::Base)
            })
        }
        other => panic!("unknown arch {other}"),
    }
}

fn options(file: &Recorded) -> Options {
    let config = &file.golden.config;
    let mut options = mic(file.count("block"));
    options.mcc = Some(file.number("temperature"));
    options.trade_off = file.number("trade_off");
    let adversary = options.adversary.as_mut().unwrap();
    adversary.hidden = file.count("hidden");
    adversary.by_entropy = config["entropy"].as_bool().unwrap();
    options.ascent.as_mut().unwrap().sam.rho = file.number("rho");
    let masked = options.masked.as_mut().unwrap();
    masked.blocks.ratio = file.number("ratio");
    masked.alpha = file.number("alpha");
    masked.confidence = match config["pseudo_label_weight"].as_str() {
        Some("prob") => Confidence::MaxProbability,
        _ => Confidence::None,
    };
    options.sgd.lr = file.number("lr");
    options.sgd.weight_decay = file.number("wd");
    options.sgd.momentum.momentum = file.number("momentum");
    options.sgd.schedule = InverseDecay {
        gamma: file.number("lr_gamma"),
        decay: file.number("lr_decay"),
    };
    options
}

/// The method before the first recorded iteration, whose number is `first`.
fn method(file: &Recorded, first: u64) -> Result<Adaptation> {
    let config = ClassifierConfig {
        backbone: backbone(file),
        bottleneck: Some(file.count("bottleneck")),
        classes: file.count("classes"),
    };
    let student = Network::new(&config, ChaCha8Rng::seed_from_u64(0))?;
    let mut method = Adaptation::new(student, options(file), 0)?;
    let mut state = HashMap::new();
    let mut put = |prefix: &str, tensors: HashMap<String, Tensor>| {
        state.extend(
            tensors
                .into_iter()
                .map(|(name, t)| (format!("{prefix}{name}"), t)),
        );
    };
    let student = file.golden.below("student.init.");
    let teacher = file.golden.below("teacher.init.");
    put(
        TEACHER,
        if teacher.is_empty() {
            student.clone()
        } else {
            teacher
        },
    );
    put(STUDENT, student);
    put(DISCRIMINATOR, file.golden.below("disc.init."));
    state.insert(REVERSALS.into(), Tensor::new(first as i64, &Device::Cpu)?);
    method.restore(&state)?;
    Ok(method)
}

/// Names of ours beside those of the recording.
fn recorded_name(name: &str) -> String {
    let whole = [
        ("masked.images", "x_t_masked"),
        ("teacher.logits", "teacher_logits"),
        ("pseudo.label", "pseudo_label"),
        ("ascent.logits", "call0.logits"),
        ("ascent.masked.logits", "call1.logits"),
        ("update.logits", "call2.logits"),
        ("update.masked.logits", "call3.logits"),
        ("update.domain", "pass2.disc_prob"),
    ];
    if let Some((_, theirs)) = whole.iter().find(|(ours, _)| *ours == name) {
        return (*theirs).to_owned();
    }
    let prefixes = [
        ("ascent.grad.", "pass1.grad."),
        ("update.grad.", "pass2.grad."),
    ];
    for (ours, theirs) in prefixes {
        if let Some(rest) = name.strip_prefix(ours) {
            return format!("{theirs}{rest}");
        }
    }
    name.to_owned()
}

const SCALARS: [(&str, &str); 14] = [
    ("ascent.cls", "pass1.loss_cls"),
    ("ascent.mcc", "pass1.loss_mcc"),
    ("ascent.masked", "pass1.loss_mask"),
    ("ascent.total", "pass1.loss_total"),
    ("ascent.norm", "pass1.grad_norm"),
    ("loss.cls", "pass2.loss_cls"),
    ("loss.mcc", "pass2.loss_mcc"),
    ("loss.masked", "pass2.loss_mask"),
    ("loss.cdan", "pass2.loss_cdan"),
    ("loss.transfer", "pass2.loss_transfer"),
    ("loss.total", "pass2.loss_total"),
    ("accuracy.source", "cls_acc"),
    ("accuracy.domain", "domain_acc"),
    ("teacher.alpha", "teacher_alpha"),
];

fn check(file: &Recorded) -> Result<()> {
    let config = &file.golden.config;
    let iterations = file.count("iters");
    let first = (file.count("epoch") * iterations) as u64;
    let mut method = method(file, first)?;
    for i in 0..iterations {
        let step = first + i as u64;
        let key = |name: &str| format!("iter{i}.{name}");
        let get = |name: &str| file.golden.get(&key(name)).clone();
        let batch = ClsBatch {
            source: get("x_s"),
            labels: get("labels_s"),
            target: Some(get("x_t")),
        };
        let (_, _, height, width) = get("x_t").dims4()?;
        let ratio = file.number("ratio");
        let blocks = BlockMask::from_uniforms(&get("mask.rand"), ratio, height, width)?;
        let draws = Draws {
            masked: Some(MaskDraws {
                strong: strong(file, &key("mask.")),
                blocks,
            }),
        };
        let mut compared = HashSet::new();
        let mut compare = |name: &str, tensor: &Tensor| {
            let key = key(name);
            if file.has(&key) {
                file.check(&key, tensor);
                compared.insert(key);
            }
        };
        let unweighted = config["pseudo_label_weight"].as_str() != Some("prob");
        let mut tap = |name: &str, tensor: &Tensor| match name {
            // One number where there is no weighting.
            "pseudo.weight" if unweighted => compare("pseudo_weight", &tensor.mean_all().unwrap()),
            "pseudo.weight" => compare("pseudo_weight", tensor),
            name => compare(&recorded_name(name), tensor),
        };
        let lr = method.lr(step);
        let reversals = method.adversary().unwrap().reversals();
        let scalars = method.step(step, &batch, &draws, &NoDrops, Some(&mut tap))?;

        compare("grl_iter", &Tensor::new(reversals as i64, &Device::Cpu)?);
        let backbone = lr * method.options().sgd.backbone_lr_mult;
        compare("lr", &Tensor::new(&[backbone, lr, lr, lr], &Device::Cpu)?);
        for (ours, theirs) in SCALARS {
            let recorded = file.golden.scalar(&key(theirs));
            // The recording has no momentum for the copy of the first iteration.
            let value = if recorded.is_nan() {
                assert_eq!(scalars[ours], 0.0);
                f64::NAN
            } else {
                scalars[ours]
            };
            compare(theirs, &Tensor::new(value, &Device::Cpu)?);
        }
        let adversary = method.adversary().unwrap();
        for (name, _) in adversary.store().params() {
            if let Some(grad) = adversary.grads().get(&name) {
                compare(&format!("pass2.grad_disc.{name}"), grad);
            }
        }
        for (name, tensor) in method.state()? {
            for (prefix, who) in [
                (STUDENT, "student"),
                (TEACHER, "teacher"),
                (DISCRIMINATOR, "disc"),
            ] {
                if let Some(name) = name.strip_prefix(prefix) {
                    compare(&format!("{who}.{name}"), &tensor);
                }
            }
        }
        let given = ["x_s", "labels_s", "x_t"].map(&key);
        let missed = file.golden.tensors.keys().filter(|name| {
            let here = name.starts_with(&key("")) && !name.starts_with(&key("mask."));
            here && !given.contains(name) && !compared.contains(*name)
        });
        let missed: Vec<_> = missed.collect();
        assert!(missed.is_empty(), "not compared: {missed:?}");
    }
    let state: HashMap<_, _> = method.state()?.into_iter().collect();
    for (recorded, ours) in [
        ("momentum.", OPTIMIZER),
        ("momentum_disc.", OPTIMIZER_OF_DISCRIMINATOR),
    ] {
        let names = file.golden.below(recorded);
        assert!(!names.is_empty());
        for name in names.keys() {
            let momentum = &state[&format!("{ours}{name}.momentum_buffer")];
            file.check(&format!("{recorded}{name}"), momentum);
        }
    }
    unused_classifier_is_left_alone(file, &state);
    Ok(())
}

/// The ImageNet classifier of a ResNet has neither gradient nor decay nor momentum.
fn unused_classifier_is_left_alone(file: &Recorded, state: &HashMap<String, Tensor>) {
    for (name, initial) in file.golden.below("student.init.") {
        if name.starts_with("backbone.fc.") {
            assert_eq!(
                values(&initial),
                values(&state[&format!("{STUDENT}{name}")]),
                "{name}"
            );
            assert!(!state.contains_key(&format!("{OPTIMIZER}{name}.momentum_buffer")));
        }
    }
}

#[test]
fn iterations_agree_with_the_recorded_reference() -> Result<()> {
    for path in golden::files("cls", "mic_step") {
        check(&Recorded::read(Golden::read(path)))?;
    }
    Ok(())
}
