//! `mic-seg data` as users run it, on small trees in the layouts of the published sets.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod tiny;

#[path = "../../testdata/output.rs"]
mod output;

#[path = "../../mic-data/tests/trees/mod.rs"]
mod trees;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use mic_data::files::read_image;
use output::{contains, ended};
use tempfile::TempDir;
use tiny::NETWORK;

/// A tiny network for images of 20 x 12 pixels.
fn tiny() -> String {
    NETWORK.to_owned() + RUN
}

const RUN: &str = r#"
[mask]
mode = "separatetrgaug"
block = 4
[optimizer]
lr = 1e-3
warmup = 0
[train]
iterations = 2
[data]
crop = [12, 12]
cat_max_ratio = 0.75
photometric_distortion = "source"
[data.rare_class_sampling]
min_pixels = 3
min_crop_ratio = 0.5
"#;

fn set(name: &str, kind: &str, more: &str) -> String {
    format!("[data.{name}]\nkind = \"{kind}\"\nroot = \"{kind}\"\n{more}\n")
}

fn mic_seg(at: &Path, args: &[&str]) -> Output {
    let command = env!("CARGO_BIN_EXE_mic-seg");
    let output = Command::new(command).args(args).current_dir(at).output();
    output.unwrap()
}

/// Standard output and error after a run that must end with `code`.
#[track_caller]
fn expect(at: &Path, args: &[&str], code: i32) -> (String, String) {
    ended(&mic_seg(at, args), code)
}

fn write_config(at: &Path, text: &str) {
    fs::write(at.join("run.toml"), text).unwrap();
}

const CONFIG: [&str; 2] = ["--config", "run.toml"];

fn with_config<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [args, &CONFIG].concat()
}

/// Checks, counts, shows, trains and evaluates what `run.toml` names.
fn use_data(at: &Path) {
    use_data_of(at, "building", "#464646");
}

/// The same of a set with the class `class`, which has `colour` in pictures.
fn use_data_of(at: &Path, class: &str, colour: &str) {
    let (out, _) = expect(at, &with_config(&["data", "check"]), 0);
    contains(&out, &["data.source", "no errors", class]);
    let page = fs::read_to_string(at.join("check.html")).unwrap();
    contains(&page, &["data.target", "data:image/jpeg;base64,", colour]);
    let (out, _) = expect(at, &with_config(&["data", "stats"]), 0);
    contains(&out, &[class, "drawn"]);
    let (_, err) = expect(at, &with_config(&["data", "stats"]), 0);
    contains(&err, &["class statistics read from"]);
    let show = [
        "data",
        "show",
        "--out",
        "sheet.png",
        "--count",
        "3",
        "--columns",
        "2",
    ];
    expect(at, &with_config(&show), 0);
    assert!(read_image(&at.join("sheet.png")).unwrap().width() > 640);
    let target = ["data", "show", "--of", "target", "--out", "target.png"];
    expect(at, &with_config(&target), 0);
    let out = ["train", "--out", "out", "--overwrite", "--quiet"];
    let (metrics, _) = expect(at, &with_config(&out), 0);
    contains(&metrics, &[class, "mean"]);
    let checkpoint = [
        "eval",
        "--checkpoint",
        "out/checkpoint.safetensors",
        "--quiet",
    ];
    contains(&expect(at, &checkpoint, 0).0, &[class]);
    let text = fs::read_to_string(at.join("out/metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_str(&text).unwrap();
    let score = metrics["test"]["scores"]["mIoU"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&score), "{score}");
    assert_eq!(metrics["bad_samples"], serde_json::json!([]));
}

#[test]
fn gta_and_cityscapes_are_prepared_checked_trained_on() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    trees::gta(&at.join("gta"), 4);
    trees::cityscapes(&at.join("cityscapes"), true);
    let margins = "crop_pseudo_margins = [1, 2, 1, 1]";
    let config = tiny()
        + &set("source", "gta", "")
        + &set("target", "cityscapes", margins)
        + &set("test", "cityscapes", "");
    write_config(at, &config);
    // The labels of the test images are polygons as yet.
    let (out, err) = expect(at, &with_config(&["data", "check"]), 1);
    contains(&out, &["data.test", "lindau", "no label"]);
    contains(&err, &["1 error"]);
    for set in ["gta", "cityscapes"] {
        let (out, _) = expect(at, &["data", "prepare", set, set, "--threads", "2"], 0);
        contains(&out, &["labels:", "0 were done already"]);
    }
    let (out, _) = expect(at, &["data", "prepare", "gta", "gta"], 0);
    contains(&out, &["4 labels: 0 converted, 4 were done already"]);
    use_data(at);
}

#[test]
fn synthia_and_acdc_are_used_as_they_are() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    trees::synthia(&at.join("synthia"), 3);
    trees::acdc(&at.join("acdc"), false);
    let config = tiny()
        + &set("source", "synthia", "")
        + &set("target", "acdc", "condition = \"night\"")
        + &set("test", "acdc", "");
    write_config(at, &config);
    use_data(at);
}

#[test]
fn cityscapes_and_dark_zurich_are_used_as_they_are() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    trees::cityscapes(&at.join("cityscapes"), false);
    trees::dark_zurich(&at.join("dark_zurich"));
    let config = tiny()
        + &set("source", "cityscapes", "")
        + &set("target", "dark_zurich", "")
        + &set("test", "dark_zurich", "");
    write_config(at, &config);
    use_data(at);
}

