//! Every network that a configuration can name: gradients reach what they should, names are those of
//! the published checkpoints, and full-size ones give the recorded numbers.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;
mod recorded;

use candle_core::{Device, Tensor};
use golden::values;
use mic_nn::autograd::backward;
use mic_nn::forward::{Forward, RandomDrops};
use mic_nn::models::mit::MitConfig;
use mic_nn::models::resnet::ResNetConfig;
use mic_nn::ops::{self, CrossEntropyOptions};
use mic_nn::optim::{GroupRules, Rule};
use mic_nn::params::Store;
use mic_seg::Result;
use mic_seg::config::{Config, Inference};
use mic_seg::inference;
use mic_seg::model::{
    CropBox, DaformerHeadConfig, DeeplabHeadConfig, DetailCrop, Discriminator, DiscriminatorConfig,
    HrdaConfig, SegformerHeadConfig, Segmentor, SegmentorConfig,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recorded::fresh;

const MIT: &str = r#"
backbone = "custom"
mit = { embed_dims = [12, 16, 20], depths = [1, 1, 1], num_heads = [1, 2, 2], sr_ratios = [4, 2, 1], stem = "conv" }
"#;
const RESNET: &str = r#"
backbone = "custom_resnet"
resnet = { depths = [1, 1, 2, 2], stem_channels = 8, width = 4 }
"#;
const VIT: &str = r#"
backbone = "custom_vit"
vit = { dim = 16, depth = 4, heads = 2, patch = 14, image_size = 56, registers = 2 }
"#;

fn config(model: &str) -> Result<Config> {
    let text = format!(
        "method.kind = \"supervised\"\n[data]\nclasses = \"custom\"\nclass_names = [\"a\", \"b\", \
         \"c\"]\n[data.source]\nkind = \"folder\"\nroot = \"a\"\nlabels = \"l\"\n[model]\n\
         head_channels = 8\ndropout = 0.1\ndrop_path = 0.1\n{model}\n"
    );
    Config::from_toml_str(&text, "test.toml", &[])
}

/// Images (B, 3, H, W) and labels of three classes.
fn batch(height: usize, width: usize) -> Result<(Tensor, Tensor)> {
    let image: Vec<f32> = (0..2 * 3 * height * width)
        .map(|i| (0.13 * i as f32).sin() + (0.011 * i as f32).cos())
        .collect();
    let label = (0..2 * height * width)
        .map(|i| [0, 1, 2, 255][i / 29 % 4])
        .collect::<Vec<u8>>();
    Ok((
        Tensor::from_vec(image, (2, 3, height, width), &Device::Cpu)?,
        Tensor::from_vec(label, (2, height, width), &Device::Cpu)?,
    ))
}

/// Checks gradients of the training pass and the size of a prediction; `unused` are parts of names
/// that no gradient reaches.
fn check(model: &str, unused: &[&str]) -> Result<Store> {
    let model = SegmentorConfig::of(&config(model)?)?;
    let store = fresh();
    let net = Segmentor::new(&model, &store.root())?;
    store.fill_from_names()?;
    let (height, width) = (96, 128);
    let (image, label) = batch(height, width)?;
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let crop = model
        .hrda
        .as_ref()
        .map(|hrda| hrda.crop.sample(&mut rng, height, width));
    let crop = crop.transpose()?;
    let drops = RandomDrops::new(rng);
    let output = net.forward_train(&image, crop.as_ref(), &Forward::train(&drops))?;
    let mut logits = ops::resize_bilinear(&output.logits, (height, width), false)?;
    if let Some(detail) = &output.detail {
        // The detail's own loss counts, too.
        let sum = detail.logits.sqr()?.mean_all()?;
        logits = logits.broadcast_add(&(sum * 0.01)?.reshape((1, 1, 1, 1))?)?;
    }
    let loss = ops::cross_entropy(&logits, &label, &CrossEntropyOptions::default())?;
    let grads = backward(&loss)?;
    for (name, var) in store.vars() {
        let Some(grad) = grads.get(&var) else {
            assert!(
                unused.iter().any(|u| name.contains(u)),
                "{name} got no gradient"
            );
            continue;
        };
        assert!(
            !unused.iter().any(|u| name.contains(u)),
            "{name} got a gradient"
        );
        let grad = values(grad);
        assert!(grad.iter().all(|g| g.is_finite()), "{name}");
        assert!(grad.iter().any(|&g| g != 0.0), "{name} has a zero gradient");
    }
    let frozen = Segmentor::new(&model, &store.frozen_copy()?.root())?;
    for (h, w) in [(96, 128), (70, 101)] {
        let (image, _) = batch(h, w)?;
        let logits = frozen.encode_decode(&image, &Forward::eval())?;
        assert_eq!(logits.dims(), [2, 3, h, w]);
        assert!(values(&logits).iter().all(|v| v.is_finite()));
    }
    Ok(store)
}

fn names(store: &Store) -> Vec<String> {
    store.state().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn every_head_stands_on_every_backbone() -> Result<()> {
    let backbones = [MIT, RESNET, VIT];
    for backbone in backbones {
        for (head, unused) in [
            ("daformer", vec![]),
            ("segformer", vec!["decode_head.conv_seg"]),
            ("deeplabv2", vec![]),
            ("linear", vec![]),
        ] {
            let model = format!("{backbone}\nhead = \"{head}\"\ndilations = [1, 2]");
            check(&model, &unused)?;
        }
    }
    Ok(())
}

#[test]
fn every_fusion_of_daformer_has_the_published_names() -> Result<()> {
    for (fusion, expected) in [
        (
            "\"conv1\"",
            vec!["fuse_layer.conv.weight", "fuse_layer.bn.running_var"],
        ),
        ("\"conv3\"", vec!["fuse_layer.conv.weight"]),
        (
            "\"sep_conv\"",
            vec!["fuse_layer.depthwise_conv.conv.weight"],
        ),
        (
            "\"aspp\"",
            vec![
                "fuse_layer.aspp_modules.1.conv.weight",
                "fuse_layer.bottleneck.bn.bias",
            ],
        ),
        (
            "\"sepaspp\"",
            vec!["fuse_layer.aspp_modules.1.pointwise_conv.bn.weight"],
        ),
        (
            "{ kind = \"aspp\", pool = true }",
            vec![
                "fuse_layer.image_pool.1.conv.weight",
                "fuse_layer.image_pool.1.bn.bias",
            ],
        ),
        (
            "{ kind = \"isa\", channels = 6, cell = 5 }",
            vec![
                "fuse_layer.in_conv.conv.weight",
                "fuse_layer.global_relation.query_project.bn.weight",
                "fuse_layer.local_relation.value_project.bias",
                "fuse_layer.local_relation.output_project.conv.weight",
            ],
        ),
        (
            "\"sepaspp_bottleneck\"",
            vec![
                "embed_layers.0.proj.bias",
                "embed_layers.2.0.weight",
                "embed_layers.2.1.aspp_modules.0.conv.weight",
                "embed_layers.2.1.bottleneck.conv.weight",
                "fuse_layer.conv.weight",
            ],
        ),
    ] {
        let names = names(&check(
            &format!("{MIT}\ndilations = [1, 2]\nfusion = {fusion}"),
            &[],
        )?);
        for name in expected {
            let name = format!("decode_head.{name}");
            assert!(names.contains(&name), "{fusion}: no {name}");
        }
    }
    for embedding in ["conv1", "conv3", "sep_conv", "sepaspp", "id"] {
        check(
            &format!("{MIT}\ndilations = [1, 2]\nembedding = \"{embedding}\""),
            &[],
        )?;
    }
    Ok(())
}

#[test]
fn hrda_stands_on_every_network() -> Result<()> {
    for (backbone, head, crop, divisible) in [
        (MIT, "daformer", 48, 8),
        (MIT, "segformer", 48, 8),
        (RESNET, "deeplabv2", 48, 8),
        (VIT, "daformer", 56, 28),
        (VIT, "linear", 56, 28),
    ] {
        let unused: &[&str] = match head {
            "segformer" => &["conv_seg"],
            _ => &[],
        };
        for more in [
            "",
            "attention = \"single\"",
            "fixed_attention = 0.5",
            "blur = true",
        ] {
            // Fixed attention has no head of its own.
            let model = format!(
                "{backbone}\nhead = \"{head}\"\ndilations = [1, 2]\n[model.hrda]\ncrop = [{crop}, \
                 {crop}]\ncrop_divisible = {divisible}\n{more}"
            );
            let store = check(&model, unused)?;
            let attention = names(&store).iter().any(|n| n.contains("scale_attention"));
            assert_eq!(attention, !more.starts_with("fixed"), "{more}");
        }
    }
    Ok(())
}

/// The recorded networks' weights: sines whose phase comes from the name.
fn fill(store: &Store, norms: f64) -> Result<()> {
    let value = |name: &str, dims: &[usize], i: usize| {
        let sum: u64 = name.bytes().map(u64::from).sum();
        let u = (0.9 * i as f64 + (sum % 1000) as f64 / 100.0).sin();
        let value = match dims.len() {
            0 | 1 if name.ends_with("running_var") => 1.0 + 0.5 * u,
            0 | 1 if name.ends_with("running_mean") || name.ends_with("bias") => 0.1 * u,
            0 | 1 => norms * (1.0 + 0.1 * u),
            _ => u * (2.0 / dims[1..].iter().product::<usize>() as f64).sqrt(),
        };
        value as f32
    };
    let tensors = store
        .state()
        .into_iter()
        .filter(|(name, _)| !name.ends_with("tracked"));
    let tensors = tensors.map(|(name, tensor)| {
        let dims = tensor.dims();
        let values: Vec<f32> = (0..tensor.elem_count())
            .map(|i| value(&name, dims, i))
            .collect();
        Ok((name, Tensor::from_vec(values, dims, &Device::Cpu)?))
    });
    store.load(&tensors.collect::<Result<_>>()?)?;
    Ok(())
}

fn sines(shape: (usize, usize, usize, usize)) -> Result<Tensor> {
    let count = shape.0 * shape.1 * shape.2 * shape.3;
    let values: Vec<f32> = (0..count)
        .map(|i| (0.013 * i as f64).sin() as f32)
        .collect();
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// Checks the mean and single elements.
fn compare(what: &str, x: &Tensor, mean: f64, elements: &[(usize, f64)]) {
    let values = values(x);
    let ours = values.iter().sum::<f64>() / values.len() as f64;
    assert!(
        (ours - mean).abs() < 1e-4,
        "{what}: mean {ours}, recorded {mean}"
    );
    for &(i, value) in elements {
        let near = (values[i] - value).abs() < 2e-4 * value.abs().max(1.0);
        assert!(near, "{what}[{i}]: {}, recorded {value}", values[i]);
    }
}

#[test]
fn full_size_networks_give_the_recorded_numbers() -> Result<()> {
    let mit = MitConfig::variant(0)?;
    let eval = Forward::eval();
    let build = |model: &SegmentorConfig, norms: f64| -> Result<Segmentor> {
        let store = fresh();
        Segmentor::new(model, &store.root())?;
        fill(&store, norms)?;
        Ok(Segmentor::new(model, &store.frozen_copy()?.root())?)
    };
    let head = DaformerHeadConfig::new(&mit.embed_dims, 19);
    let net = build(&SegmentorConfig::new(mit.clone(), head.clone()), 1.0)?;
    let image = sines((2, 3, 64, 96))?;
    let logits = net.forward(&image, &eval)?.logits;
    let some = [
        (0, 0.626983),
        (1, 0.418862),
        (4864, -0.082104),
        (14591, 0.439366),
    ];
    compare("daformer", &logits, 0.0064388, &some);

    let head = SegformerHeadConfig::new(&mit.embed_dims, 19);
    let net = build(&SegmentorConfig::new(mit.clone(), head), 1.0)?;
    let logits = net.forward(&image, &eval)?.logits;
    let some = [(0, 1.137811), (4864, -2.062196), (14591, -3.481081)];
    compare("segformer", &logits, -1.2645963, &some);

    let head = DeeplabHeadConfig {
        in_channels: 2048,
        dilations: vec![6, 12],
        classes: 19,
    };
    let net = build(&SegmentorConfig::new(ResNetConfig::v1c(101)?, head), 0.3)?;
    let output = net.forward(&sines((1, 3, 64, 96))?, &eval)?;
    compare(
        "layer 4",
        &output.features[3],
        3.4195442,
        &[(0, 6.273297), (65536, 12.792511)],
    );
    let some = [
        (0, -0.339742),
        (608, -0.205592),
        (912, 1.092165),
        (1823, -0.261518),
    ];
    compare("deeplabv2", &output.logits, -0.0430571, &some);

    let head = DaformerHeadConfig::new(&mit.embed_dims, 19);
    let hrda = HrdaConfig {
        crop: DetailCrop {
            size: (64, 64),
            divisible: 8,
        },
        ..HrdaConfig::new((64, 64))
    };
    let net = build(&SegmentorConfig::new(mit, head).with_hrda(hrda), 1.0)?;
    let image = sines((1, 3, 128, 128))?;
    let logits = net.encode_decode(&image, &eval)?;
    let some = [(0, -0.292661), (103765, -0.256801), (311295, -0.544483)];
    compare("hrda", &logits, -0.0343034, &some);
    let slide = Inference::Slide {
        window: (128, 128),
        stride: (64, 64),
        batch: 2,
    };
    let logits = inference::logits(&net, &sines((1, 3, 128, 256))?, &slide)?;
    let some = [(0, -0.286224), (207530, -0.266521), (622591, -0.541090)];
    compare("hrda in windows", &logits, -0.0308926, &some);
    let crop = CropBox {
        y1: 16,
        y2: 80,
        x1: 40,
        x2: 104,
    };
    let output = net.forward_train(&image, Some(&crop), &eval)?;
    let some = [(0, -0.291048), (6485, -0.255641), (19455, -0.545107)];
    compare("hrda in training", &output.logits, -0.0358011, &some);
    let detail = output.detail.unwrap();
    let some = [(0, -0.291048), (1621, -0.233016), (4863, -0.545107)];
    compare("its context", &detail.context, -0.0783968, &some);
    let some = [(0, -0.295830), (1621, -0.277515), (4863, -0.534494)];
    compare("its detail", &detail.logits, -0.0316778, &some);
    Ok(())
}

#[test]
fn the_discriminator_gives_the_recorded_numbers() -> Result<()> {
    let store = fresh();
    let shape = DiscriminatorConfig {
        classes: 19,
        channels: 64,
    };
    let discriminator = Discriminator::new(&shape, &store.root())?;
    assert_eq!(
        (store.parameter_count(), store.vars().len()),
        (2_781_121, 10)
    );
    // The recorded names have no `main.`.
    let plain = fresh();
    for (name, var) in store.vars() {
        let (path, last) = name.rsplit_once('.').unwrap();
        let path = path.replacen("main.", "", 1);
        let init = mic_nn::init::Init::Const(0.0);
        plain
            .root()
            .sub(path)
            .param(last, var.shape().clone(), init)?;
    }
    let logits = (sines((1, 19, 64, 96))? * 3.0)?;
    let probabilities = ops::softmax(&logits, 1)?;
    let some = [
        (0, -0.142604),
        (1, -0.124556),
        (2, -0.107257),
        (3, -0.130062),
        (5, -0.115708),
    ];
    fill(&plain, 1.0)?;
    let values = plain.params().into_iter();
    let values = values.map(|(name, tensor)| Ok((format!("main.{name}"), tensor.copy()?)));
    store.load(&values.collect::<Result<_>>()?)?;
    let told = discriminator.forward(&probabilities, false)?;
    assert_eq!(told.dims(), [1, 1, 2, 3]);
    compare("discriminator", &told, -0.1237673, &some);
    Ok(())
}

#[test]
fn parameter_groups_are_those_of_the_published_runs() -> Result<()> {
    let rule = |key: &str, lr_mult, decay_mult| Rule {
        key: key.into(),
        lr_mult,
        decay_mult,
    };
    let rules = GroupRules {
        base_lr: 6e-5,
        base_weight_decay: 0.01,
        rules: vec![rule("head", 10.0, 1.0), rule("norm", 1.0, 0.0)],
    };
    let counts = |model: &SegmentorConfig| -> Result<[usize; 3]> {
        let store = fresh();
        Segmentor::new(model, &store.root())?;
        let groups = store.vars().into_iter().map(|(name, _)| rules.group(&name));
        let groups: Vec<_> = groups.map(|group| (group.lr, group.weight_decay)).collect();
        let kinds = [(6e-5, 0.01), (6e-5, 0.0), (6e-5 * 10.0, 0.01)];
        Ok(kinds.map(|kind| groups.iter().filter(|group| **group == kind).count()))
    };
    let mit = MitConfig::variant(5)?;
    let head = DaformerHeadConfig::new(&mit.embed_dims, 19);
    let daformer = SegmentorConfig::new(mit, head);
    assert_eq!(counts(&daformer)?, [730, 322, 34]);
    let hrda = daformer.with_hrda(HrdaConfig::new((512, 512)));
    assert_eq!(counts(&hrda)?, [730, 322, 47]);
    let head = DeeplabHeadConfig {
        in_channels: 2048,
        dilations: vec![6, 12],
        classes: 19,
    };
    // Its batch norms are called `bn`: they decay.
    let deeplab = SegmentorConfig::new(ResNetConfig::v1c(101)?, head);
    assert_eq!(counts(&deeplab)?, [318, 0, 4]);
    Ok(())
}
