//! The walk through boxes in docs/custom-data.md: its configuration and its commands, in its layout.
//!
//! With the folder of the photographs in `MIC_TREES_DIR` (the `trees` of that text) it is walked with
//! those, else with drawn ones.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

mod sets;

use std::fs;
use std::path::Path;

use image::{Rgb, RgbImage};
use mic_data::files::write_rgb;
use sets::{done, mic_det, read_json};

const TEXT: &str = include_str!("../../docs/custom-data.md");

/// The next block in the text that begins with ```` ```language ````, and what comes after it.
fn block<'a>(text: &'a str, language: &str) -> (&'a str, &'a str) {
    let (_, rest) = text.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```\n").unwrap()
}

/// Light crowns on dark ground.
fn photo(number: u32) -> (RgbImage, Vec<[u32; 4]>) {
    let crowns: Vec<[u32; 4]> = (0..12)
        .map(|n| {
            let (x, y) = (20 + n % 4 * 95, 30 + n / 4 * 120);
            let side = 24 + (n * 7 + number * 5) % 20;
            [x, y, x + side, y + side]
        })
        .collect();
    let image = RgbImage::from_fn(400, 400, |x, y| {
        let noise = ((x * 7 + y * 13 + number * 29) % 40) as u8;
        let inside = |&[l, t, r, b]: &[u32; 4]| (l..r).contains(&x) && (t..b).contains(&y);
        match crowns.iter().any(inside) {
            true => Rgb([90 + noise, 170 + noise, 80 + noise]),
            false => Rgb([60 + noise, 50 + noise, 45 + noise]),
        }
    });
    (image, crowns)
}

fn draw(trees: &Path) {
    for folder in ["JPEGImages", "Annotations", "ImageSets/Main", "california"] {
        fs::create_dir_all(trees.join(folder)).unwrap();
    }
    for (number, split, name) in [(0, "florida", "OSBS_029"), (1, "california", "SOAP_061")] {
        let (image, crowns) = photo(number);
        write_rgb(&trees.join(format!("JPEGImages/{name}.png")), &image).unwrap();
        let objects = crowns.iter().map(|[l, t, r, b]| {
            format!(
                "<object><name>Tree</name><bndbox><xmin>{l}</xmin><ymin>{t}</ymin><xmax>{r}</xmax>\
                 <ymax>{b}</ymax></bndbox></object>"
            )
        });
        let text = format!(
            "<annotation><filename>{name}.png</filename><size><width>400</width>\
             <height>400</height><depth>3</depth></size>{}</annotation>",
            objects.collect::<String>()
        );
        fs::write(trees.join(format!("Annotations/{name}.xml")), text).unwrap();
        fs::write(trees.join(format!("ImageSets/Main/{split}.txt")), name).unwrap();
    }
    for (number, name) in [(1, "SOAP_061"), (2, "SOAP_031")] {
        let file = trees.join(format!("california/{name}.png"));
        write_rgb(&file, &photo(number).0).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let other = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &other),
            false => drop(fs::copy(&path, &other).unwrap()),
        }
    }
}

#[test]
fn the_walk_through_boxes_leads_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    match std::env::var_os("MIC_TREES_DIR") {
        Some(photos) => copy(Path::new(&photos), &at.join("trees")),
        None => draw(&at.join("trees")),
    }
    let (_, walk) = TEXT.split_once("`trees.toml`").unwrap();
    let (config, rest) = block(walk, "toml");
    fs::write(at.join("trees.toml"), config).unwrap();
    let (commands, _) = block(rest, "");
    let mut walked = Vec::new();
    for line in commands.lines() {
        let mut args: Vec<&str> = line.split_whitespace().skip(1).collect();
        if args[0] == "train" {
            args.extend(["--quiet", "--set", "train.iterations=4"]);
            args.extend(["--set", "train.eval_every=2"]);
        }
        done(&mic_det(at, &args));
        walked.push(args[0]);
    }
    let expected = ["data", "data", "train", "train", "runs", "eval", "predict"];
    assert_eq!(walked, expected);
    assert_eq!(read_json(&at.join("trees.json"))["images"], 1);
    let seen = read_json(&at.join("seen/detections.json"));
    assert_eq!(seen["images"].as_array().unwrap().len(), 2);
    assert!(at.join("seen/SOAP_031_boxes.png").is_file());
}
