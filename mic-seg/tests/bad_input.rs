//! Images, labels and checkpoints that do not fit: each is handled, or refused with one message.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers outside #[test] functions

mod tiny;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use image::{GrayImage, Luma, Rgb, RgbImage};
use mic_data::files::{write_grey, write_rgb};
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

fn mic_seg(at: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mic-seg"));
    command.args(args).current_dir(at).output().unwrap()
}

fn train(at: &Path, out: &str, more: &[&str]) -> Output {
    let mut args = vec!["train", "--config", "run.toml", "-q", "--out", out];
    args.extend(more);
    mic_seg(at, &args)
}

#[track_caller]
fn done(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn refused(output: &Output, code: i32, parts: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert_eq!(stderr.matches("error:").count(), 1, "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{part:?} is not in: {stderr}");
    }
}

/// All weights and all scalars of a run are finite.
#[track_caller]
fn finite(at: &Path, run: &str) {
    let weights = candle_core::safetensors::load(
        at.join(run).join("checkpoint.safetensors"),
        &candle_core::Device::Cpu,
    )
    .unwrap();
    assert!(weights.len() > 20);
    for (name, tensor) in weights {
        let tensor = tensor.to_dtype(candle_core::DType::F64).unwrap();
        let sum = tensor.abs().unwrap().sum_all().unwrap();
        assert!(sum.to_scalar::<f64>().unwrap().is_finite(), "{name}");
    }
    let events = fs::read_to_string(at.join(run).join("events.jsonl")).unwrap();
    assert!(
        !events.contains("NaN") && !events.contains("inf"),
        "{events}"
    );
    let steps = events.lines().filter(|line| line.contains("\"scalars\""));
    assert_eq!(steps.count(), 2, "{events}");
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
    refused(
        &train(at.path(), "out", &sets),
        2,
        &["model.hrda.crop = [16, 20]", "multiples of"],
    );
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
    let events = fs::read_to_string(at.path().join("out/events.jsonl")).unwrap();
    let first = events
        .lines()
        .find(|line| line.contains("\"scalars\""))
        .unwrap();
    let first: serde_json::Value = serde_json::from_str(first).unwrap();
    assert_eq!(first["scalars"]["decode.loss_seg"], 0.0, "{first}");
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
    let at = folder((32, 32), (32, 32), stripes);
    let classes = "method.feature_distance_classes=[1]";
    let first = [
        "--set",
        "method.feature_distance=0",
        "--set",
        "train.iterations=1",
    ];
    done(&train(at.path(), "first", &first));
    let pretrained = "model.pretrained=first";
    // The label's stripes are 8 pixels wide, so that no position of the coarsest map has three
    // quarters of one class, and the distance counts nowhere.
    let with = |out: &str, distance: &str| {
        let set = format!("method.feature_distance={distance}");
        let sets = ["--set", pretrained, "--set", classes, "--set", &set];
        let ratio = ["--set", "method.feature_distance_min_ratio=1"];
        let whole = ["--set", "data.flip=false"];
        done(&train(
            at.path(),
            out,
            &[&sets[..], &ratio, &whole].concat(),
        ));
        finite(at.path(), out);
        let file = at.path().join(out).join("checkpoint.safetensors");
        candle_core::safetensors::load(file, &candle_core::Device::Cpu).unwrap()
    };
    let label = GrayImage::from_fn(32, 32, |x, _| Luma([(x % 3) as u8]));
    for name in ["a", "b"] {
        let path = at.path().join(format!("source/labels/{name}.png"));
        write_grey(&path, &label).unwrap();
    }
    let (none, empty) = (with("none", "0"), with("empty", "5"));
    for (name, tensor) in &none {
        let same = |t: &candle_core::Tensor| t.flatten_all().unwrap().to_vec1::<f32>().ok();
        assert_eq!(same(tensor), same(&empty[name]), "{name}");
    }
    // Where positions count, it does change something.
    let label = GrayImage::from_pixel(32, 32, Luma([1]));
    for name in ["a", "b"] {
        let path = at.path().join(format!("source/labels/{name}.png"));
        write_grey(&path, &label).unwrap();
    }
    let events = |out: &str| fs::read_to_string(at.path().join(out).join("events.jsonl")).unwrap();
    with("full", "5");
    assert!(events("full").contains("src.loss_imnet_feat_dist"));
    assert!(!events("empty").contains("src.loss_imnet_feat_dist"));
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
    let load = |run: &str| {
        let file = at.path().join(run).join("checkpoint.safetensors");
        candle_core::safetensors::load(file, &candle_core::Device::Cpu).unwrap()
    };
    let (three, four) = (load("three"), load("four"));
    let name = "model.backbone.patch_embed1.proj.0.weight";
    let name = match three.contains_key(name) {
        true => name.to_owned(),
        false => {
            let mut names = three
                .keys()
                .filter(|n| n.starts_with("model.backbone.patch_embed2"));
            names.find(|n| n.ends_with("proj.weight")).unwrap().clone()
        }
    };
    let values = |t: &candle_core::Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let pairs = values(&three[&name]).into_iter().zip(values(&four[&name]));
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
