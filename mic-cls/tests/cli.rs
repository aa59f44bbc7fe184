//! The program as users run it: what it writes, what it says, and its exit codes.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers outside #[test] functions

#[path = "../../testdata/output.rs"]
mod output;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use candle_core::Device;
use image::{Rgb, RgbImage};
use mic_data::files::write_rgb;
use output::{done, json, kill_in_training, refused, same_end};
use serde_json::Value;
use tempfile::TempDir;

/// A run of seconds on the folders that [`workplace`] makes.
const CONFIG: &str = r#"
seed = 4
[model]
backbone = "resnet"
bottleneck = 8
[model.resnet]
depths = [1, 1]
width = 4
[data]
size = 32
resize = 36
loader_threads = 1
[data.source]
kind = "folder"
root = "source"
[data.target]
kind = "images"
root = "target"
suffix = ".png"
[data.test]
kind = "folder"
root = "test"
[method]
discriminator = 8
[mask]
block = 8
[optimizer]
lr = 0.02
[train]
iterations = 60
batch = 4
eval_every = 20
[run]
checkpoint_every = 7
"#;

const CLASSES: [&str; 3] = ["blue", "green", "red, warm"];

/// An image whose strongest channel tells its class; `shade` makes another domain.
fn picture(class: usize, number: usize, shade: u8) -> RgbImage {
    RgbImage::from_fn(40, 36, |x, y| {
        let noise = ((x * 7 + y * 13 + number as u32 * 29) % 60) as u8;
        let mut pixel = [shade + noise / 2; 3];
        pixel[2 - class] = 190 + noise;
        Rgb(pixel)
    })
}

fn workplace(more: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("run.toml"), format!("{CONFIG}{more}")).unwrap();
    for (set, shade, count) in [("source", 0, 4), ("test", 90, 3)] {
        for (class, name) in CLASSES.iter().enumerate() {
            for number in 0..count {
                let file = at.join(format!("{set}/{name}/{number}.png"));
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                write_rgb(&file, &picture(class, number, shade)).unwrap();
            }
        }
    }
    fs::create_dir_all(at.join("target")).unwrap();
    for number in 0..9 {
        let image = picture(number % 3, 10 + number, 90);
        write_rgb(&at.join(format!("target/{number}.png")), &image).unwrap();
    }
    folder
}

fn command(at: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mic-cls"));
    // What users may have set must not leak stack frames into messages.
    command
        .args(args)
        .current_dir(at)
        .env("RUST_BACKTRACE", "1");
    command
}

fn mic_cls(at: &Path, args: &[&str]) -> Output {
    command(at, args).output().unwrap()
}

fn train(at: &Path, out: &str, more: &[&str]) -> Output {
    let args = ["train", "--config", "run.toml", "--quiet", "--out", out];
    mic_cls(at, &[&args, more].concat())
}

fn files_below(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for path in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path.display().to_string());
        }
    }
    files
}

#[test]
fn a_run_is_trained_measured_and_used() {
    let folder = workplace("");
    let at = folder.path();
    let table = done(&train(at, "out", &[]));
    assert!(
        table.contains("red, warm") && table.contains("mean"),
        "{table}"
    );
    for name in ["config.toml", "run.json", "report.html", "tensorboard"] {
        assert!(at.join("out").join(name).exists(), "{name}");
    }
    for picture in ["confusion", "answers"] {
        let names = files_below(&at.join("out/pictures"));
        let shown = names.iter().filter(|name| name.contains(picture)).count();
        assert_eq!(shown, 3, "{picture}: {names:?}");
    }
    let metrics = json(&at.join("out/metrics.json"));
    assert_eq!(metrics["classes"].as_array().unwrap().len(), 3);
    assert_eq!(metrics["evaluations"].as_array().unwrap().len(), 3);
    let trained = &metrics["test"]["scores"];
    assert!(trained["top1"].as_f64().unwrap() > 0.5, "{trained}");
    let config = fs::read_to_string(at.join("out/config.toml")).unwrap();
    assert!(config.contains("\"red, warm\""), "{config}");

    let checkpoint = ["--checkpoint", "out/checkpoint.safetensors"];
    let eval = [&["eval", "--json", "e.json", "--quiet"], &checkpoint[..]].concat();
    assert_eq!(done(&mic_cls(at, &eval)), table);
    let measured = json(&at.join("e.json"));
    assert_eq!(measured["images"], 9);
    let same = [("top1", "top1"), ("mean_class", "mean_class")];
    for (ours, theirs) in same {
        assert_eq!(measured["metrics"][ours], trained[theirs], "{ours}");
    }
    let counted: u64 = measured["confusion"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|row| {
            row.as_array()
                .unwrap()
                .iter()
                .map(|count| count.as_u64().unwrap())
        })
        .sum();
    assert_eq!(counted, 9);

    let predict = [&["predict", "test"], &checkpoint[..]].concat();
    let lines = done(&mic_cls(at, &predict));
    let lines: Vec<Value> = lines
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), 9);
    let right = lines.iter().filter(|line| {
        let class = line["class"].as_str().unwrap();
        line["image"]
            .as_str()
            .unwrap()
            .contains(&format!("/{class}/"))
    });
    let share = right.count() as f64 / 9.0;
    assert!((share - trained["top1"].as_f64().unwrap()).abs() < 1e-9);
    for line in &lines {
        let shares = line["probabilities"].as_object().unwrap();
        let sum: f64 = shares.values().map(|p| p.as_f64().unwrap()).sum();
        assert!(shares.len() == 3 && (sum - 1.0).abs() < 1e-5, "{line}");
        assert_eq!(shares[line["class"].as_str().unwrap()], line["probability"]);
    }
    let csv = [
        &["predict", "target/0.png", "--format", "csv"],
        &checkpoint[..],
    ]
    .concat();
    let csv = done(&mic_cls(at, &csv));
    assert!(
        csv.starts_with("image,class,probability,blue,green,\"red, warm\"\n"),
        "{csv}"
    );
    assert_eq!(csv.lines().count(), 2);
}

