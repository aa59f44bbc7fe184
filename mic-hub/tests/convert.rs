//! Converting files to our names, from the Hub and from elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::HashMap;
use std::fs;

use candle_core::{DType, Device, Tensor};
use common::program::{Machine, run};
use common::{COMMIT, Hub, sha256};
use mic_nn::models::mit::{Mit, MitConfig};
use mic_nn::models::resnet::{ResNet, ResNetConfig};
use mic_nn::params::Store;
use mic_nn::weights;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

fn store() -> Store {
    Store::trainable(ChaCha8Rng::seed_from_u64(3), DType::F32, &Device::Cpu)
}

/// The state of a MiT-B0 under our names.
fn mit() -> HashMap<String, Tensor> {
    let store = store();
    Mit::new(&MitConfig::variant(0).unwrap(), &store.root()).unwrap();
    store.state().into_iter().collect()
}

/// The same under the Hub's names, written out rule by rule.
fn hub_names(ours: &HashMap<String, Tensor>) -> Vec<(String, Tensor)> {
    let mut theirs = Vec::new();
    for (name, tensor) in ours {
        let parts: Vec<&str> = name.split('.').collect();
        let stage = |prefix: &str| parts[0].strip_prefix(prefix)?.parse::<usize>().ok();
        let encoder = "segformer.encoder";
        if let Some(stage) = stage("patch_embed") {
            let inner = if parts[1] == "norm" {
                "layer_norm"
            } else {
                "proj"
            };
            let rest = parts[2..].join(".");
            let name = format!("{encoder}.patch_embeddings.{}.{inner}.{rest}", stage - 1);
            theirs.push((name, tensor.clone()));
        } else if let Some(stage) = stage("norm") {
            let name = format!("{encoder}.layer_norm.{}.{}", stage - 1, parts[1]);
            theirs.push((name, tensor.clone()));
        } else {
            let stage = stage("block").unwrap() - 1;
            let block = format!("{encoder}.block.{stage}.{}", parts[1]);
            let last = parts[parts.len() - 1];
            let mut put = |inner: &str, tensor: &Tensor| {
                theirs.push((format!("{block}.{inner}.{last}"), tensor.clone()));
            };
            match &parts[2..parts.len() - 1] {
                ["norm1"] => put("layer_norm_1", tensor),
                ["norm2"] => put("layer_norm_2", tensor),
                ["attn", "q"] => put("attention.self.query", tensor),
                ["attn", "sr"] => put("attention.self.sr", tensor),
                ["attn", "norm"] => put("attention.self.layer_norm", tensor),
                ["attn", "proj"] => put("attention.output.dense", tensor),
                ["attn", "kv"] => {
                    let half = tensor.dim(0).unwrap() / 2;
                    put("attention.self.key", &tensor.narrow(0, 0, half).unwrap());
                    put(
                        "attention.self.value",
                        &tensor.narrow(0, half, half).unwrap(),
                    );
                }
                ["mlp", "fc1"] => put("mlp.dense1", tensor),
                ["mlp", "fc2"] => put("mlp.dense2", tensor),
                ["mlp", "dwconv", "dwconv"] => put("mlp.dwconv.dwconv", tensor),
                other => panic!("{other:?}"),
            }
        }
    }
    let classifier = Tensor::zeros((1000, 256), DType::F32, &Device::Cpu).unwrap();
    theirs.push(("classifier.weight".into(), classifier));
    theirs
}

fn saved(tensors: &[(String, Tensor)]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    weights::save(&path, tensors, &HashMap::new()).unwrap();
    fs::read(path).unwrap()
}

