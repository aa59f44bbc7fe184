//! The program as users run it: what it writes, what it says, and its exit codes.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers outside #[test] functions

mod program;
mod tiny;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;

use image::RgbImage;
use mic_data::files::write_rgb;
use program::{LEAVES, done, files, folder, leaves, mic_seg, refused, scenes, text, tiny, train};
use tempfile::TempDir;

/// A checkpoint of [`scenes`], trained once for all tests, and what its training said.
fn trained() -> &'static (TempDir, PathBuf, Output) {
    static RUN: OnceLock<(TempDir, PathBuf, Output)> = OnceLock::new();
    RUN.get_or_init(|| {
        let at = folder(&scenes());
        let output = train(at.path(), &["--log-every", "2"]);
        let checkpoint = at.path().join("out/checkpoint.safetensors");
        (at, checkpoint, output)
    })
}

#[test]
fn train_writes_a_whole_run_folder() {
    let (at, _, output) = trained();
    let table = done(output);
    assert!(table.contains("road") && table.contains("mean"), "{table}");
    let progress = text(&output.stderr);
    for part in [
        "step 2/3",
        "step 3/3",
        "steps/s",
        "loss",
        "evaluation at step 2",
    ] {
        assert!(progress.contains(part), "{part:?} is not in: {progress}");
    }
    let out = at.path().join("out");
    let expected = [
        "checkpoint.safetensors",
        "checkpoints",
        "config.toml",
        "events.jsonl",
        "lock",
        "metrics.json",
        "pictures",
        "report.html",
        "run.json",
        "tensorboard",
    ];
    assert_eq!(files(&out), expected);
    assert_eq!(
        files(&out.join("checkpoints")),
        ["step-00000002", "step-00000003"]
    );
    assert_eq!(files(&out.join("pictures/test")).len(), 2 * 3);

    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    let json = |text: &str| -> serde_json::Value { serde_json::from_str(text).unwrap() };
    let events = read("events.jsonl");
    let events = events.lines().map(json);
    let events: Vec<_> = events.filter(|event| event["event"] == "step").collect();
    let steps: Vec<u64> = events.iter().map(|e| e["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [0, 1, 2]);
    for event in &events {
        let scalars = event["scalars"].as_object().unwrap();
        assert!(scalars["grad_norm"].as_f64().unwrap() > 0.0, "{event}");
        let losses = scalars.iter().filter(|(name, _)| name.contains("loss"));
        assert!(losses.clone().count() >= 3, "{event}");
        assert!(losses.clone().all(|(_, v)| v.is_f64()), "{event}");
    }
    let metrics = json(&read("metrics.json"));
    assert_eq!(metrics["iterations"], 3);
    assert_eq!(metrics["classes"].as_array().unwrap().len(), 19);
    let evaluations = metrics["evaluations"].as_array().unwrap();
    let steps: Vec<_> = evaluations.iter().map(|e| &e["step"]).collect();
    assert_eq!(steps, [2, 3]);
    let miou = metrics["test"]["scores"]["mIoU"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&miou), "{miou}");
    assert_eq!(metrics["test"], evaluations[1]);
    // The saved configuration is whole: it needs no defaults and runs as it is.
    let config = read("config.toml");
    assert!(config.contains("pseudo_threshold = 0.968"), "{config}");
}

#[test]
fn a_used_folder_is_refused_unless_overwritten() {
    let at = folder(&scenes());
    fs::create_dir(at.path().join("out")).unwrap();
    fs::write(at.path().join("out/notes.txt"), "mine").unwrap();
    refused(
        &train(at.path(), &[]),
        2,
        &["out is not empty", "--overwrite"],
    );
    assert_eq!(files(&at.path().join("out")), ["notes.txt"]);
    let sets = [
        "--overwrite",
        "-q",
        "--set",
        "train.iterations=1",
        "--set",
        "data.test=",
    ];
    let output = train(at.path(), &sets);
    assert_eq!(done(&output), "");
    assert_eq!(text(&output.stderr), "");
    // What another program put there stays; without test data there are no pictures.
    let left = files(&at.path().join("out"));
    assert!(
        left.contains(&"notes.txt".to_owned()) && left.len() == 10,
        "{left:?}"
    );
}

#[test]
fn an_unwritable_folder_is_refused_before_training() {
    let at = folder(&scenes());
    fs::write(at.path().join("file"), "").unwrap();
    for out in ["file", "file/run"] {
        let args = ["train", "--config", "run.toml", "--out", out];
        let parts = ["cannot write run folder", out, "--out"];
        refused(&mic_seg(at.path(), &args), 2, &parts);
    }
}

#[test]
fn wrong_configurations_are_refused_and_leave_nothing() {
    let at = folder(&scenes());
    for (set, parts) in [
        ("mask.blok=4", &["unknown key mask.blok", "mask.block"][..]),
        ("mask.ratio=1.5", &["mask.ratio = 1.5", "from 0 to 1"]),
        ("mask.block=33", &["mask.block = 33", "32 x 32"]),
        ("train.batch=two", &["train.batch"]),
        ("nonsense", &["key=value"]),
    ] {
        refused(&train(at.path(), &["--set", set]), 2, parts);
        assert_eq!(files(at.path()), ["run.toml"], "{set}");
    }
    let missing = ["train", "--config", "none.toml", "--out", "out"];
    refused(&mic_seg(at.path(), &missing), 2, &["none.toml"]);
}

#[test]
fn usage_errors_have_exit_code_2_and_help_has_examples() {
    let at = folder("");
    for args in [
        &["train"][..],
        &["fly"],
        &["predict", "--checkpoint", "x", "--out", "y"],
        &[
            "predict",
            "--checkpoint",
            "x",
            "--out",
            "y",
            "--opacity",
            "2",
            "z",
        ],
    ] {
        assert_eq!(mic_seg(at.path(), args).status.code(), Some(2), "{args:?}");
    }
    for command in ["train", "eval", "predict", "config"] {
        let help = done(&mic_seg(at.path(), &[command, "--help"]));
        assert!(help.contains("Examples:"), "{help}");
    }
}

#[test]
fn folders_of_ones_own_classes_can_be_trained_on() {
    let at = folder(&(tiny() + LEAVES));
    leaves(at.path());
    let table = done(&train(at.path(), &["--set", "train.iterations=1"]));
    for class in ["leaf", "fruit", "soil"] {
        assert!(table.contains(class), "{table}");
    }
}

#[test]
fn unusable_data_is_refused_by_name() {
    let config = tiny() + LEAVES;
    let at = folder(&config);
    let images = at.path().join("leaves/images");
    let missing = ["data.source", "leaves/labels"];
    refused(&train(at.path(), &[]), 2, &missing);

    leaves(at.path());
    let suffix = ["--set", "data.target.image_suffix=.tif"];
    refused(&train(at.path(), &suffix), 2, &["data.target", ".tif"]);

    fs::create_dir(at.path().join("empty")).unwrap();
    let empty = ["--set", "data.target.root=empty"];
    refused(&train(at.path(), &empty), 2, &["data.target", "empty"]);

    let one = ["--set", "data.class_names=[\"leaf\"]"];
    refused(
        &train(at.path(), &one),
        2,
        &["data.class_names", "1 classes"],
    );
    let none = ["--set", "data.class_names=[]"];
    refused(
        &train(at.path(), &none),
        2,
        &["data.class_names", "0 classes"],
    );

    let unmapped = ["--set", "data.source.label_map.200="];
    let parts = ["_mask.png", "id 200", "data.source.label_map"];
    refused(&train(at.path(), &unmapped), 1, &parts);
    // A failed run must not look like a finished one.
    assert!(!at.path().join("out/metrics.json").exists());
    assert!(!at.path().join("out/checkpoint.safetensors").exists());

    for name in ["a.png", "b.png"] {
        write_rgb(&images.join(name), &RgbImage::new(40, 32)).unwrap();
    }
    let parts = ["40 x 32", "32 x 32", "_mask.png"];
    refused(&train(at.path(), &["--overwrite"]), 1, &parts);

    fs::remove_file(at.path().join("leaves/labels/b_mask.png")).unwrap();
    let parts = ["data.source", "b.png", "b_mask.png"];
    refused(&train(at.path(), &["--overwrite"]), 2, &parts);
}

#[test]
fn blocks_larger_than_images_from_files_are_refused() {
    let at = folder(&(tiny() + LEAVES));
    leaves(at.path());
    let output = train(at.path(), &["--set", "mask.block=80"]);
    refused(&output, 2, &["mask.block = 80", "data.source", "1024"]);
}

#[test]
fn eval_repeats_the_last_evaluation_of_training() {
    let (at, checkpoint, output) = trained();
    let checkpoint = checkpoint.to_str().unwrap();
    let json = at.path().join("eval.json");
    let path = json.to_str().unwrap();
    let args = ["eval", "--checkpoint", checkpoint, "--json", path];
    let table = done(&mic_seg(at.path(), &args));
    assert_eq!(table, done(output));
    // A run folder and a checkpoint's folder stand for the weights in them.
    for folder in ["out", "out/checkpoints/step-00000003"] {
        assert_eq!(
            done(&mic_seg(at.path(), &["eval", "--checkpoint", folder])),
            table
        );
    }
    let read = |path: &Path| -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    };
    let metrics = read(&json);
    let training = read(&at.path().join("out/metrics.json"));
    for (own, name) in [("miou", "mIoU"), ("macc", "mAcc"), ("aacc", "aAcc")] {
        assert_eq!(metrics["metrics"][own], training["test"]["scores"][name]);
    }
    for (own, name) in [("iou", "IoU"), ("acc", "Acc")] {
        assert_eq!(
            metrics["metrics"][own],
            training["test"]["class_scores"][name]
        );
    }
    assert_eq!(metrics["images"], 3);

    let args = [
        "eval",
        "--checkpoint",
        checkpoint,
        "--set",
        "data.test.count=1",
    ];
    assert_ne!(done(&mic_seg(at.path(), &args)), table);
}

