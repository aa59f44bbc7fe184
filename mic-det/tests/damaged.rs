//! Image files that cannot be read, through the program.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

mod sets;

use std::fs;
use std::path::Path;

use sets::{done, mic_det, read_json, refused, sets, text, train};

/// Leaves the first half of a file.
fn cut(file: &Path) {
    let bytes = fs::read(file).unwrap();
    fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn training_names_a_damaged_image_and_goes_on_if_it_may() {
    let folder = sets();
    let at = folder.path();
    cut(&at.join("source/3.png"));
    fs::write(at.join("target/2.png"), "").unwrap();
    // Every image is drawn in the eight steps; the first that is damaged ends the run.
    let output = train(at, "strict", &[]);
    refused(&output, 1, &[".png", "skip_bad"]);
    let told = text(&output.stderr);
    let named = ["source/3.png", "target/2.png"].map(|file| told.contains(file));
    assert!(named.contains(&true), "{told}");
    assert!(!at.join("strict/metrics.json").exists());

    let goes_on = [
        "train",
        "--config",
        "run.toml",
        "--out",
        "patient",
        "--skip-bad",
        "2",
    ];
    let output = mic_det(at, &goes_on);
    done(&output);
    let told = text(&output.stderr);
    let metrics = read_json(&at.join("patient/metrics.json"));
    let bad = metrics["bad_samples"].as_array().unwrap();
    assert_eq!(bad.len(), 2, "{metrics}");
    for file in ["source/3.png", "target/2.png"] {
        assert!(told.contains(file), "{file}: {told}");
        assert!(bad.iter().any(|b| b.to_string().contains(file)), "{bad:?}");
    }
    // One is one too few.
    let one = ["data.skip_bad=1"];
    refused(&train(at, "impatient", &one), 1, &["skip_bad"]);
}

#[test]
fn measuring_and_predicting_name_a_damaged_image() {
    let folder = sets();
    let at = folder.path();
    done(&train(at, "run", &["train.iterations=2"]));
    cut(&at.join("test/1.png"));
    cut(&at.join("target/4.png"));
    let eval = ["eval", "--checkpoint", "run", "--quiet"];
    refused(&mic_det(at, &eval), 1, &["test/1.png"]);
    let predict = ["predict", "--checkpoint", "run", "--out", "seen", "target"];
    refused(&mic_det(at, &predict), 1, &["target/4.png"]);
    let check = ["data", "check", "--config", "run.toml", "--quiet"];
    let output = mic_det(at, &check);
    refused(&output, 1, &["2 errors"]);
    let told = text(&output.stdout);
    for file in ["test/1.png", "target/4.png"] {
        assert!(told.contains(file), "{file}: {told}");
    }
}
