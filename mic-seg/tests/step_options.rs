//! What the options of a step do: modes of masking, factors, an empty feature distance, gates; and
//! how networks start.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;
mod recorded;

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Tensor};
use golden::values;
use mic_data::{SourceBatch, TargetBatch, UdaBatch};
use mic_nn::models::mit::MitConfig;
use mic_nn::params::Store;
use mic_seg::Result;
use mic_seg::config::Config;
use mic_seg::model::{Backbone, DaformerHeadConfig, DeeplabHeadConfig, Segmentor, SegmentorConfig};
use mic_seg::uda::{Draws, FeatureDistance, Options, Training};
use rand::SeedableRng;
use recorded::{NoDrops, fresh};

const SIDE: usize = 64;

fn config(method: &str, mode: &str, more: &str) -> Result<Config> {
    let text = format!(
        "method.kind = \"{method}\"\nmethod.discriminator_channels = 4\n\
         method.pseudo_threshold = 0.2\n[data]\nclasses = \"custom\"\nclass_names = [\"a\", \"b\", \
         \"c\"]\ncrop = [{SIDE}, {SIDE}]\n[data.source]\nkind = \"folder\"\nroot = \"a\"\nlabels = \
         \"l\"\n[data.target]\nkind = \"folder\"\nroot = \"b\"\n[mask]\nblock = 16\nmode = \
         \"{mode}\"\n[model]\nbackbone = \"custom\"\nmit = {{ embed_dims = [12, 16], depths = [1, \
         1], num_heads = [1, 2], sr_ratios = [2, 1], stem = \"conv\" }}\nhead_channels = \
         8\ndilations = [1, 2]\ndropout = 0.0\ndrop_path = 0.0\n{more}\n"
    );
    Config::from_toml_str(&text, "test.toml", &[])
}