#[test]
fn the_flattened_acdc_is_used_as_it_is() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    trees::gta(&at.join("gta"), 2);
    trees::acdc(&at.join("acdc"), true);
    let config = tiny() + &set("source", "gta", "") + &set("target", "acdc", "");
    write_config(at, &(config + &set("test", "acdc", "split = \"val\"")));
    use_data(at);
}

#[test]
fn camvid_is_divided_by_its_recordings() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    trees::camvid(&at.join("camvid"));
    // `[data]` comes before the tables within it.
    let config = tiny().replace("[data]\n", "[data]\nclasses = \"camvid\"\n")
        + &set("source", "camvid", "domain = \"day\"")
        + &set("target", "camvid", "domain = \"dusk-train\"")
        + &set("test", "camvid", "domain = \"dusk-test\"");
    write_config(at, &config);
    use_data_of(at, "building", "#800000");
}

/// Two classes in masks of 0 and 255, found by pattern.
const MASKS: &str = r##"
[data]
classes = "custom"
class_names = ["ground", "object"]
palette = ["#000000", "#ff8000"]
[data.source]
kind = "folder"
root = "masks"
image_glob = "**/*_rgb.png"
label_glob = "**/*_mask.png"
label_map = "binary"
"##;

fn masks(at: &Path) {
    for seed in 0..3 {
        let path = |kind: &str| at.join(format!("masks/day{seed}/{seed}_{kind}.png"));
        fs::create_dir_all(path("rgb").parent().unwrap()).unwrap();
        mic_data::files::write_rgb(&path("rgb"), &trees::picture(seed)).unwrap();
        let ids = trees::ids_of(&[0, 255], seed as usize);
        trees::write_grey8(&path("mask"), trees::SIZE, &ids);
    }
}

fn check_masks(at: &Path, config: &str, code: i32) -> String {
    let method = "[method]\nkind = \"supervised\"\n";
    write_config(at, &format!("{config}{method}"));
    expect(at, &with_config(&["data", "check"]), code).0
}

#[test]
fn every_mistake_is_named_at_once() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    masks(at);
    contains(&check_masks(at, MASKS, 0), &["no errors", "object"]);
    // 255 is taken for ignored.
    let without = MASKS.replace("label_map = \"binary\"", "");
    contains(
        &check_masks(at, &without, 0),
        &["warning", "\"binary\"", "\"object\" has no pixel"],
    );
    let table = MASKS.replace("\"binary\"", "{ 0 = \"ground\" }");
    let out = check_masks(at, &table, 1);
    contains(
        &out,
        &["value 255", "in 3 files", "0_mask.png", "\"binary\""],
    );
    let table = MASKS.replace(
        "\"binary\"",
        "{ 0 = \"ground\", 255 = \"object\", 7 = \"tree\" }",
    );
    write_config(at, &table);
    let (_, err) = expect(at, &with_config(&["data", "check"]), 2);
    contains(&err, &["data.source.label_map.7", "tree"]);

    fs::write(at.join("masks/day0/0_rgb.png"), "nothing").unwrap();
    trees::write_grey8(&at.join("masks/day1/1_mask.png"), (3, 3), &[0; 9]);
    let photo = at.join("masks/day2/2_mask.png");
    mic_data::files::write_rgb(&photo, &trees::picture(1)).unwrap();
    let out = check_masks(at, MASKS, 1);
    contains(
        &out,
        &[
            "0_rgb.png",
            "3 x 3",
            "20 x 12",
            "2_mask.png",
            "colours",
            "3 errors",
        ],
    );
    // A grey photograph in place of a label.
    let grey: Vec<u8> = (0..=239).collect();
    trees::write_grey8(&photo, trees::SIZE, &grey);
    contains(
        &check_masks(at, MASKS, 1),
        &["2_mask.png", "looks like a photograph"],
    );
    fs::remove_dir_all(at.join("masks")).unwrap();
    contains(
        &check_masks(at, MASKS, 1),
        &["data.source", "masks", "cannot access"],
    );
}

#[test]
fn a_target_that_is_the_source_is_noticed() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    trees::gta(&at.join("gta"), 2);
    let config = tiny() + &set("source", "gta", "") + &set("target", "gta", "");
    write_config(at, &config);
    let (out, _) = expect(at, &with_config(&["data", "check", "--quiet"]), 0);
    contains(&out, &["warning", "2 source images are also among"]);
    // Rare class sampling that cannot work is told before training.
    let more = [
        "data",
        "check",
        "--set",
        "data.rare_class_sampling.min_pixels=5000",
    ];
    let (out, _) = expect(at, &with_config(&more), 1);
    contains(&out, &["data.rare_class_sampling", "min_pixels = 5000"]);
}

#[test]
fn statistics_are_written_where_asked() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    masks(at);
    write_config(at, &format!("{MASKS}[method]\nkind = \"supervised\"\n"));
    expect(at, &with_config(&["data", "stats", "--out", "stats"]), 0);
    let entries = mic_data::class_stats::read_entries(&at.join("stats")).unwrap();
    assert_eq!(entries.len(), 3);
    assert!(
        entries[2].file.ends_with("masks/day2/2_mask.png"),
        "{entries:?}"
    );
    assert_eq!(entries[0].counts.values().sum::<u64>(), 240);
    assert!(at.join("stats/samples_with_class.json").exists());
    let (_, err) = expect(at, &["data", "prepare", "gta", "masks"], 1);
    contains(&err, &["masks/labels", "cannot access"]);
    let none = ["data", "show", "--of", "target", "--out", "x.png"];
    contains(
        &expect(at, &with_config(&none), 2).1,
        &["data.target is missing"],
    );
}
