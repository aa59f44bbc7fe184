//! Names and sizes of the networks, and weights from files.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use mic_cls::config::Config;
use mic_cls::model::{
    ClassifierConfig, Conditioning, DiscriminatorConfig, DomainDiscriminator, Network,
};
use mic_cls::weights::{load_all, load_backbone, write};
use mic_cls::{Error, Result};
use mic_nn::params::Store;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn config(sets: &[&str]) -> Config {
    let text = "method.kind = \"source_only\"\n[data.source]\nkind = \"folder\"\nroot = \"a\"\n";
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Config::from_toml_str(text, "test.toml", &sets).unwrap()
}

fn network(sets: &[&str], classes: usize, seed: u64) -> Result<Network> {
    let config = ClassifierConfig::of(&config(sets), classes);
    Ok(Network::new(&config, ChaCha8Rng::seed_from_u64(seed))?)
}

/// The published checkpoints' numbers of entries, of parameters' tensors and of parameters.
#[test]
fn networks_have_the_tensors_of_the_published_checkpoints() -> Result<()> {
    for (backbone, classes, entries, tensors, numbers) in [
        ("vit_base_patch16_224", 12, 159, 156, 85_999_116),
        ("vit_base_patch16_224", 65, 159, 156, 86_012_737),
        ("mae_base_patch16_224", 12, 159, 156, 85_999_116),
        ("resnet101", 12, 635, 320, 45_077_300),
        ("resnet50", 12, 329, 167, 26_085_172),
    ] {
        let backbone = format!("model.backbone={backbone}");
        let store = network(&[&backbone], classes, 0)?.store;
        let found = (store.state().len(), store.params().len());
        assert_eq!(found, (entries, tensors), "{backbone}");
        assert_eq!(store.parameter_count(), numbers, "{backbone}");
        let state: HashMap<_, _> = store.state().into_iter().collect();
        assert_eq!(state["head.weight"].dims(), [classes, 256]);
        let inputs = if backbone.contains("resnet") {
            2048
        } else {
            768
        };
        assert_eq!(state["bottleneck.0.weight"].dims(), [256, inputs]);
        let count = &state["bottleneck.1.num_batches_tracked"];
        assert_eq!((count.dtype(), count.rank()), (DType::I64, 0));
        let fc = state.get("backbone.fc.weight").map(|fc| fc.dims());
        assert_eq!(fc.is_some(), inputs == 2048, "{backbone}");
        let norm = ["backbone.norm.weight", "backbone.fc_norm.weight"];
        let mean = backbone.contains("mae");
        assert_eq!(state.contains_key(norm[0]), inputs == 768 && !mean);
        assert_eq!(state.contains_key(norm[1]), mean);
    }
    Ok(())
}

#[test]
fn discriminators_have_the_published_sizes() -> Result<()> {
    for (classes, numbers) in [(12, 4_201_473), (65, 18_095_105)] {
        let store = Store::trainable(ChaCha8Rng::seed_from_u64(0), DType::F32, &Device::Cpu);
        let config = DiscriminatorConfig {
            inputs: Conditioning::Multilinear.outputs(256, classes)?,
            hidden: 1024,
        };
        DomainDiscriminator::new(&config, &store.root())?;
        assert_eq!(store.parameter_count(), numbers);
    }
    Ok(())
}

const RESNET: [&str; 4] = [
    "model.backbone=resnet",
    "model.resnet.width=4",
    "model.resnet.depths=[1, 1]",
    "model.bottleneck=6",
];
const VIT: [&str; 6] = [
    "model.backbone=vit",
    "model.vit.dim=12",
    "model.vit.heads=3",
    "model.vit.depth=1",
    "model.bottleneck=6",
    "model.vit.patch=8",
];

/// A file of the backbone of `from`, without its prefix, and of tensors of another head.
fn published(at: &Path, from: &Network, without: &str) {
    let backbone = from.store.state().into_iter().filter_map(|(name, tensor)| {
        let name = name.strip_prefix("backbone.")?.to_owned();
        (name != without).then_some((name, tensor))
    });
    let head = Tensor::zeros((9, 12), DType::F32, &Device::Cpu).unwrap();
    let tensors: Vec<_> = backbone.chain([("head.weight".into(), head)]).collect();
    write(at, &tensors, HashMap::new()).unwrap();
}

fn values(network: &Network, name: &str) -> Vec<f32> {
    let state: HashMap<_, _> = network.store.state().into_iter().collect();
    state[name].flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn backbones_are_filled_and_the_rest_stays() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backbone.safetensors");
    let cases: [(&[&str], &str); 2] = [
        (&RESNET, "backbone.conv1.weight"),
        (&VIT, "backbone.patch_embed.proj.weight"),
    ];
    for (sets, name) in cases {
        let (theirs, ours) = (network(sets, 4, 1)?, network(sets, 4, 2)?);
        published(&file, &theirs, "");
        let head = values(&ours, "head.weight");
        assert_ne!(values(&ours, name), values(&theirs, name));
        load_backbone(&ours, &file)?;
        assert_eq!(values(&ours, name), values(&theirs, name));
        assert_eq!(values(&ours, "head.weight"), head);
    }
    Ok(())
}

#[test]
fn position_embeddings_of_another_size_are_resized() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backbone.safetensors");
    let smaller = [&VIT[..], &["data.size=112"]].concat();
    let (theirs, ours) = (network(&VIT, 4, 1)?, network(&smaller, 4, 2)?);
    published(&file, &theirs, "");
    load_backbone(&ours, &file)?;
    let positions = "backbone.pos_embed";
    let (ours, theirs) = (values(&ours, positions), values(&theirs, positions));
    assert_eq!(ours.len(), 12 * (14 * 14 + 1));
    // That of the class token has no place.
    assert_eq!(ours[..12], theirs[..12]);
    Ok(())
}

#[track_caller]
fn refused<T>(result: Result<T>, parts: &[&str]) {
    match result {
        Err(Error::Run(message)) => {
            for part in parts {
                assert!(message.contains(part), "{part:?} is not in: {message}");
            }
        }
        Err(other) => panic!("another kind of error: {other:?}"),
        Ok(_) => panic!("it was accepted"),
    }
}

#[test]
fn weights_that_do_not_fit_are_refused() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weights.safetensors");
    let ours = network(&RESNET, 4, 2)?;
    published(&file, &network(&RESNET, 4, 1)?, "conv1.weight");
    let name = "weights.safetensors";
    refused(
        load_backbone(&ours, &file),
        &[name, "backbone.conv1.weight"],
    );
    let wide = [&RESNET[..], &["model.resnet.width=8"]].concat();
    published(&file, &network(&wide, 4, 1)?, "");
    refused(load_backbone(&ours, &file), &[name, "model.backbone"]);
    published(&file, &network(&VIT, 4, 1)?, "");
    refused(load_backbone(&ours, &file), &[name, "model.backbone"]);

    let other = network(&RESNET, 5, 1)?;
    write(&file, &other.store.state(), HashMap::new())?;
    refused(
        load_all(&ours, &file),
        &[name, "head.weight", "the classes"],
    );
    let same = network(&RESNET, 4, 1)?;
    write(&file, &same.store.state(), HashMap::new())?;
    load_all(&ours, &file)?;
    assert_eq!(values(&ours, "head.weight"), values(&same, "head.weight"));
    refused(
        load_all(&ours, &folder.path().join("none.pth")),
        &["none.pth"],
    );
    Ok(())
}
