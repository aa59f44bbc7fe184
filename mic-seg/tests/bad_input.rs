//! Images, labels and checkpoints that do not fit: each is handled, or refused with one message.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers outside #[test] functions

mod program;
mod tiny;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Output;

use candle_core::{DType, Device, Tensor};
use image::{GrayImage, Luma, Rgb, RgbImage};
use mic_data::files::{write_grey, write_rgb};
use program::{done, mic_seg, refused};
use tempfile::TempDir;
use tiny::NETWORK;

const RUN: &str = r#"
[data]
classes = "custom"
class_names = ["leaf", "fruit", "soil"]
crop = [32, 32]
[data.source]
kind = "folder"
root = "source"
images = "images"
labels = "labels"
[data.target]
kind = "folder"
root = "target"
[data.test]
kind = "folder"
root = "source"
images = "images"
labels = "labels"
[mask]
block = 8
[optimizer]
warmup = 0
[train]
iterations = 2
"#;

/// A working folder with labelled source images of one size and target images of another.
fn folder(source: (u32, u32), target: (u32, u32), label: impl Fn(u32) -> u8) -> TempDir {
    let at = tempfile::tempdir().unwrap();
    let path = |name: &str| {
        let path = at.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    let image = |(width, height)| {
        RgbImage::from_fn(width, height, |x, y| {
            Rgb([x as u8 * 5, y as u8 * 5, (x * y) as u8])
        })
    };
    for name in ["a", "b"] {
        write_rgb(&path(&format!("source/images/{name}.png")), &image(source)).unwrap();
        let label = GrayImage::from_fn(source.0, source.1, |x, _| Luma([label(x)]));
        write_grey(&path(&format!("source/labels/{name}.png")), &label).unwrap();
        write_rgb(&path(&format!("target/{name}.png")), &image(target)).unwrap();
    }
    fs::write(at.path().join("run.toml"), format!("{NETWORK}{RUN}")).unwrap();
    at
}

fn stripes(x: u32) -> u8 {
    (x / 8 % 3) as u8
}

fn train(at: &Path, out: &str, more: &[&str]) -> Output {
    let mut args = vec!["train", "--config", "run.toml", "-q", "--out", out];
    args.extend(more);
    mic_seg(at, &args)
}

const DISTANCE: &str = "src.loss_imnet_feat_dist";

/// The weights at the end of a run.
fn load(at: &Path, run: &str) -> HashMap<String, Tensor> {
    let file = at.join(run).join("checkpoint.safetensors");
    candle_core::safetensors::load(file, &Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.to_dtype(DType::F64).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// All weights and all scalars of a run are finite, but for the feature distance.
#[track_caller]
fn finite(at: &Path, run: &str) {
    let weights = load(at, run);
    assert!(weights.len() > 20);
    for (name, tensor) in weights {
        assert!(values(&tensor).iter().all(|v| v.is_finite()), "{name}");
    }
    let steps = steps(at, run);
    assert_eq!(steps.len(), 2);
    for step in steps {
        // What is not finite is null there.
        let scalars = step["scalars"].as_object().unwrap();
        let mut counted = scalars.iter().filter(|(name, _)| *name != DISTANCE);
        assert!(counted.all(|(_, value)| value.is_f64()), "{step}");
    }
}

/// What a run tells of its steps.
fn steps(at: &Path, run: &str) -> Vec<serde_json::Value> {
    let events = fs::read_to_string(at.join(run).join("events.jsonl")).unwrap();
    let events = events
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    events
        .filter(|event: &serde_json::Value| event["event"] == "step")
        .collect()
}

#[test]
fn images_smaller_than_the_crop_are_filled_up() {
    let at = folder((20, 28), (24, 16), stripes);
    done(&train(at.path(), "out", &[]));
    finite(at.path(), "out");
    let hrda = ["--set", "model.hrda.crop=[16, 16]"];
    done(&train(at.path(), "hrda", &hrda));
    finite(at.path(), "hrda");
}

#[test]
fn hrda_without_a_crop_says_which_images_are_too_small() {
    let at = folder((40, 40), (40, 40), stripes);
    let sets = ["--set", "data.crop=", "--set", "model.hrda.crop=[64, 64]"];
    let parts = ["detail crop is 64 x 64", "40 x 40", "model.hrda.crop"];
    refused(&train(at.path(), "out", &sets), 1, &parts);
    // Sides that are no multiples of the step, on the other hand, can be trained on.
    let sets = [
        "--set",
        "data.crop=[39, 37]",
        "--set",
        "model.hrda.crop=[16, 24]",
    ];
    done(&train(at.path(), "odd", &sets));
    finite(at.path(), "odd");
    let sets = ["--set", "model.hrda.crop=[16, 20]"];
    let parts = ["model.hrda.crop = [16, 20]", "multiples of"];
    refused(&train(at.path(), "grid", &sets), 2, &parts);
}

#[test]
fn labels_without_a_class_give_a_loss_of_zero_and_no_scores() {
    let at = folder((32, 32), (32, 32), |_| 255);
    let table = done(&train(at.path(), "out", &[]));
    finite(at.path(), "out");
    for line in table.lines().skip(1).filter(|line| !line.starts_with('-')) {
        let cells: Vec<&str> = line.split_whitespace().skip(1).collect();
        assert_eq!(cells, ["-", "-"], "{table}");
    }
    for step in steps(at.path(), "out") {
        assert_eq!(step["scalars"]["decode.loss_seg"], 0.0, "{step}");
    }
    // There is no class to prefer.
    let sampling = ["--set", "data.rare_class_sampling.min_pixels=1"];
    let output = train(at.path(), "rare", &sampling);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_ne!(output.status.code(), Some(0), "{stderr}");
    assert!(
        stderr.contains("class") && !stderr.contains("panicked"),
        "{stderr}"
    );
}

#[test]
fn a_feature_distance_without_positions_changes_nothing() {
    // Columns of the three classes by turns: no position of the coarsest map has one class alone.
    let at = folder((32, 32), (32, 32), |x| (x % 3) as u8);
    done(&train(at.path(), "first", &["--set", "train.iterations=1"]));
    let with = |out: &str, distance: &str| {
        let distance = format!("method.feature_distance={distance}");
        let sets = [
            "model.pretrained=first",
            "method.feature_distance_classes=[1]",
            "method.feature_distance_min_ratio=1",
            &distance,
        ];
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        done(&train(at.path(), out, &sets));
        finite(at.path(), out);
        load(at.path(), out)
    };
    let (none, empty) = (with("none", "0"), with("empty", "5"));
    for (name, tensor) in &none {
        assert_eq!(values(tensor), values(&empty[name]), "{name}");
    }
    // Told as in the original, where the mean over nothing is not a number.
    for step in steps(at.path(), "empty") {
        assert!(step["scalars"][DISTANCE].is_null(), "{step}");
    }
    // Where positions count, it does change something.
    for name in ["a", "b"] {
        let path = at.path().join(format!("source/labels/{name}.png"));
        write_grey(&path, &GrayImage::from_pixel(32, 32, Luma([1]))).unwrap();
    }
    with("full", "5");
    for step in steps(at.path(), "full") {
        assert!(step["scalars"][DISTANCE].is_f64(), "{step}");
    }
}

#[test]
fn weights_of_other_classes_are_started_from_without_their_head() {
    let at = folder((32, 32), (32, 32), stripes);
    done(&train(at.path(), "three", &[]));
    let four = [
        "--set",
        "data.class_names=[\"leaf\", \"fruit\", \"soil\", \"stone\"]",
    ];
    let from = ["--init-from", "three"];
    let output = train(at.path(), "four", &[&four[..], &from].concat());
    let parts = [
        "three",
        "has 3 classes",
        "configuration 4",
        "--init-from three",
        "--without-head",
    ];
    refused(&output, 1, &parts);
    let without = ["--without-head", "--set", "optimizer.lr=1e-12"];
    done(&train(
        at.path(),
        "four",
        &[&four[..], &from, &without, &["--overwrite"]].concat(),
    ));
    finite(at.path(), "four");
    let (three, four) = (load(at.path(), "three"), load(at.path(), "four"));
    let name = "model.backbone.patch_embed2.proj.weight";
    let pairs = values(&three[name]).into_iter().zip(values(&four[name]));
    assert!(pairs.clone().count() > 0);
    // The backbone is that of the first run, up to steps of next to nothing.
    assert!(pairs.clone().all(|(a, b)| (a - b).abs() < 1e-6), "{name}");
    assert_eq!(four["model.decode_head.conv_seg.bias"].dims(), [4]);
    // And for evaluation the message says what does not fit.
    let file = fs::read_to_string(at.path().join("run.toml")).unwrap();
    fs::write(
        at.path().join("other.toml"),
        file.replace("[\"leaf\", ", "[\"stem\", \"leaf\", "),
    )
    .unwrap();
    let args = ["eval", "--checkpoint", "three", "--config", "other.toml"];
    refused(
        &mic_seg(at.path(), &args),
        2,
        &["leaf, fruit, soil", "stem, leaf, fruit, soil"],
    );
}

#[test]
fn stray_files_in_the_targets_folder_are_passed_over_or_named() {
    let at = folder((32, 32), (32, 32), stripes);
    let target = at.path().join("target");
    for name in [
        "notes.txt",
        "Thumbs.db",
        ".DS_Store",
        ".hidden.png",
        "a.png.part",
    ] {
        fs::write(target.join(name), "stray").unwrap();
    }
    fs::create_dir_all(target.join("empty")).unwrap();
    fs::create_dir_all(target.join("folder.png")).unwrap();
    done(&train(at.path(), "out", &[]));
    finite(at.path(), "out");
    // What has an image's name and is none cannot be passed over silently.
    fs::write(target.join("broken.png"), "no image").unwrap();
    let sets = ["--set", "train.iterations=20"];
    refused(
        &train(at.path(), "broken", &sets),
        1,
        &["target/broken.png"],
    );
}
