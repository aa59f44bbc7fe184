//! `mic-cls data` as users run it, on folders and lists with everything that can be wrong.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

mod pictures;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use image::DynamicImage;
use pictures::{picture, put};
use tempfile::TempDir;

const CONFIG: &str = r#"
[model]
backbone = "lenet"
[data]
size = 32
crop = "resize"
[data.source]
kind = "folder"
root = "source"
[data.target]
kind = "folder"
root = "target"
[data.test]
kind = "folder"
root = "test"
[train]
batch = 4
[mask]
block = 8
"#;

fn image(red: u8) -> DynamicImage {
    picture(16, red)
}

/// Two classes in three sets, four, three and two images a class, all different.
fn workplace() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("run.toml"), CONFIG).unwrap();
    for (set, first, count) in [("source", 0, 4), ("target", 80, 3), ("test", 160, 2)] {
        for (class, name) in ["cat", "dog"].iter().enumerate() {
            for number in 0..count {
                let red = first + 10 * number + 5 * class as u8;
                put(&at.join(format!("{set}/{name}/{number}.png")), &image(red));
            }
        }
    }
    folder
}

fn data(at: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mic-cls"));
    let command = command.arg("data").args(args).current_dir(at);
    command.output().unwrap()
}

/// Exit code, standard output, standard error.
fn check(at: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let args = ["check", "--config", "run.toml"];
    let output = data(at, &[&args, more].concat());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (out, errors) = (text(output.stdout), text(output.stderr));
    assert!(!errors.contains("panicked"), "{errors}");
    (output.status.code(), out, errors)
}

/// The check ends with 1 and tells all of `parts` on standard output and on the page.
#[track_caller]
fn finds(at: &Path, more: &[&str], parts: &[&str]) {
    let (code, text, errors) = check(at, more);
    assert_eq!(code, Some(1), "{text}{errors}");
    assert!(errors.contains("the data check found"), "{errors}");
    let page = fs::read_to_string(at.join("check.html")).unwrap();
    let page = page.replace("&quot;", "\"");
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
        assert!(page.contains(part), "{part} is not on the page");
    }
}

#[test]
fn good_data_is_counted_and_shown() {
    let folder = workplace();
    let at = folder.path();
    let (code, text, errors) = check(at, &["--html", "my.html"]);
    assert_eq!(code, Some(0), "{text}{errors}");
    assert!(text.contains("no errors, no warnings, no notes"), "{text}");
    let rows: Vec<&str> = text.lines().filter(|line| line.contains("cat")).collect();
    let cells: Vec<&str> = rows[0].split_whitespace().collect();
    assert_eq!(cells, ["cat", "4", "50.00", "2", "50.00"], "{text}");
    let page = fs::read_to_string(at.join("my.html")).unwrap();
    // Four samples of each set, the target's without their classes.
    assert_eq!(page.matches("data:image/jpeg;base64,").count(), 12);
    assert!(page.contains("(dog)") && !page.contains("data.target: cat/0.png (cat)"));
}

#[test]
fn images_that_cannot_be_used_are_named() {
    let folder = workplace();
    let at = folder.path();
    fs::write(at.join("source/cat/0.png"), "no image").unwrap();
    let whole = fs::read(at.join("target/dog/0.png")).unwrap();
    fs::write(at.join("target/dog/0.png"), &whole[..whole.len() / 2]).unwrap();
    fs::write(at.join("test/dog/0.png"), "").unwrap();
    put(
        &at.join("source/dog/tiny.png"),
        &DynamicImage::new_rgb8(3, 3),
    );
    let parts = [
        "cat/0.png",
        "dog/0.png",
        "neither a PNG nor a JPEG",
        "the file is empty",
        "only 3 x 3 pixels",
        "3 errors, 1 warning",
    ];
    finds(at, &[], &parts);
}