#[test]
fn eval_refuses_what_it_cannot_measure() {
    let (at, checkpoint, _) = trained();
    let checkpoint = checkpoint.to_str().unwrap();
    let eval = |more: &[&str]| {
        let mut args = vec!["eval", "--checkpoint", checkpoint];
        args.extend(more);
        mic_seg(at.path(), &args)
    };
    refused(
        &eval(&["--set", "data.test="]),
        2,
        &["data.test is missing"],
    );
    let here = folder(&(tiny() + LEAVES));
    let other = here.path().join("run.toml");
    let other = ["--config", other.to_str().unwrap()];
    refused(&eval(&other), 2, &["road", "leaf, fruit, soil"]);
    let missing = ["eval", "--checkpoint", "none.safetensors"];
    refused(&mic_seg(at.path(), &missing), 1, &["none.safetensors"]);
    let text = at.path().join("run.toml");
    let no_checkpoint = ["eval", "--checkpoint", text.to_str().unwrap()];
    refused(&mic_seg(at.path(), &no_checkpoint), 1, &["run.toml"]);
}

#[test]
fn configurations_in_the_program_are_listed_shown_and_trained_by_name() {
    let at = folder("");
    let list = done(&mic_seg(at.path(), &["config", "list"]));
    let line = list
        .lines()
        .find(|line| line.contains(" gta2cs_mic_hrda "))
        .unwrap();
    for part in ["GTA -> Cityscapes", "HRDA", "MIC", "75.9 [S]"] {
        assert!(line.contains(part), "{line}");
    }
    let runs = done(&mic_seg(
        at.path(),
        &["config", "list", "--experiment", "84", "--runs"],
    ));
    assert_eq!(runs.lines().count(), 45);
    refused(
        &mic_seg(at.path(), &["config", "list", "--experiment", "86"]),
        2,
        &["\"86\"", "80, 81"],
    );
    let run = runs.lines().nth(1).unwrap();
    let shown = done(&mic_seg(
        at.path(),
        &["config", "show", run, "--set", "mask.lambda=0.5"],
    ));
    for part in [
        "seed = 1\n",
        "block = 16\n",
        "lambda = 0.5\n",
        "early_stop = 0\n",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    fs::write(at.path().join("shown.toml"), &shown).unwrap();
    assert_eq!(
        done(&mic_seg(at.path(), &["config", "show", "shown.toml"])),
        shown
    );
    // The data is not there, which is told of the configuration that was found by its name.
    let args = ["train", "--config", run, "--out", "out"];
    refused(&mic_seg(at.path(), &args), 2, &["data.source", "data/gta"]);
    let args = ["train", "--config", "gta2cs_mic_hdra", "--out", "out"];
    refused(
        &mic_seg(at.path(), &args),
        2,
        &["gta2cs_mic_hdra", "gta2cs_mic_hrda"],
    );
}