const MANIFEST: &str = "
[[weights]]
name = \"mit-b0\"
repository = \"nvidia/mit-b0\"
revision = \"0123456789abcdef0123456789abcdef01234567\"
file = \"model.safetensors\"
licence = \"research\"
network = \"mit-b0\"
saves = \"mit_b0.safetensors\"
aliases = [\"mit_b0.pth\"]
runs = [\"*_mitb0_*\"]

[[weights]]
name = \"resnet50\"
page = \"https://example.org/resnet50\"
file = \"resnet50-00000000.pth\"
sha256 = \"SHA\"
licence = \"BSD\"
network = \"resnet50\"
runs = [\"resnet\"]
";

fn same(a: &Tensor, b: &Tensor) -> bool {
    let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    a.dims() == b.dims() && values(a) == values(b)
}

#[test]
fn a_mit_of_the_hub_gets_our_names_and_a_report() {
    let hub = Hub::start();
    let ours = mit();
    hub.put(
        "nvidia/mit-b0",
        "model.safetensors",
        &saved(&hub_names(&ours)),
    );
    let machine = Machine::with(&hub, &MANIFEST.replace("SHA", "00000000"));
    let said = run(&mut machine.weights(&["--run", "gta2cs_daformer_mitb0_s0"])).done();
    let matched = format!("matched: {} tensors", ours.len());
    assert!(
        said.out.contains(&matched) && said.out.contains("missing: none"),
        "{}",
        said.out
    );
    assert!(said.out.contains("licence: research"), "{}", said.out);
    let path = machine.folder.path().join("weights/mit_b0.safetensors");
    let file = weights::load(&path).unwrap();
    assert_eq!(file.len(), ours.len());
    for (name, tensor) in &ours {
        assert!(same(&file.tensor(name).unwrap(), tensor), "{name}");
    }
    assert_eq!(file.metadata()["source"], "nvidia/mit-b0");
    assert_eq!(file.metadata()["source_commit"], COMMIT);
    assert_eq!(file.metadata()["licence"], "research");

    // Done once; a configuration finds it by another name.
    let config = "[model]\npretrained = \"weights/mit_b0.pth\"\n";
    fs::write(machine.folder.path().join("run.toml"), config).unwrap();
    let folder = machine.folder.path().join("configs/seg");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("mine.toml"), config).unwrap();
    run(&mut machine.weights(&["--run", "mine_s2"])).done();
    let said = run(&mut machine.weights(&["--run", "run.toml"])).done();
    assert!(
        said.out.contains("converted from it before"),
        "{}",
        said.out
    );
    assert!(
        said.err
            .contains("--set model.pretrained=weights/mit_b0.safetensors"),
        "{}",
        said.err
    );
}

#[test]
fn files_that_lack_tensors_are_named_and_nothing_is_written() {
    let hub = Hub::start();
    let mut theirs = hub_names(&mit());
    theirs.retain(|(name, _)| !name.ends_with("layer_norm.2.weight"));
    hub.put("nvidia/mit-b0", "model.safetensors", &saved(&theirs));
    let machine = Machine::with(&hub, &MANIFEST.replace("SHA", "00000000"));
    let said = run(&mut machine.weights(&["mit-b0"]));
    said.failed(
        1,
        &[
            "does not fit",
            "1 missing (norm3.weight)",
            "nothing was written",
        ],
    );
    assert!(!machine.folder.path().join("weights").exists());
    hub.put(
        "nvidia/mit-b0",
        "model.safetensors",
        b"<html>not weights</html>",
    );
    fs::remove_dir_all(machine.home()).unwrap();
    run(&mut machine.weights(&["mit-b0"])).failed(1, &["model.safetensors"]);
}

#[test]
fn files_from_elsewhere_come_from_a_path_and_are_compared_with_their_name() {
    let hub = Hub::start();
    let store = store();
    let config = ResNetConfig {
        classes: Some(10),
        ..ResNetConfig::torchvision(50).unwrap()
    };
    ResNet::new(&config, &store.root()).unwrap();
    let bytes = saved(&store.state());
    let hash = sha256(&bytes);
    let machine = Machine::with(&hub, &MANIFEST.replace("SHA", &hash[..8]));
    fs::write(machine.folder.path().join("mine.pth"), &bytes).unwrap();
    let said = run(&mut machine.weights(&["--run", "resnet"]));
    said.failed(
        2,
        &[
            "not on the Hub",
            "https://example.org/resnet50",
            "--from FILE",
            "BSD",
        ],
    );
    let said = run(&mut machine.weights(&["resnet50", "--from", "mine.pth"])).done();
    assert!(
        said.out.contains("unexpected (kept): fc.bias, fc.weight"),
        "{}",
        said.out
    );
    let file = machine.folder.path().join("weights/resnet50.safetensors");
    assert!(weights::load(&file).unwrap().shape("fc.weight").is_some());
    let said = run(&mut machine.weights(&["--run", "resnet"])).done();
    assert!(said.out.contains("resnet50.safetensors"), "{}", said.out);
    fs::write(machine.folder.path().join("mine.pth"), &bytes[1..]).unwrap();
    let said = run(&mut machine.weights(&["resnet50", "--from", "mine.pth"]));
    said.failed(1, &["mine.pth is not what it should be", &hash[..8]]);
    let said = run(&mut machine.weights(&["resnet50", "--from", "none.pth"]));
    said.failed(1, &["none.pth"]);
}
