//! A working folder, and the program in it.

#![allow(dead_code, unreachable_pub, unused_imports)] // not every test target uses everything

#[path = "../../../testdata/output.rs"]
mod output;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use image::{GrayImage, Luma, Rgb, RgbImage};
use mic_data::files::{write_grey, write_rgb};
use tempfile::TempDir;

pub use output::{done, refused, text};

use crate::tiny::NETWORK;

/// A run of seconds: a tiny network on images of 32 x 32 pixels.
pub fn tiny() -> String {
    NETWORK.to_owned() + RUN
}

const RUN: &str = r#"
[mask]
mode = "separateaug"
block = 8
[optimizer]
lr = 1e-3
warmup = 0
[train]
iterations = 3
eval_every = 2
"#;

/// [`tiny`] on the built-in scenes.
pub fn scenes() -> String {
    let set = |name: &str, domain: &str, split: &str| {
        format!(
            "[data.{name}]\nkind = \"scenes\"\ndomain = \"{domain}\"\nsplit = \"{split}\"\n\
             count = 3\nsize = [32, 32]\n"
        )
    };
    tiny()
        + &set("source", "source", "train")
        + &set("target", "target", "train")
        + &set("test", "target", "test")
}

/// [`tiny`] on the folder made by [`leaves`].
pub const LEAVES: &str = r#"
[data]
classes = "custom"
class_names = ["leaf", "fruit", "soil"]
[data.source]
kind = "folder"
root = "leaves"
images = "images"
labels = "labels"
image_suffix = ".png"
label_suffix = "_mask.png"
label_map = { 0 = "leaf", 100 = "fruit", 200 = "soil", 255 = "ignore" }
[data.target]
kind = "folder"
root = "leaves/images"
[data.test]
kind = "folder"
root = "leaves"
images = "images"
labels = "labels"
label_suffix = "_mask.png"
label_map = { 0 = "leaf", 100 = "fruit", 200 = "soil", 255 = "ignore" }
"#;

/// A folder of two labelled images at `leaves/` below `at`.
pub fn leaves(at: &Path) {
    for (index, name) in ["a", "b"].into_iter().enumerate() {
        let root = at.join("leaves");
        for inner in ["images", "labels"] {
            fs::create_dir_all(root.join(inner)).unwrap();
        }
        let image = RgbImage::from_fn(32, 32, |x, y| Rgb([x as u8 * 8, y as u8 * 8, 90]));
        let ids = [0, 100, 200, 255];
        let label = GrayImage::from_fn(32, 32, |x, _| Luma([ids[(x as usize / 8 + index) % 4]]));
        write_rgb(&root.join(format!("images/{name}.png")), &image).unwrap();
        write_grey(&root.join(format!("labels/{name}_mask.png")), &label).unwrap();
    }
}

/// A working folder with `run.toml`.
pub fn folder(config: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("run.toml"), config).unwrap();
    folder
}

pub fn mic_seg(at: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mic-seg"))
        .args(args)
        // What users may have set must not leak stack frames into messages.
        .env("RUST_BACKTRACE", "1")
        .current_dir(at)
        .output()
        .unwrap()
}

pub fn train(at: &Path, more: &[&str]) -> Output {
    let mut args = vec!["train", "--config", "run.toml", "--out", "out"];
    args.extend(more);
    mic_seg(at, &args)
}

pub fn files(at: &Path) -> Vec<String> {
    let entries = fs::read_dir(at).unwrap();
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<String> = entries.map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names
}