fn batch() -> Result<UdaBatch> {
    let images = |shift: f32| {
        let image: Vec<f32> = (0..2 * 3 * SIDE * SIDE)
            .map(|i| (0.13 * i as f32 + shift).sin() + (0.011 * i as f32).cos())
            .collect();
        Tensor::from_vec(image, (2, 3, SIDE, SIDE), &Device::Cpu)
    };
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

/// A step that was taken: what was logged, shown and summed up.
struct Taken {
    training: Training,
    draws: Draws,
    scalars: BTreeMap<String, f64>,
    shown: HashMap<String, Tensor>,
}

fn take(config: &Config, distance: Option<FeatureDistance>) -> Result<Taken> {
    let model = SegmentorConfig::of(config)?;
    let mut options = Options::of(config);
    let imagenet = distance.is_some().then(|| {
        let store = fresh();
        let below = |store: &Store| store.root().sub("imagenet");
        Backbone::new(&model.backbone, &below(&store))?;
        store.fill_from_names()?;
        Backbone::new(&model.backbone, &below(&store.frozen_copy()?))
    });
    options.feature_distance = distance;
    let mut training = Training::new(&model, options, imagenet.transpose()?, |_| fresh())?;
    training.store().fill_from_names()?;
    let batch = batch()?;
    let draws = Draws::sample(training.options(), 3, 0, &batch.source.label)?;
    let mut shown = HashMap::new();
    let mut tap = |name: &str, tensor: &Tensor| {
        shown.insert(name.to_owned(), tensor.clone());
    };
    let scalars = training.step(0, &batch, &draws, &NoDrops, Some(&mut tap))?;
    Ok(Taken {
        training,
        draws,
        scalars,
        shown,
    })
}

#[test]
fn the_masked_images_and_labels_are_those_of_the_mode() -> Result<()> {
    let batch = batch()?;
    let (source, target) = (&batch.source, batch.target.as_ref().unwrap());
    let first = |x: &Tensor| x.narrow(0, 0, 1);
    for method in ["dacs", "minent", "supervised"] {
        for mode in ["separate", "separatesrc", "separatetrg"] {
            for colours in ["", "aug"] {
                let what = format!("{method} {mode}{colours}");
                let taken = take(&config(method, &format!("{mode}{colours}"), "")?, None)?;
                let shown = |name: &str| taken.shown.get(name).unwrap_or_else(|| panic!("{name}"));
                let pseudo = |part: &str| {
                    let own = taken.shown.get(&format!("mic_pseudo.{part}"));
                    own.or(taken.shown.get(&format!("pseudo.{part}")))
                };
                // Without target pseudo-labels every mode takes the source.
                let mode = match method {
                    "supervised" => "separatesrc",
                    _ => mode,
                };
                let (images, label, weight) = match mode {
                    "separatesrc" => (source.image.clone(), source.label.clone(), None),
                    "separatetrg" => (
                        target.image.clone(),
                        pseudo("label").unwrap().clone(),
                        pseudo("weight").cloned(),
                    ),
                    _ => {
                        let weight = first(pseudo("weight").unwrap())?;
                        (
                            Tensor::cat(&[first(&source.image)?, first(&target.image)?], 0)?,
                            Tensor::cat(
                                &[first(&source.label)?, first(pseudo("label").unwrap())?],
                                0,
                            )?,
                            Some(Tensor::cat(&[weight.ones_like()?, weight], 0)?),
                        )
                    }
                };
                assert_eq!(values(shown("masked.label")), values(&label), "{what}");
                let ours = taken.shown.get("masked.weight").map(values);
                assert_eq!(ours, weight.as_ref().map(values), "{what}");
                let masked = taken.draws.masked.as_ref().unwrap();
                assert_eq!(masked.strong.is_some(), !colours.is_empty(), "{what}");
                let changed = match &masked.strong {
                    Some(strong) => {
                        strong.apply(&images, &taken.training.options().normalization)?
                    }
                    None => images,
                };
                let expected = values(&masked.blocks.apply(&changed)?);
                assert_eq!(values(shown("masked.img")), expected, "{what}");
                assert!(expected.contains(&0.0));
            }
        }
    }
    Ok(())
}

#[test]
fn the_factor_of_masked_consistency_spares_the_detail() -> Result<()> {
    let hrda = "[model.hrda]\ncrop = [32, 32]";
    let with = |factor: &str| -> Result<BTreeMap<String, f64>> {
        let text = config("dacs", "separatetrgaug", hrda)?.to_toml()?;
        let set = format!("mask.lambda={factor}");
        let config = Config::from_toml_str(&text, "test.toml", &[set])?;
        assert_eq!(
            config.mask.as_ref().unwrap().lambda,
            factor.parse::<f64>().unwrap()
        );
        Ok(take(&config, None)?.scalars)
    };
    let (whole, half) = (with("1.0")?, with("0.5")?);
    let key = "masked.decode.loss_seg";
    assert!((half[key] / whole[key] - 0.5).abs() < 1e-6);
    for key in [
        "masked.decode.hr.loss_seg",
        "decode.loss_seg",
        "mix.decode.loss_seg",
    ] {
        assert!(whole[key] > 0.0);
        assert_eq!(half[key], whole[key], "{key}");
    }
    Ok(())
}

#[test]
fn an_empty_feature_distance_is_told_and_changes_nothing() -> Result<()> {
    let config = config("dacs", "separatetrgaug", "")?;
    let distance = |classes: Vec<u8>, min_ratio| FeatureDistance {
        lambda: 0.005,
        classes,
        min_ratio,
        num_classes: 3,
    };
    let without = take(&config, None)?;
    // No label covers a window as much as that.
    let empty = take(&config, Some(distance(vec![0, 1, 2], 1.1)))?;
    assert!(empty.scalars["src.loss_imnet_feat_dist"].is_nan());
    for (name, _) in without.training.parameters() {
        let grads =
            [&without, &empty].map(|taken| values(taken.training.grads().get(&name).unwrap()));
        assert!(grads[1].iter().all(|g| g.is_finite()), "{name}");
        assert_eq!(grads[0], grads[1], "{name}");
    }
    // One that counts does change them.
    let full = take(&config, Some(distance(Vec::new(), 0.0)))?;
    assert!(full.scalars["src.loss_imnet_feat_dist"] > 0.0);
    let norm = |taken: &Taken| taken.training.grads().global_norm();
    assert_ne!(norm(&full)?, norm(&without)?);
    Ok(())
}

#[test]
fn mixed_and_masked_images_have_gates_of_their_own() -> Result<()> {
    let options = Options::of(&config("dacs", "separatetrgaug", "")?);
    let label = batch()?.source.label;
    let (mut mixed, mut masked, mut differ) = ([0; 2], [0; 2], 0);
    let steps = 600;
    for step in 0..steps {
        let draws = Draws::sample(&options, 5, step, &label)?;
        let (mix, mask) = (
            draws.mix.unwrap().strong,
            draws.masked.unwrap().strong.unwrap(),
        );
        // One gate for both mixed images, but factors, order and sigma of each.
        assert!([0, 2].contains(&mix.jitter.len()) && [0, 2].contains(&mix.blur.len()));
        assert!(mask.jitter.len() < 2 && mask.blur.len() < 2);
        if let [a, b] = &mix.jitter[..] {
            assert_ne!(a, b);
        }
        if let Some(jitter) = mask.jitter.first() {
            assert_eq!(jitter.brightness.len(), 2);
        }
        let gates = |strong: &mic_core::augment::Strong| {
            [!strong.jitter.is_empty(), !strong.blur.is_empty()]
        };
        for (sum, open) in mixed.iter_mut().zip(gates(&mix)) {
            *sum += usize::from(open);
        }
        for (sum, open) in masked.iter_mut().zip(gates(&mask)) {
            *sum += usize::from(open);
        }
        differ += usize::from(gates(&mix) != gates(&mask));
    }
    let share = |count: usize| count as f64 / steps as f64;
    for [jitter, blur] in [mixed, masked] {
        assert!((share(jitter) - 0.8).abs() < 0.06, "{}", share(jitter));
        assert!((share(blur) - 0.5).abs() < 0.07, "{}", share(blur));
    }
    // 1 - (0.8^2 + 0.2^2) / 2 of the steps.
    assert!((share(differ) - 0.66).abs() < 0.07, "{}", share(differ));
    Ok(())
}

/// Standard deviation and largest magnitude.
fn spread(tensor: &Tensor) -> (f64, f64) {
    let values = values(tensor);
    let squares: f64 = values.iter().map(|v| v * v).sum();
    let largest = values.iter().fold(0f64, |m, v| m.max(v.abs()));
    ((squares / values.len() as f64).sqrt(), largest)
}

#[test]
fn networks_start_as_published() -> Result<()> {
    let build = |model: &SegmentorConfig| -> Result<HashMap<String, Tensor>> {
        let rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let store = Store::trainable(rng, DType::F32, &Device::Cpu);
        Segmentor::new(model, &store.root())?;
        Ok(store.state().into_iter().collect())
    };
    let near = |tensor: &Tensor, std: f64| {
        let (found, _) = spread(tensor);
        assert!((found / std - 1.0).abs() < 0.1, "{found}, expected {std}");
    };
    let mit = MitConfig::variant(0)?;
    let head = DaformerHeadConfig::new(&mit.embed_dims, 19);
    let state = build(&SegmentorConfig::new(mit, head))?;
    let at = |name: &str| &state[name];
    near(at("decode_head.conv_seg.weight"), 0.01);
    assert_eq!(spread(at("decode_head.conv_seg.bias")).1, 0.0);
    // The groups of a depthwise convolution are ignored: its outputs are all channels.
    let depthwise = "decode_head.fuse_layer.aspp_modules.1.depthwise_conv.conv.weight";
    near(at(depthwise), (2.0f64 / 9216.0).sqrt());
    near(
        at("decode_head.fuse_layer.bottleneck.conv.weight"),
        (2.0f64 / (256.0 * 9.0)).sqrt(),
    );
    // PyTorch's default: uniform within one over the root of the inputs.
    let embed = at("decode_head.embed_layers.3.proj.weight");
    near(embed, 1.0 / 16.0 / 3f64.sqrt());
    assert!(spread(embed).1 <= 1.0 / 16.0);
    near(at("backbone.block4.0.mlp.fc1.weight"), 0.02);
    assert_eq!(spread(at("backbone.block4.0.mlp.fc1.bias")).1, 0.0);
    near(
        at("backbone.patch_embed1.proj.weight"),
        (2.0f64 / (49.0 * 32.0)).sqrt(),
    );
    near(
        at("backbone.block1.0.mlp.dwconv.dwconv.weight"),
        (2.0f64 / 9.0).sqrt(),
    );

    let head = DeeplabHeadConfig {
        in_channels: 512,
        dilations: vec![6, 12],
        classes: 19,
    };
    let resnet = mic_nn::models::resnet::ResNetConfig {
        width: 16,
        stem_channels: 8,
        ..mic_nn::models::resnet::ResNetConfig::v1c(50)?
    };
    let state = build(&SegmentorConfig::new(resnet, head))?;
    for branch in 0..2 {
        let name = |part: &str| format!("decode_head.aspp_modules.{branch}.conv.{part}");
        near(&state[&name("weight")], 0.01);
        assert_eq!(spread(&state[&name("bias")]).1, 0.0);
    }
    assert!(state.keys().all(|name| !name.contains("conv_seg")));
    Ok(())
}

#[test]
fn uniform_predictions_have_an_entropy_of_one() -> Result<()> {
    let entropy = |scale: f64| {
        let logits = Tensor::arange(0f32, 19.0, &Device::Cpu)?.reshape((1, 19, 1, 1))?;
        let logits = (logits.broadcast_as((1, 19, 2, 3))? * scale)?;
        let value = mic_nn::ops::entropy(&logits, true)?.mean_all()?;
        candle_core::Result::Ok(f64::from(value.to_scalar::<f32>()?))
    };
    assert!((entropy(0.0)? - 1.0).abs() < 1e-6);
    // Almost one-hot.
    assert!(entropy(100.0)?.abs() < 1e-6);
    Ok(())
}
