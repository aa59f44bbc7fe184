//! Predictions of the program: their files, what is told of them, and that evaluation is the same.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers outside #[test] functions

mod program;
mod tiny;

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use image::{Rgb, RgbImage};
use mic_data::files::write_rgb;
use program::{LEAVES, done, files, folder, leaves, mic_seg, refused, scenes, text, tiny, train};
use tempfile::TempDir;

/// A checkpoint of [`scenes`], trained once for all tests.
fn trained() -> &'static (TempDir, PathBuf) {
    static RUN: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    RUN.get_or_init(|| {
        let at = folder(&scenes());
        done(&train(at.path(), &[]));
        let checkpoint = at.path().join("out/checkpoint.safetensors");
        (at, checkpoint)
    })
}

#[test]
fn predict_segments_images_of_any_size() {
    let (_, checkpoint) = trained();
    let checkpoint = checkpoint.to_str().unwrap();
    let at = folder("");
    fs::create_dir_all(at.path().join("in/deep")).unwrap();
    let sizes = [("in/one.png", 50, 37), ("in/deep/two.png", 7, 90)];
    for (name, width, height) in sizes {
        let image = RgbImage::from_pixel(width, height, Rgb([90, 80, 70]));
        write_rgb(&at.path().join(name), &image).unwrap();
    }
    let args = ["predict", "--checkpoint", checkpoint, "--out", "out", "in"];
    let lines = done(&mic_seg(at.path(), &args));
    assert_eq!(lines.lines().count(), 2);
    for line in lines.lines() {
        let told: serde_json::Value = serde_json::from_str(line).unwrap();
        let shares = told["shares"].as_object().unwrap();
        assert_eq!(shares.len(), 19);
        let sum: f64 = shares.values().map(|share| share.as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{line}");
        let confidence = told["confidence"].as_f64().unwrap();
        assert!((1.0 / 19.0..1.0).contains(&confidence), "{line}");
    }
    let summary = fs::read_to_string(at.path().join("out/summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    let images = summary["images"].as_array().unwrap();
    let told: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(images, &told);
    assert!(summary["images_per_second"].as_f64().unwrap() > 0.0);
    for (name, width, height) in sizes {
        let stem = name
            .strip_prefix("in/")
            .unwrap()
            .strip_suffix(".png")
            .unwrap();
        for kind in ["overlay", "id", "color", "confidence"] {
            let path = at.path().join(format!("out/{stem}_{kind}.png"));
            let image = mic_data::files::read_image(&path).unwrap();
            assert_eq!(image.dimensions(), (width, height), "{}", path.display());
        }
    }
}

#[test]
fn predict_refuses_clashing_names_and_broken_images() {
    let (_, checkpoint) = trained();
    let checkpoint = checkpoint.to_str().unwrap();
    let at = folder("");
    for name in ["a/x.png", "b/x.png"] {
        fs::create_dir_all(at.path().join(name).parent().unwrap()).unwrap();
        write_rgb(&at.path().join(name), &RgbImage::new(32, 32)).unwrap();
    }
    fs::write(at.path().join("broken.png"), "no image").unwrap();
    let predict = |inputs: &[&str]| {
        let mut args = vec!["predict", "--checkpoint", checkpoint, "--out", "out"];
        args.extend(inputs);
        mic_seg(at.path(), &args)
    };
    refused(
        &predict(&["a", "b"]),
        2,
        &["a/x.png", "b/x.png", "same name"],
    );
    assert!(!at.path().join("out").exists());
    refused(&predict(&["none.png"]), 2, &["none.png"]);
    refused(&predict(&["broken.png"]), 1, &["broken.png"]);
}

#[test]
fn predict_writes_what_is_asked_for_and_tells_what_it_leaves_out() {
    let (_, checkpoint) = trained();
    let checkpoint = checkpoint.to_str().unwrap();
    let at = folder("");
    fs::create_dir_all(at.path().join("in")).unwrap();
    for name in ["f10.png", "f9.png"] {
        write_rgb(&at.path().join("in").join(name), &RgbImage::new(33, 32)).unwrap();
    }
    fs::write(at.path().join("in/notes.txt"), "stray").unwrap();
    let args = [
        "predict",
        "--checkpoint",
        checkpoint,
        "--out",
        "out",
        "--write",
        "id,confidence",
        "in",
    ];
    let output = mic_seg(at.path(), &args);
    let lines = done(&output);
    let order: Vec<bool> = lines.lines().map(|line| line.contains("f9.png")).collect();
    assert_eq!(order, [true, false]);
    assert!(text(&output.stderr).contains(".jpeg: 1 of the folders"));
    let expected = [
        "f10_confidence.png",
        "f10_id.png",
        "f9_confidence.png",
        "f9_id.png",
        "summary.json",
    ];
    assert_eq!(files(&at.path().join("out")), expected);
    fs::write(at.path().join("drive.mp4"), "").unwrap();
    let args = [
        "predict",
        "--checkpoint",
        checkpoint,
        "--out",
        "out",
        "drive.mp4",
    ];
    refused(
        &mic_seg(at.path(), &args),
        2,
        &["drive.mp4 is a video", "ffmpeg"],
    );
}

/// What the server of a benchmark would compute from exported ids is what eval says.
#[test]
fn exported_predictions_score_what_eval_says() {
    let at = folder(&(tiny() + LEAVES));
    leaves(at.path());
    // Images of another size than the network sees, in windows.
    let sets = [
        "--set",
        "data.test.resize=[48, 48]",
        "--set",
        "inference.mode=slide",
        "--set",
        "inference.window=[32, 32]",
        "--set",
        "train.iterations=2",
    ];
    done(&train(at.path(), &sets));
    done(&mic_seg(
        at.path(),
        &["eval", "--checkpoint", "out", "--json", "eval.json"],
    ));
    let submission = ["--submission", "train-ids"];
    for inputs in [&["--test-set"][..], &["leaves/images"]] {
        let mut args = vec!["predict", "--checkpoint", "out", "--out", "submit"];
        args.extend(submission);
        args.extend(inputs);
        done(&mic_seg(at.path(), &args));
        assert_eq!(files(&at.path().join("submit")), ["a.png", "b.png"]);
        let mut confusion = mic_seg::metrics::Confusion::new(3);
        for name in ["a", "b"] {
            let exported = at.path().join(format!("submit/{name}.png"));
            let exported = mic_data::files::read_label(&exported).unwrap();
            let mic_data::label_map::RawIds::Bits8(ids) = exported.ids else {
                panic!("16 bits");
            };
            let label = at.path().join(format!("leaves/labels/{name}_mask.png"));
            let label = mic_data::files::read_image(&label).unwrap();
            let label = label.pixels().map(|pixel| match pixel.0[0] {
                255 => 255,
                id => id / 100,
            });
            confusion.add(&ids, &label.collect::<Vec<u8>>());
        }
        let report = fs::read_to_string(at.path().join("eval.json")).unwrap();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        let metrics: mic_seg::metrics::Metrics =
            serde_json::from_value(report["metrics"].clone()).unwrap();
        assert_eq!(confusion.metrics(), metrics);
        fs::remove_dir_all(at.path().join("submit")).unwrap();
    }
    let label_ids = [
        "predict",
        "--checkpoint",
        "out",
        "--out",
        "x",
        "--submission",
        "label-ids",
        "leaves",
    ];
    refused(
        &mic_seg(at.path(), &label_ids),
        2,
        &["3 classes", "label ids"],
    );
}

#[test]
fn eval_prints_the_means_of_synthia() {
    let (at, checkpoint) = trained();
    let checkpoint = checkpoint.to_str().unwrap();
    let args = [
        "eval",
        "--checkpoint",
        checkpoint,
        "--synthia",
        "--json",
        "synthia.json",
    ];
    let table = done(&mic_seg(at.path(), &args));
    for line in ["16 classes", "13 classes"] {
        assert!(table.contains(line), "{table}");
    }
    let report = fs::read_to_string(at.path().join("synthia.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["subsets"][0]["name"], "16 classes");
    assert!(report["subsets"][1]["miou"].is_f64(), "{report}");
    let plain = done(&mic_seg(at.path(), &["eval", "--checkpoint", checkpoint]));
    assert!(!plain.contains("16 classes"), "{plain}");
}
