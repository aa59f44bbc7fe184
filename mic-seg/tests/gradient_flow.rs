//! One whole step of every method over every kind of network: every trainable tensor gets a gradient
//! that is finite and not zero.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;
mod recorded;

use candle_core::{Device, Tensor};
use golden::values;
use mic_data::{SourceBatch, TargetBatch, UdaBatch};
use mic_nn::forward::RandomDrops;
use mic_seg::Result;
use mic_seg::config::Config;
use mic_seg::model::{Backbone, SegmentorConfig};
use mic_seg::uda::{Draws, FeatureDistance, Options, Training};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recorded::fresh;

const MIT: &str = r#"
backbone = "custom"
mit = { embed_dims = [8, 16, 20, 24], depths = [1, 1, 1, 1], num_heads = [1, 2, 2, 3], sr_ratios = [8, 4, 2, 1] }
"#;
const SMALL_MIT: &str = r#"
backbone = "custom"
mit = { embed_dims = [12, 16], depths = [1, 1], num_heads = [1, 2], sr_ratios = [2, 1], stem = "conv" }
"#;
const RESNET: &str = r#"
backbone = "custom_resnet"
resnet = { depths = [1, 1, 2, 2], stem_channels = 8, width = 4 }
"#;
const VIT: &str = r#"
backbone = "custom_vit"
vit = { dim = 16, depth = 4, heads = 2, patch = 14, image_size = 56, registers = 2 }
"#;
/// Of images: all are squares.
const SIDE: usize = 112;

fn config(method: &str, model: &str) -> Result<Config> {
    let text = format!(
        "method.kind = \"{method}\"\nmethod.discriminator_channels = 4\n\
         method.pseudo_threshold = 0.2\n[data]\nclasses = \"custom\"\nclass_names = [\"a\", \"b\", \
         \"c\"]\ncrop = [{SIDE}, {SIDE}]\n[data.source]\nkind = \"folder\"\nroot = \"a\"\nlabels = \
         \"l\"\n[data.target]\nkind = \"folder\"\nroot = \"b\"\n[mask]\nblock = 16\n[model]\n\
         head_channels = 8\ndropout = 0.1\ndrop_path = 0.1\n{model}\n"
    );
    Config::from_toml_str(&text, "test.toml", &[])
}

fn images(shift: f32) -> Result<Tensor> {
    let image: Vec<f32> = (0..2 * 3 * SIDE * SIDE)
        .map(|i| (0.13 * i as f32 + shift).sin() + (0.011 * i as f32).cos())
        .collect();
    Ok(Tensor::from_vec(image, (2, 3, SIDE, SIDE), &Device::Cpu)?)
}

fn batch() -> Result<UdaBatch> {
    let label: Vec<u8> = (0..2 * SIDE * SIDE)
        .map(|i| [0, 1, 2, 255][i / 29 % 4])
        .collect();
    Ok(UdaBatch {
        source: SourceBatch {
            image: images(0.0)?,
            label: Tensor::from_vec(label, (2, SIDE, SIDE), &Device::Cpu)?,
            names: Vec::new(),
        },
        target: Some(TargetBatch {
            image: images(1.0)?,
            valid: None,
            names: Vec::new(),
        }),
    })
}

/// `unused` are parts of names of what belongs to published files and is never used.
fn check(method: &str, text: &str, unused: &[&str]) -> Result<()> {
    let config = config(method, text)?;
    let model = SegmentorConfig::of(&config)?;
    let mut options = Options::of(&config);
    // Every position counts: the labels here are too mixed for a majority.
    let imagenet = (method == "dacs").then(|| {
        options.feature_distance = Some(FeatureDistance {
            lambda: 0.005,
            classes: Vec::new(),
            min_ratio: 0.75,
            num_classes: 3,
        });
        let store = fresh();
        let scope = |name: &str| store.root().sub(name);
        Backbone::new(&model.backbone, &scope("imagenet"))?;
        store.fill_from_names()?;
        Backbone::new(
            &model.backbone,
            &store.frozen_copy()?.root().sub("imagenet"),
        )
    });
    let imagenet = imagenet.transpose()?;
    let mut training = Training::new(&model, options, imagenet, |_| fresh())?;
    training.store().fill_from_names()?;
    let batch = batch()?;
    let draws = Draws::sample(training.options(), 3, 0, &batch.source.label)?;
    let drops = RandomDrops::new(ChaCha8Rng::seed_from_u64(4));
    let scalars = training.step(0, &batch, &draws, &drops, None)?;
    let what = format!("{method}, {text}");
    assert!(
        scalars["masked.decode.loss_seg"] > 0.0,
        "{what}: {scalars:?}"
    );
    assert!(
        scalars.values().all(|v| v.is_finite()),
        "{what}: {scalars:?}"
    );
    for (name, _) in training.parameters() {
        let is_unused = unused.iter().any(|part| name.contains(part));
        let Some(grad) = training.grads().get(&name) else {
            assert!(is_unused, "{what}: {name} got no gradient");
            continue;
        };
        assert!(!is_unused, "{what}: {name} got a gradient");
        let grad = values(grad);
        assert!(grad.iter().all(|g| g.is_finite()), "{what}: {name}");
        assert!(
            grad.iter().any(|&g| g != 0.0),
            "{what}: {name} has a zero gradient"
        );
    }
    Ok(())
}

#[test]
fn every_fusion_of_daformer() -> Result<()> {
    for fusion in [
        "\"conv1\"",
        "\"conv3\"",
        "\"sep_conv\"",
        "\"aspp\"",
        "\"sepaspp\"",
        "{ kind = \"aspp\", pool = true }",
        "{ kind = \"isa\", channels = 6, cell = 5 }",
        "\"sepaspp_bottleneck\"",
    ] {
        check(
            "dacs",
            &format!("{MIT}\ndilations = [1, 2]\nfusion = {fusion}"),
            &[],
        )?;
    }
    Ok(())
}

#[test]
fn every_head_on_every_backbone() -> Result<()> {
    for backbone in [MIT, SMALL_MIT, RESNET, VIT] {
        for (head, unused) in [
            ("daformer", vec![]),
            ("segformer", vec!["decode_head.conv_seg"]),
            ("deeplabv2", vec![]),
            ("linear", vec![]),
        ] {
            let model = format!("{backbone}\nhead = \"{head}\"\ndilations = [1, 2]");
            check("dacs", &model, &unused)?;
        }
    }
    Ok(())
}

#[test]
fn hrda_over_every_network() -> Result<()> {
    for (backbone, head, crop, divisible) in [
        (MIT, "daformer", 64, 8),
        (MIT, "segformer", 64, 8),
        (RESNET, "deeplabv2", 48, 8),
        (VIT, "daformer", 56, 28),
        (VIT, "linear", 56, 28),
    ] {
        let unused: &[&str] = match head {
            "segformer" => &["conv_seg"],
            _ => &[],
        };
        for more in ["", "attention = \"single\"", "fixed_attention = 0.5"] {
            let model = format!(
                "{backbone}\nhead = \"{head}\"\ndilations = [1, 2]\n[model.hrda]\ncrop = [{crop}, \
                 {crop}]\ncrop_divisible = {divisible}\n{more}"
            );
            check("dacs", &model, unused)?;
        }
    }
    Ok(())
}

#[test]
fn adversarial_training_and_entropy_minimisation() -> Result<()> {
    for method in ["advseg", "minent", "supervised"] {
        let model = format!("{RESNET}\nhead = \"deeplabv2\"\ndilations = [1, 2]");
        check(method, &model, &[])?;
    }
    Ok(())
}
