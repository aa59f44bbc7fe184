//! Images, lists, weights and options that cannot work, through the program: one clear message, the
//! right exit code, and no panic.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/output.rs"]
mod output;
mod pictures;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use candle_core::{DType, Device, Tensor};
use image::DynamicImage;
use output::{done, failed as refused};
use pictures::{picture, put};
use tempfile::TempDir;

const CONFIG: &str = r#"
[model]
backbone = "resnet"
bottleneck = 6
[model.resnet]
depths = [1, 1]
width = 4
[data]
size = 16
resize = 18
loader_threads = 1
[data.source]
kind = "folder"
root = "source"
[data.target]
kind = "folder"
root = "target"
[data.test]
kind = "folder"
root = "test"
[method]
discriminator = 4
[mask]
block = 4
[train]
iterations = 2
batch = 4
"#;

fn image(shade: u8) -> DynamicImage {
    picture(18, shade)
}

fn workplace() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("run.toml"), CONFIG).unwrap();
    for (set, shade) in [("source", 0), ("target", 80), ("test", 160)] {
        for class in ["cat", "dog"] {
            for number in 0..4 {
                put(
                    &at.join(format!("{set}/{class}/{number}.png")),
                    &image(shade + 10 * number),
                );
            }
        }
    }
    folder
}

fn train(at: &Path, out: &str, sets: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mic-cls"));
    let args = ["train", "--config", "run.toml", "--quiet", "--out", out];
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let command = command.args(args).args(sets).current_dir(at);
    command.env("RUST_BACKTRACE", "1").output().unwrap()
}

#[test]
fn a_class_in_one_domain_only_is_named() {
    let folder = workplace();
    let at = folder.path();
    put(&at.join("target/bird/0.png"), &image(9));
    refused(&train(at, "a", &[]), 2, &["data.target", "bird"]);
    fs::remove_dir_all(at.join("target/bird")).unwrap();
    put(&at.join("source/fish/0.png"), &image(9));
    refused(&train(at, "b", &[]), 2, &["only the source has [\"fish\"]"]);
}

#[test]
fn an_empty_class_is_named() {
    let folder = workplace();
    let at = folder.path();
    fs::create_dir(at.join("source/fish")).unwrap();
    refused(&train(at, "a", &[]), 2, &["data.source", "class \"fish\""]);
}

#[test]
fn single_images_and_batches_larger_than_a_set_are_refused() {
    let folder = workplace();
    let at = folder.path();
    // Incomplete batches are left out, as in the published code, so nothing would be left.
    refused(
        &train(at, "a", &["train.batch=9"]),
        2,
        &["train.batch", "8", "9"],
    );
    refused(
        &train(at, "b", &["train.batch=1"]),
        2,
        &["train.batch", "2"],
    );
    for number in 1..4 {
        for class in ["cat", "dog"] {
            fs::remove_file(at.join(format!("target/{class}/{number}.png"))).unwrap();
        }
    }
    refused(&train(at, "c", &[]), 2, &["train.batch", "target"]);
}

#[test]
fn grey_and_transparent_images_are_trained_on() {
    let folder = workplace();
    let at = folder.path();
    let (grey, alpha) = (image(3).to_luma8(), image(4).to_rgba8());
    put(&at.join("source/cat/0.png"), &grey.into());
    put(&at.join("source/dog/0.png"), &alpha.into());
    put(
        &at.join("target/dog/0.png"),
        &image(5).to_luma_alpha8().into(),
    );
    put(&at.join("test/dog/0.png"), &image(6).to_rgb16().into());
    done(&train(at, "a", &[]));
}