#[test]
fn colours_and_equal_images_are_told() {
    let folder = workplace();
    let at = folder.path();
    put(
        &at.join("source/cat/grey.png"),
        &DynamicImage::new_luma8(20, 20),
    );
    put(
        &at.join("target/cat/alpha.png"),
        &image(77).to_rgba8().into(),
    );
    put(&at.join("target/cat/same.png"), &image(0));
    put(&at.join("source/dog/torn.png"), &image(0));
    let (code, text, _) = check(at, &[]);
    assert_eq!(code, Some(0), "{text}");
    for part in [
        "data.source: 1 grey images",
        "data.target: 1 images with transparency",
        "1 of the 9 different images of data.source are also among those of data.target",
        "1 images are equal to one of another class, such as cat/0.png and dog/torn.png",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn domains_with_other_classes_are_told() {
    let folder = workplace();
    let at = folder.path();
    put(&at.join("target/bird/0.png"), &image(200));
    finds(at, &[], &["data.target", "only data.target has [\"bird\"]"]);
    fs::remove_dir_all(at.join("target/bird")).unwrap();
    fs::create_dir(at.join("test/fish")).unwrap();
    finds(at, &[], &["data.test", "no image for class \"fish\""]);
    fs::remove_dir_all(at.join("test/fish")).unwrap();
    fs::remove_dir_all(at.join("source/dog")).unwrap();
    finds(at, &[], &["there is one class, [\"cat\"]"]);
}

#[test]
fn every_wrong_line_of_a_list_is_told_with_its_number() {
    let folder = workplace();
    let at = folder.path();
    let list = |text: &str| fs::write(at.join("source.txt"), text).unwrap();
    let sets = [
        "data.source.kind=list",
        "data.source.list=source.txt",
        "data.source.root=source",
        "data.source.class_names=[\"cat\", \"dog\"]",
    ];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    list("cat/0.png 0\ncat/1.png 2\ndog/0.png -1\ndog/1.png\n1\n");
    let parts = ["line 2", "line 3", "line 4", "line 5", "4 errors"];
    finds(at, &sets, &parts);
    // What the list names must be there, and every class must have images.
    list("cat/0.png 0\ncat/gone.png 0\ndog/0.png 1\ndog/1.png 1\n");
    finds(at, &sets, &["cat/gone.png", "1 error"]);
    list("cat/0.png 0\ncat/1.png 0\ncat/2.png 0\ncat/3.png 0\n");
    finds(at, &sets, &["class \"dog\" has no image"]);
}

#[test]
fn fewer_images_than_a_batch_are_an_error() {
    let folder = workplace();
    let at = folder.path();
    let args = ["--set", "train.batch=7"];
    finds(at, &args, &["train.batch", "7"]);
    let single = ["--set", "data.target.kind=images", "--set"];
    fs::create_dir(at.join("one")).unwrap();
    image(9).save(at.join("one/a.png")).unwrap();
    let sets = [&single[..], &["data.target.root=one", "--set"]].concat();
    let sets = [&sets[..], &["data.target.suffix=.png"]].concat();
    finds(at, &sets, &["train.batch"]);
}

#[test]
fn counts_are_printed_and_written() {
    let folder = workplace();
    let at = folder.path();
    let output = data(
        at,
        &["stats", "--config", "run.toml", "--json", "stats.json"],
    );
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("data.target       6"), "{text}");
    let json = fs::read_to_string(at.join("stats.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["classes"]["data.source"]["dog"], 4);
    assert_eq!(json["images"]["data.target"], 6);
    assert!(json["classes"]["data.target"].is_null());
}

#[test]
fn a_sheet_of_a_set_is_drawn() {
    let folder = workplace();
    let at = folder.path();
    let show = |more: &[&str]| {
        let args = ["show", "--config", "run.toml", "--out", "sheet.png"];
        data(at, &[&args, more].concat())
    };
    let drawn = show(&["--of", "target", "--count", "4", "--columns", "2"]);
    assert_eq!(drawn.status.code(), Some(0));
    let sheet = image::open(at.join("sheet.png")).unwrap();
    assert_eq!(sheet.width(), 8 + 2 * 328);
    let none = show(&["--of", "test", "--set", "data.test="]);
    assert_eq!(none.status.code(), Some(2));
    let errors = String::from_utf8(none.stderr).unwrap();
    assert!(errors.contains("data.test is missing"), "{errors}");
}