#[test]
fn a_killed_run_ends_as_if_it_had_not_been() {
    let folder = workplace("");
    let at = folder.path();
    let long = ["--set", "train.iterations=300"];
    done(&train(at, "whole", &long));
    let args = [
        "train", "--config", "run.toml", "--quiet", "--out", "killed",
    ];
    kill_in_training(
        command(at, &[&args[..], &long].concat()),
        &at.join("killed"),
    );
    let resume = ["train", "--out", "killed", "--resume", "--quiet"];
    done(&mic_cls(at, &resume));
    same_end(&at.join("whole"), &at.join("killed"), 300);
    // Threads only prepare the batches.
    let threads = ["--set", "data.loader_threads=0"];
    done(&train(at, "threads", &[long, threads].concat()));
    same_end(&at.join("whole"), &at.join("threads"), 300);
}

#[test]
fn the_teacher_can_be_the_one_that_counts() {
    let folder = workplace("");
    let at = folder.path();
    let sets = [
        "train.iterations=10",
        "train.evaluate=teacher",
        "mask.teacher_norm=running",
    ];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let table = done(&train(at, "out", &sets));
    let eval = [
        "eval",
        "--checkpoint",
        "out/checkpoint.safetensors",
        "--quiet",
    ];
    assert_eq!(done(&mic_cls(at, &eval)), table);
}

#[test]
fn wrong_data_is_refused_with_what_is_wrong() {
    let folder = workplace("");
    let at = folder.path();
    let set = |set: &str| train(at, "out", &["--set", set]);
    refused(&set("train.batch=500"), 2, &["train.batch", "500"]);
    refused(
        &set("data.source.root=nowhere"),
        2,
        &["data.source", "nowhere"],
    );
    refused(&set("data.target.suffix=.gif"), 2, &["data.target", ".gif"]);
    refused(&set("mask.blok=4"), 2, &["did you mean mask.block?"]);
    refused(&set("data.classes=[\"a\"]"), 2, &["data.classes"]);
    assert!(!at.join("out").exists());
    let missing = ["--set", "model.pretrained=none.pth"];
    refused(&train(at, "missing", &missing), 1, &["none.pth"]);

    fs::create_dir_all(at.join("test/violet")).unwrap();
    refused(&train(at, "out", &[]), 2, &["data.test", "violet"]);
    write_rgb(&at.join("test/violet/0.png"), &picture(0, 0, 0)).unwrap();
    refused(&train(at, "out", &[]), 2, &["data.test", "violet"]);
    fs::remove_dir_all(at.join("test/violet")).unwrap();

    fs::write(at.join("source/blue/0.png"), "no image").unwrap();
    refused(&train(at, "broken", &[]), 1, &["source/blue/0.png"]);
    refused(
        &mic_cls(at, &["predict", "--checkpoint", "none.pth", "target"]),
        1,
        &["none.pth"],
    );
    refused(
        &command(at, &["train", "--config", "run.toml", "--out", "o"])
            .envs([("WORLD_SIZE", "2"), ("RANK", "0"), ("LOCAL_RANK", "0")])
            .envs([("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "29511")])
            .output()
            .unwrap(),
        2,
        &["one process"],
    );
}

#[test]
fn checkpoints_of_other_programs_need_a_configuration() {
    let folder = workplace("");
    let at = folder.path();
    done(&train(at, "out", &["--set", "train.iterations=3"]));
    // A bare state dict of the student, as the published code saves it.
    let own = at.join("out/checkpoint.safetensors");
    let all = candle_core::safetensors::load(&own, &Device::Cpu).unwrap();
    let student = all
        .into_iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("model.")?.to_owned(), tensor)));
    let student: std::collections::HashMap<_, _> = student.collect();
    candle_core::safetensors::save(&student, at.join("bare.safetensors")).unwrap();
    let bare = ["eval", "--quiet", "--checkpoint", "bare.safetensors"];
    refused(&mic_cls(at, &bare), 2, &["--config"]);
    let with = [&bare[..], &["--config", "run.toml"]].concat();
    refused(&mic_cls(at, &with), 2, &["data.classes is missing"]);
    let names = "data.classes=[\"blue\", \"green\", \"red, warm\"]";
    let with = [&with[..], &["--set", names]].concat();
    let ours = [
        "eval",
        "--quiet",
        "--checkpoint",
        "out/checkpoint.safetensors",
    ];
    assert_eq!(done(&mic_cls(at, &with)), done(&mic_cls(at, &ours)));
}
