//! A small set in COCO's format, for the tests of detection.

#![allow(dead_code)] // not every test uses all of it

use std::fs;
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use mic_data::detection::CocoSet;
use serde_json::{Value, json};

/// Every pixel holds (x, y, mark).
pub(crate) fn write_image(path: &Path, width: u32, height: u32, mark: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let image = RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, mark]));
    image.save(path).unwrap();
}

pub(crate) fn annotation(id: u64, image: u64, category: u64, bbox: [f64; 4]) -> Value {
    json!({"id": id, "image_id": image, "category_id": category, "bbox": bbox,
           "area": 7.5, "iscrowd": 0, "segmentation": [[1, 2, 3, 4]]})
}

/// Three images: wide with two objects, high with a crowd only, wide without objects.
pub(crate) fn document() -> Value {
    let mut crowd = annotation(9, 2, 30, [1.0, 1.0, 5.0, 5.0]);
    crowd["iscrowd"] = json!(1);
    json!({
        "info": {"year": 2026},
        "images": [
            {"id": 5, "width": 40, "height": 20, "file_name": "five.png"},
            {"id": 2, "width": 20, "height": 40, "file_name": "two.png"},
            {"id": 3, "width": 40, "height": 20, "file_name": "sub/three.png"},
        ],
        "annotations": [
            annotation(11, 5, 30, [30.0, 10.0, 20.0, 5.0]),
            crowd,
            annotation(10, 5, 7, [2.0, 3.0, 4.0, 5.0]),
        ],
        "categories": [{"id": 30, "name": "car"}, {"id": 7, "name": "person"}],
    })
}

pub(crate) fn write_coco(root: &Path, document: &Value) -> PathBuf {
    for image in document["images"].as_array().unwrap() {
        let side = |key: &str| image[key].as_u64().unwrap() as u32;
        let file = root
            .join("images")
            .join(image["file_name"].as_str().unwrap());
        write_image(&file, side("width"), side("height"), side("id") as u8);
    }
    let path = root.join("annotations.json");
    fs::write(&path, document.to_string()).unwrap();
    path
}

pub(crate) fn open_coco(root: &Path, classes: Option<&[String]>) -> mic_data::Result<CocoSet> {
    CocoSet::read(
        &root.join("annotations.json"),
        &root.join("images"),
        classes,
    )
}
