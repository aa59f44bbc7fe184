//! A folder with small annotated sets, a configuration of seconds, and the program run in it.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub, unused_imports)] // helpers of several test targets

#[path = "../../../testdata/output.rs"]
mod output;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use image::{Rgb, RgbImage};
use mic_data::files::write_rgb;
use serde_json::{Value, json};
use tempfile::TempDir;

pub use output::{done, failed as refused, json as read_json, kill_in_training, same_end, text};

/// A run of seconds on the folders that [`sets`] makes.
pub const CONFIG: &str = r#"
seed = 4
[model]
backbone = "resnet"
channels = 8
anchor_sizes = [16.0, 24.0, 32.0, 64.0, 128.0]
[model.resnet]
stem = 4
width = 4
[model.rpn.train]
pre_nms = 100
post_nms = 50
total = 100
[model.rpn.test]
pre_nms = 50
post_nms = 30
total = 30
[model.roi]
hidden = 16
[model.roi.sampler]
batch = 32
positive_fraction = 0.25
[data]
min_sizes = [64]
max_size = 128
loader_threads = 1
[data.source]
kind = "coco"
images = "source"
annotations = "source.json"
[data.target]
kind = "images"
root = "target"
suffix = ".png"
[data.test]
kind = "coco"
images = "test"
annotations = "test.json"
[sada]
image_hidden = 8
instance_hidden = 8
[mask]
block = 16
threshold = 0.1
[optimizer]
lr = 0.01
warmup_iters = 10
milestones = [30]
[train]
iterations = 8
eval_every = 4
[run]
checkpoint_every = 3
"#;

/// Names of the classes, in the order of their categories, whose ids have gaps.
pub const CLASSES: [(&str, u64); 3] = [("bus", 1), ("car, red", 3), ("person", 70)];

/// Size of every image.
pub const SIZE: (u32, u32) = (96, 64);

/// x, y, width and height of the object of image `number`, and its class.
pub fn object(number: usize) -> ([u32; 4], usize) {
    let n = number as u32;
    (
        [8 + 11 * n % 40, 6 + 7 * n % 20, 24 + n % 9, 20 + n % 7],
        number % 3,
    )
}

/// Noise with one bright rectangle, whose colour tells its class.
fn picture(number: usize, shade: u8) -> RgbImage {
    let ([left, top, width, height], class) = object(number);
    RgbImage::from_fn(SIZE.0, SIZE.1, |x, y| {
        let noise = ((x * 7 + y * 13 + number as u32 * 29) % 50) as u8;
        let mut pixel = [shade + noise; 3];
        if (left..left + width).contains(&x) && (top..top + height).contains(&y) {
            pixel[class] = 205 + noise;
        }
        Rgb(pixel)
    })
}

fn write_images(folder: &Path, count: usize, shade: u8) {
    fs::create_dir_all(folder).unwrap();
    for number in 0..count {
        let file = folder.join(format!("{number}.png"));
        write_rgb(&file, &picture(number, shade)).unwrap();
    }
}

/// An annotation of a [`document`].
pub fn annotation(id: usize, image: usize, category: u64, bbox: [f64; 4]) -> Value {
    json!({"id": id, "image_id": image, "category_id": category, "bbox": bbox,
           "area": (bbox[2] * bbox[3]).abs(), "iscrowd": 0, "segmentation": []})
}

/// COCO annotations of `count` images.
pub fn document(count: usize) -> Value {
    let categories = CLASSES.map(|(name, id)| json!({"id": id, "name": name}));
    let images = (0..count).map(
        |n| json!({"id": n, "width": SIZE.0, "height": SIZE.1, "file_name": format!("{n}.png")}),
    );
    let annotations = (0..count).map(|number| {
        let (bbox, class) = object(number);
        annotation(number + 1, number, CLASSES[class].1, bbox.map(f64::from))
    });
    json!({
        "categories": categories,
        "images": images.collect::<Vec<_>>(),
        "annotations": annotations.collect::<Vec<_>>(),
    })
}

/// The same annotations in the layout of Pascal VOC.
pub fn write_voc(root: &Path, count: usize, shade: u8) {
    write_images(&root.join("JPEGImages"), count, shade);
    fs::create_dir_all(root.join("Annotations")).unwrap();
    fs::create_dir_all(root.join("ImageSets/Main")).unwrap();
    let mut list = String::new();
    for number in 0..count {
        let ([x, y, width, height], class) = object(number);
        let (name, (columns, rows)) = (CLASSES[class].0, SIZE);
        let text = format!(
            "<annotation><filename>{number}.png</filename>\
             <size><width>{columns}</width><height>{rows}</height><depth>3</depth></size>\
             <object><name>{name}</name><difficult>0</difficult><bndbox><xmin>{}</xmin>\
             <ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object></annotation>",
            x + 1,
            y + 1,
            x + width,
            y + height,
        );
        fs::write(root.join(format!("Annotations/{number}.xml")), text).unwrap();
        list += &format!("{number}\n");
    }
    fs::write(root.join("ImageSets/Main/train.txt"), list).unwrap();
}

pub fn sets() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("run.toml"), CONFIG).unwrap();
    for (set, count, shade) in [("source", 6, 20), ("test", 4, 90)] {
        write_images(&at.join(set), count, shade);
        fs::write(at.join(format!("{set}.json")), document(count).to_string()).unwrap();
    }
    write_images(&at.join("target"), 5, 80);
    folder
}

pub fn command(at: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mic-det"));
    // What users may have set must not leak stack frames into messages.
    command
        .args(args)
        .current_dir(at)
        .env("RUST_BACKTRACE", "1");
    command
}

pub fn mic_det(at: &Path, args: &[&str]) -> Output {
    command(at, args).output().unwrap()
}

pub fn train(at: &Path, out: &str, sets: &[&str]) -> Output {
    let args = ["train", "--config", "run.toml", "--quiet", "--out", out];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    mic_det(at, &[&args, sets.as_slice()].concat())
}
