//! Files that cannot be used, as users meet them: messages with file and problem, exit codes, and
//! runs that go on past them.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers outside #[test] functions

mod tiny;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use image::{GrayImage, Luma, Rgb, RgbImage};
use mic_data::files::{write_grey, write_rgb};
use serde_json::Value;
use tempfile::TempDir;
use tiny::NETWORK;

/// Source images; with batches of two, 8 steps see each once.
const IMAGES: usize = 16;

const RUN: &str = r#"
[optimizer]
lr = 1e-3
warmup = 0
[train]
iterations = 8
[run]
checkpoint_every = 1
tensorboard = false
[data]
classes = "custom"
class_names = ["ground", "object"]
[data.source]
kind = "folder"
root = "set"
images = "images"
labels = "labels"
label_map = "binary"
[method]
kind = "supervised"
"#;

/// A working folder with `run.toml`, and `set/images/00.png` and so on with their masks.
fn workplace(more: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("run.toml"), format!("{NETWORK}{RUN}{more}")).unwrap();
    for inner in ["images", "labels"] {
        fs::create_dir_all(at.join("set").join(inner)).unwrap();
    }
    for number in 0..IMAGES {
        let image = RgbImage::from_fn(32, 32, |x, y| {
            Rgb([(x * 8) as u8, (y * 8) as u8, (number * 9) as u8])
        });
        let mask = GrayImage::from_fn(32, 32, |x, y| Luma([if x > y { 255 } else { 0 }]));
        write_rgb(&image_file(at, number), &image).unwrap();
        write_grey(&label_file(at, number), &mask).unwrap();
    }
    folder
}

fn image_file(at: &Path, number: usize) -> PathBuf {
    at.join(format!("set/images/{number:02}.png"))
}

fn label_file(at: &Path, number: usize) -> PathBuf {
    at.join(format!("set/labels/{number:02}.png"))
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// A header that claims 100,000 x 100,000 pixels, with the right check sum.
fn claim_too_much(png: &mut [u8]) {
    png[16..20].copy_from_slice(&100_000u32.to_be_bytes());
    png[20..24].copy_from_slice(&100_000u32.to_be_bytes());
    let sum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&sum.to_be_bytes());
}

/// The check sum of PNG chunks.
fn crc32(bytes: &[u8]) -> u32 {
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    });
    !crc
}

/// Damages one file in each way there is; the numbers of the samples, with what is said of them.
fn damage(at: &Path) -> Vec<(usize, &'static str)> {
    change(&image_file(at, 0), |bytes| {
        bytes.truncate(bytes.len() / 2);
    });
    change(&image_file(at, 1), |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
    });
    change(&image_file(at, 2), Vec::clear);
    fs::write(image_file(at, 3), "a text with the wrong ending").unwrap();
    change(&image_file(at, 4), |bytes| claim_too_much(bytes));
    change(&label_file(at, 5), |bytes| bytes.truncate(60));
    let small = GrayImage::from_pixel(16, 16, Luma([0]));
    write_grey(&label_file(at, 6), &small).unwrap();
    let foreign = GrayImage::from_pixel(32, 32, Luma([77]));
    write_grey(&label_file(at, 7), &foreign).unwrap();
    // A photograph in place of a label.
    let photograph = image::open(image_file(at, 8)).unwrap();
    let jpeg = at.join("photograph.jpg");
    photograph.save(&jpeg).unwrap();
    fs::rename(jpeg, label_file(at, 8)).unwrap();
    vec![
        (0, "images/00.png"),
        (1, "images/01.png"),
        (2, "empty"),
        (3, "neither a PNG nor a JPEG"),
        (4, "100000 x 100000"),
        (5, "labels/05.png"),
        (6, "16 x 16"),
        (7, "77"),
        (8, "JPEG"),
    ]
}

