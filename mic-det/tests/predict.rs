//! Predictions for files.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use mic_data::files::{InputFile, input_files, read_image, write_rgb};
use mic_det::predict::{Telling, coco_document, plan, predict_file};
use mic_det::roi::Detections;
use mic_det::{Conventions, Error};

fn folder(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        write_rgb(&path, &RgbImage::from_pixel(40, 30, Rgb([8, 9, 10]))).unwrap();
    }
    folder
}

fn images(folder: &Path) -> Vec<InputFile> {
    input_files(&[folder.to_owned()]).unwrap().images
}

#[test]
fn pictures_and_the_coco_file_tell_what_was_found() {
    let input = folder(&["a/f10.png", "a/f2.png"]);
    let out = input.path().join("out");
    let jobs = plan(images(&input.path().join("a")), &out).unwrap();
    let classes = ["car".to_owned(), "bus".to_owned()];
    let telling = Telling {
        classes: &classes,
        conventions: Conventions::Legacy,
        least: 0.5,
    };
    let found = Detections {
        boxes: vec![[2.0, 15.0, 11.0, 24.0], [1.0, 1.0, 2.0, 2.0]],
        scores: vec![0.875, 0.4],
        labels: vec![2, 1],
    };
    let mut told = Vec::new();
    for (job, id) in jobs.iter().zip(1..) {
        let prediction = predict_file(id, job, &telling, |_| Ok(found.clone())).unwrap();
        assert_eq!(prediction.objects.len(), 1);
        let picture = read_image(&prediction.picture).unwrap();
        assert_ne!(picture.get_pixel(2, 24), &Rgb([8, 9, 10]));
        assert_eq!(picture.get_pixel(5, 20), &Rgb([8, 9, 10]));
        told.push(prediction);
    }
    // Frames are in the order of their numbers.
    assert!(told[0].file_name.ends_with("f2.png"));
    assert_eq!(told[0].picture, out.join("f2_boxes.png"));
    let text = coco_document(&told, &classes).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["images"][1]["id"], 2);
    assert_eq!(document["images"][1]["width"], 40);
    assert_eq!(
        document["categories"][1],
        serde_json::json!({"id": 2, "name": "bus"})
    );
    let expected = serde_json::json!({
        "image_id": 2, "category_id": 2, "category": "bus", "bbox": [2.0, 15.0, 10.0, 10.0],
        "score": 0.875,
    });
    assert_eq!(document["annotations"][1], expected);
}

#[test]
fn clashes_are_refused() {
    let input = folder(&["a/x.png", "b/x.png", "b/x_boxes.png"]);
    let at = |name: &str| input.path().join(name);
    let both: Vec<PathBuf> = vec![at("a"), at("b/x.png")];
    for (inputs, out, part) in [
        (both, "out", "same name"),
        (vec![at("b")], "b", "would replace the input"),
    ] {
        let images = input_files(&inputs).unwrap().images;
        let error = plan(images, &at(out)).unwrap_err();
        assert!(matches!(error, Error::Config(_)), "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn failures_name_the_image() {
    let input = folder(&["x.png"]);
    let jobs = plan(images(input.path()), &input.path().join("out")).unwrap();
    let telling = Telling {
        classes: &[],
        conventions: Conventions::Modern,
        least: 0.0,
    };
    let fail = |_: &RgbImage| Err(Error::Run("too large".into()));
    let error = predict_file(1, &jobs[0], &telling, fail).unwrap_err();
    assert!(error.to_string().contains("x.png: too large"), "{error}");
}