#[test]
fn lists_with_missing_files_and_wrong_labels_are_refused() {
    let folder = workplace();
    let at = folder.path();
    let sets = [
        "data.source.kind=list",
        "data.source.list=source.txt",
        "data.source.root=source",
        "data.source.class_names=[\"cat\", \"dog\"]",
        "data.loader_threads=0",
    ];
    let list = |text: &str| fs::write(at.join("source.txt"), text).unwrap();
    list("cat/0.png 0\ncat/1.png 2\n");
    let parts = ["source.txt: line 2", "from 0 to 1", "\"2\""];
    refused(&train(at, "a", &sets), 2, &parts);
    list("cat/0.png 0\ncat/gone.png 0\ndog/0.png 1\ndog/gone.png 1\n");
    refused(&train(at, "b", &sets), 1, &["gone.png"]);
    list("cat/0.png\n");
    refused(&train(at, "c", &sets), 2, &["source.txt: line 1"]);
    list("");
    refused(&train(at, "d", &sets), 2, &["source.txt", "no image"]);
    let missing = [&sets[..], &["data.source.list=nowhere.txt"]].concat();
    refused(&train(at, "e", &missing), 2, &["nowhere.txt"]);
}

/// The published code takes every timm model for one of 768 features.
#[test]
fn weights_of_another_width_are_refused() {
    let folder = workplace();
    let at = folder.path();
    done(&train(at, "a", &[]));
    let wider = [
        "model.resnet.width=8",
        "model.pretrained=a/checkpoint.safetensors",
    ];
    let parts = ["a/checkpoint.safetensors", "does not fit", "model.backbone"];
    refused(&train(at, "b", &wider), 1, &parts);
    let from = [
        "train.init_from=a/checkpoint.safetensors",
        "model.bottleneck=7",
    ];
    refused(&train(at, "c", &from), 1, &["does not fit the model"]);
    let bare = Tensor::zeros((2, 2), DType::F32, &Device::Cpu).unwrap();
    bare.save_safetensors("unrelated", at.join("other.safetensors"))
        .unwrap();
    let other = ["model.pretrained=other.safetensors"];
    refused(&train(at, "d", &other), 1, &["other.safetensors"]);
    let odd = ["model.backbone=vit", "model.vit.patch=5"];
    refused(&train(at, "e", &odd), 2, &["data.size", "5 pixels"]);
}

#[test]
fn kinds_that_do_not_fit_their_place_are_refused() {
    let folder = workplace();
    let at = folder.path();
    let sets = ["data.source.kind=images"];
    refused(
        &train(at, "a", &sets),
        2,
        &["data.source.kind", "data.target"],
    );
    let sets = ["data.source.kind=digits"];
    refused(&train(at, "b", &sets), 2, &["data.source.set", "optdigits"]);
    let sets = ["data.source.kind=digits", "data.source.set=svhn"];
    refused(&train(at, "c", &sets), 2, &["data.source.set", "svhn"]);
    let sets = ["data.source.kind=office31"];
    refused(
        &train(at, "d", &sets),
        2,
        &["data.source.kind", "office_home"],
    );
    refused(
        &train(at, "e", &["mask.block=64"]),
        2,
        &["mask.block", "16"],
    );
}

#[test]
fn features_need_images_enough() {
    let folder = workplace();
    let at = folder.path();
    done(&train(at, "a", &[]));
    let features = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mic-cls"));
        let fixed = ["features", "--checkpoint", "a", "--out", "f"];
        let command = command.args(fixed).args(args).current_dir(at);
        command.output().unwrap()
    };
    refused(&features(&[]), 2, &["--perplexity 30", "--embedding pca"]);
    refused(
        &features(&["--count", "3", "--embedding", "pca"]),
        1,
        &["too few"],
    );
    let output = features(&["--embedding", "pca"]);
    done(&output);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("A-distance"), "{text}");
    for name in ["domains.png", "classes.png", "confusion.png"] {
        assert!(
            image::open(at.join("f").join(name)).unwrap().width() > 40,
            "{name}"
        );
    }
    let csv = fs::read_to_string(at.join("f/points.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 16);
    // Of target images the class is not known.
    assert!(
        csv.lines()
            .filter(|l| l.starts_with("target"))
            .all(|l| l.contains(",,"))
    );
    let json = fs::read_to_string(at.join("f/features.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["features"], &json["source"]), (&6.into(), &8.into()));
    assert!(json["metrics"]["mean_class"].is_number());
    let distance = json["domain_distance"]["a_distance"].as_f64().unwrap();
    assert!((-2.0..=2.0).contains(&distance));
    let tsne = features(&["--perplexity", "3"]);
    done(&tsne);
}