fn command(at: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mic-seg"));
    command
        .args(args)
        .current_dir(at)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn train(at: &Path, out: &str, more: &[&str]) -> Output {
    let args = ["train", "--config", "run.toml", "--out", out];
    command(at, &[&args, more].concat()).output().unwrap()
}

/// Standard error of a program that must end with `code`.
#[track_caller]
fn expect(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

#[track_caller]
fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

/// The bad samples in `metrics.json`, by index.
fn bad_samples(at: &Path, out: &str) -> Vec<(u64, String)> {
    let text = fs::read_to_string(at.join(out).join("metrics.json")).unwrap();
    let metrics: Value = serde_json::from_str(&text).unwrap();
    let list = metrics["bad_samples"].as_array().unwrap().iter();
    let mut list: Vec<(u64, String)> = list
        .map(|bad| {
            assert_eq!(bad["set"], "source");
            let reason = bad["reason"].as_str().unwrap();
            (bad["index"].as_u64().unwrap(), reason.to_owned())
        })
        .collect();
    list.sort();
    list
}

/// Notes of left out samples in `events.jsonl`.
fn notes(at: &Path, out: &str) -> usize {
    let text = fs::read_to_string(at.join(out).join("events.jsonl")).unwrap();
    text.matches("left out, as it cannot be used").count()
}

#[test]
fn a_run_goes_on_past_as_many_bad_files_as_allowed() {
    let folder = workplace("");
    let at = folder.path();
    let damaged = damage(at);
    // Nothing is skipped unasked, and the option is told.
    let said = expect(&train(at, "strict", &[]), 1);
    contains(&said, &["set/", ".png", "--skip-bad N"]);
    // All are listed: on standard error, in the events and in the result.
    let said = expect(&train(at, "past", &["--skip-bad", "9"]), 0);
    let listed = bad_samples(at, "past");
    assert_eq!(listed.len(), damaged.len(), "{listed:?}");
    for ((index, reason), (number, part)) in listed.iter().zip(&damaged) {
        assert_eq!(*index, *number as u64);
        contains(reason, &[&format!("{number:02}"), part]);
        contains(
            &said,
            &[&format!(
                "left out, as it cannot be used: source sample {index}: "
            )],
        );
    }
    contains(&said, &["left out 9 training samples"]);
    assert_eq!(notes(at, "past"), 9);
    // One more than allowed.
    let said = expect(&train(at, "few", &["--skip-bad", "8"]), 1);
    contains(
        &said,
        &[
            "9 samples cannot be used",
            "than the 8",
            "16 x 16",
            "--skip-bad N",
        ],
    );
    // The same configuration in the file, with another number of threads, gives the same weights.
    let set = ["--set", "data.skip_bad=9", "--set", "data.loader_threads=0"];
    expect(&train(at, "again", &set), 0);
    assert_eq!(bad_samples(at, "again"), listed);
    let weights = |out: &str| mic_seg::weights::read(&at.join(out)).unwrap();
    let (first, second) = (weights("past"), weights("again"));
    let values = |tensor: &candle_core::Tensor| {
        let mut bytes = Vec::new();
        tensor.write_bytes(&mut bytes).unwrap();
        bytes
    };
    assert!(
        first
            .iter()
            .all(|(name, tensor)| values(tensor) == values(&second[name]))
    );
    // A run that had stopped goes on with more, and has the whole list in the end.
    let resume = ["train", "--out", "few", "--resume", "--skip-bad", "9"];
    let said = expect(&command(at, &resume).output().unwrap(), 0);
    contains(&said, &["resuming at step"]);
    assert_eq!(bad_samples(at, "few"), listed);
    assert_eq!(notes(at, "few"), 9);
    let resumed = weights("few");
    assert!(
        first
            .iter()
            .all(|(name, tensor)| values(tensor) == values(&resumed[name]))
    );
}

/// Class statistics read every label before the first step.
const RARE: &str = "[data.rare_class_sampling]\nmin_pixels = 20\n";

#[test]
fn class_statistics_go_past_bad_labels() {
    let folder = workplace(RARE);
    let at = folder.path();
    change(&label_file(at, 3), |bytes| bytes.truncate(50));
    let said = expect(&train(at, "strict", &[]), 1);
    contains(&said, &["labels/03.png"]);
    expect(&train(at, "past", &["--skip-bad", "1"]), 0);
    let listed = bad_samples(at, "past");
    assert_eq!(listed.len(), 1);
    contains(&listed[0].1, &["labels/03.png"]);
    // They are not kept: whoever skips nothing is to hear of it.
    expect(&train(at, "later", &[]), 1);
}

#[test]
fn a_bad_target_is_replaced_and_a_bad_test_image_is_named() {
    let more = "[data.target]\nkind = \"folder\"\nroot = \"field\"\n[data.test]\nkind = \"folder\"\n\
                root = \"set\"\nimages = \"images\"\nlabels = \"labels\"\nlabel_map = \"binary\"\n";
    let folder = workplace(&more.replace("[data.test]", "[mask]\nblock = 8\n[data.test]"));
    let at = folder.path();
    fs::create_dir(at.join("field")).unwrap();
    for number in 0..4 {
        let name = format!("field/{number}.png");
        fs::copy(image_file(at, number), at.join(name)).unwrap();
    }
    fs::write(at.join("field/2.png"), "nothing").unwrap();
    let dacs = ["--set", "method.kind=dacs", "--skip-bad", "1"];
    expect(&train(at, "out", &dacs), 0);
    let text = fs::read_to_string(at.join("out/metrics.json")).unwrap();
    let metrics: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(metrics["bad_samples"][0]["set"], "target");
    assert_eq!(metrics["bad_samples"][0]["index"], 2);
    // A score over fewer images would be another score.
    change(&image_file(at, 5), |bytes| bytes.truncate(50));
    let eval = ["eval", "--checkpoint", "out", "--quiet"];
    let said = expect(&command(at, &eval).output().unwrap(), 1);
    contains(&said, &["images/05.png"]);
}

#[test]
fn a_cache_changes_no_weight_and_damage_in_it_is_mended() {
    let folder = workplace("");
    let at = folder.path();
    let resize = ["--set", "data.source.resize=[24, 24]", "--quiet"];
    let cached = [&resize[..], &["--set", "data.cache=kept images"]].concat();
    expect(&train(at, "plain", &resize), 0);
    expect(&train(at, "first", &cached), 0);
    let entries = || {
        fs::read_dir(at.join("kept images"))
            .unwrap()
            .map(|e| e.unwrap().path())
    };
    // All, and the first image alone, which tells the size.
    assert_eq!(entries().count(), IMAGES + 1);
    for entry in entries().take(4) {
        change(&entry, |bytes| bytes[100] ^= 1);
    }
    expect(&train(at, "second", &cached), 0);
    let weights = |out: &str| {
        let mut all: Vec<_> = mic_seg::weights::read(&at.join(out))
            .unwrap()
            .into_iter()
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        let mut bytes = Vec::new();
        all.iter()
            .for_each(|(_, tensor)| tensor.write_bytes(&mut bytes).unwrap());
        bytes
    };
    assert!(weights("plain") == weights("first") && weights("plain") == weights("second"));
    let file = [&resize[..], &["--set", "data.cache=run.toml"]].concat();
    contains(
        &expect(&train(at, "none", &file), 2),
        &["data.cache", "run.toml"],
    );
}

#[test]
fn decoding_keeps_to_its_limit() {
    let folder = workplace("");
    let at = folder.path();
    let large = RgbImage::from_fn(700, 700, |x, y| Rgb([x as u8, y as u8, 0]));
    write_rgb(&image_file(at, 4), &large).unwrap();
    write_grey(&label_file(at, 4), &GrayImage::new(700, 700)).unwrap();
    let crop = ["--set", "data.crop=[32, 32]"];
    let limit = [&crop[..], &["--set", "data.decode_limit_mb=2"]].concat();
    let said = expect(&train(at, "small", &limit), 1);
    contains(&said, &["images/04.png", "700 x 700", "limit is 2 MiB"]);
    expect(&train(at, "large", &crop), 0);
    for (key, value) in [
        ("loader_memory_mb", "0"),
        ("decode_limit_mb", "-3"),
        ("cache_limit_mb", "0"),
        ("skip_bad", "\"all\""),
    ] {
        let set = format!("data.{key}={value}");
        contains(&expect(&train(at, "wrong", &["--set", &set]), 2), &[key]);
    }
}

#[cfg(unix)]
#[test]
fn folders_that_cannot_be_read_are_named() {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};

    let folder = workplace("");
    let at = folder.path();
    // A link to itself is a file that cannot be opened.
    fs::remove_file(image_file(at, 1)).unwrap();
    symlink("01.png", image_file(at, 1)).unwrap();
    contains(&expect(&train(at, "link", &[]), 2), &["01.png"]);
    fs::remove_file(image_file(at, 1)).unwrap();
    // A folder within itself.
    symlink("..", at.join("set/images/loop")).unwrap();
    contains(
        &expect(&train(at, "loop", &[]), 2),
        &["data.source", "loop"],
    );
    fs::remove_file(at.join("set/images/loop")).unwrap();
    let odd = at
        .join("set/images")
        .join(OsStr::from_bytes(b"\xff\xfe.png"));
    fs::copy(image_file(at, 2), &odd).unwrap();
    contains(
        &expect(&train(at, "odd", &[]), 2),
        &["data.source", "UTF-8"],
    );
    fs::remove_file(odd).unwrap();
    let locked = image_file(at, 2);
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&locked).is_ok() {
        println!("skipped: permissions do not bind this user");
        return;
    }
    let said = expect(&train(at, "locked", &[]), 1);
    contains(&said, &["02.png", "Permission denied"]);
    expect(&train(at, "past", &["--skip-bad", "1"]), 0);
    assert_eq!(bad_samples(at, "past").len(), 1);
}

#[test]
fn bad_polygon_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let path = at.join("city/gtFine/train/a/a_1_gtFine_polygons.json");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let object = |points: &str| {
        format!(
            "{{\"imgWidth\": 8, \"imgHeight\": 6, \"objects\": [{{\"label\": \"car\"{points}}}]}}"
        )
    };
    for (text, part) in [
        (String::new(), "empty"),
        (object(""), "polygon"),
        (
            object(", \"polygon\": [[NaN, 1], [2, 2], [3, 1]]"),
            "finite numbers",
        ),
        ("{\"imgWidth\": 8, \"objects\": []}".into(), "imgHeight"),
        ("[1, 2".into(), "line 1"),
    ] {
        fs::write(&path, text).unwrap();
        let prepare = ["data", "prepare", "cityscapes", "city", "--quiet"];
        let said = expect(&command(at, &prepare).output().unwrap(), 1);
        contains(&said, &["a_1_gtFine_polygons.json", part]);
    }
}
