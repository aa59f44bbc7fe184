//! Boxes, transforms, padding and the COCO conversion against numbers recorded from the reference.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor};
use image::RgbImage;
use mic_data::detection::{
    Boxes, Conversion, DetectionTransform, Objects, convert_cityscapes, join_padded, pad_images,
};
use mic_data::transform::{DetectionResize, Flip};
use serde_json::Value;

#[path = "../../testdata/golden.rs"]
mod golden;
use golden::Golden;

fn atol(golden: &Golden, key: &str) -> f64 {
    let relative = golden
        .metadata("tolerance_rel_to_max_abs")
        .as_f64()
        .unwrap();
    let numbers = golden.numbers(key);
    let largest = numbers
        .iter()
        .fold(0.02f64, |most, value| most.max(value.abs()));
    relative * largest
}

fn check(golden: &Golden, key: &str, tensor: &Tensor) {
    golden.check_within(key, tensor, atol(golden, key));
}

fn corners(golden: &Golden, key: &str) -> Vec<[f32; 4]> {
    let rows = golden.get(key).to_vec2::<f32>().unwrap();
    rows.into_iter()
        .map(|row| row.try_into().unwrap())
        .collect()
}

fn boxes_tensor(boxes: &[[f32; 4]]) -> Tensor {
    Tensor::from_vec(boxes.concat(), (boxes.len(), 4), &Device::Cpu).unwrap()
}

fn integers(golden: &Golden, key: &str) -> Vec<u32> {
    golden
        .numbers(key)
        .into_iter()
        .map(|value| value as u32)
        .collect()
}

#[test]
fn boxes_move_as_in_the_reference() {
    let golden = Golden::open("det", "boxlist");
    let size = integers(&golden, "image_size_wh");
    let boxes = Boxes {
        corners: corners(&golden, "a.boxes"),
        size: (size[0], size[1]),
    };
    let areas = Tensor::new(boxes.areas(), &Device::Cpu).unwrap();
    check(&golden, "area", &areas);
    let xywh = boxes.to_xywh();
    check(&golden, "xywh", &boxes_tensor(&xywh));
    let back = Boxes::from_xywh(&xywh, boxes.size);
    check(&golden, "xyxy_roundtrip", &boxes_tensor(&back.corners));
    let moved = |change: &dyn Fn(&mut Boxes)| {
        let mut boxes = boxes.clone();
        change(&mut boxes);
        boxes
    };
    check(
        &golden,
        "flip_lr",
        &boxes_tensor(&moved(&Boxes::flip).corners),
    );
    let clipped = moved(&Boxes::clip);
    check(&golden, "clip", &boxes_tensor(&clipped.corners));
    let kept = clipped.corners.iter().zip(clipped.with_extent());
    let kept: Vec<_> = kept
        .filter(|(_, keep)| *keep)
        .map(|(corners, _)| *corners)
        .collect();
    check(&golden, "clip_remove", &boxes_tensor(&kept));
    for (index, size) in golden.config["resize"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
    {
        let side = |place: usize| size[place].as_u64().unwrap() as u32;
        let resized = moved(&|boxes| boxes.resize((side(0), side(1))));
        check(
            &golden,
            &format!("resize{index}.boxes"),
            &boxes_tensor(&resized.corners),
        );
    }
}

fn resize_rule(min: u32, max: u32) -> DetectionResize {
    DetectionResize {
        min_sizes: vec![min],
        max_size: (max > 0).then_some(max),
    }
}

#[test]
fn sizes_are_those_of_the_reference() {
    let golden = Golden::open("det", "transforms");
    let mut rules = 0;
    while golden.find(&format!("sizes{rules}.min_max")).is_some() {
        let key = |name: &str| format!("sizes{rules}.{name}");
        let bounds = integers(&golden, &key("min_max"));
        let rule = resize_rule(bounds[0], bounds[1]);
        let inputs = integers(&golden, &key("input_wh"));
        let outputs = integers(&golden, &key("output_hw"));
        for (input, output) in inputs.chunks(2).zip(outputs.chunks(2)) {
            let (width, height) = rule.size(bounds[0], (input[0], input[1]));
            assert_eq!([height, width], output, "{input:?} with {bounds:?}");
        }
        rules += 1;
    }
    assert!(rules > 0);
}

#[test]
fn images_and_boxes_become_those_of_the_reference() {
    let golden = Golden::open("det", "transforms");
    let mut images = Vec::new();
    let mut tables = None;
    loop {
        let case = images.len();
        let key = |name: &str| format!("case{case}.{name}");
        let Some(pixels) = golden.find(&key("image")) else {
            break;
        };
        let (height, width, _) = pixels.dims3().unwrap();
        let pixels = pixels.flatten_all().unwrap().to_vec1().unwrap();
        let image = RgbImage::from_raw(width as u32, height as u32, pixels).unwrap();
        let options = integers(&golden, &key("min_max_flip"));
        let transform = DetectionTransform {
            resize: resize_rule(options[0], options[1]),
            ..DetectionTransform::default()
        };
        let flip = Flip(options[2] != 0);
        let resized = transform.apply_image(&image, options[0]).unwrap();
        let (width, height) = resized.dimensions();
        let shape = (height as usize, width as usize, 3);
        let as_tensor = Tensor::from_slice(resized.as_raw(), shape, &Device::Cpu).unwrap();
        golden.check_within(&key("resized_u8"), &as_tensor, 0.0);
        assert_eq!(integers(&golden, &key("size_wh")), [width, height]);

        let input = pad_images(&[(resized.clone(), flip.0)], &transform.tables(), 1).unwrap();
        check(&golden, &key("tensor"), &input);
        let corners = corners(&golden, &key("boxes"));
        let mut objects = Objects {
            labels: vec![1; corners.len()],
            boxes: Boxes {
                corners,
                size: image.dimensions(),
            },
            ..Objects::default()
        };
        transform.apply_objects(&mut objects, options[0], flip);
        check(
            &golden,
            &key("boxes_out"),
            &boxes_tensor(&objects.boxes.corners),
        );
        images.push((resized, flip.0));
        tables = Some(transform.tables());
    }
    let batch = pad_images(&images, &tables.unwrap(), 32).unwrap();
    assert_eq!(batch.dims(), golden.get("batch.tensors").dims());
    check(&golden, "batch.tensors", &batch);
    let sizes = integers(&golden, "batch.image_sizes");
    for ((image, _), size) in images.iter().zip(sizes.chunks(2)) {
        assert_eq!([image.height(), image.width()], size);
    }
    let [first, second] = ["add.a", "add.b"].map(|key| golden.get(key).unsqueeze(0).unwrap());
    let sum = join_padded(&first, &second).unwrap();
    assert_eq!(sum.dims(), golden.get("add.sum").dims());
    golden.check_within("add.sum", &sum, 0.0);
}

/// Writes the recorded annotation files of Cityscapes below `root`.
fn write_cityscapes(root: &Path, input: &[Value]) {
    for scene in input {
        let polygons = root.join(scene["path"].as_str().unwrap());
        fs::create_dir_all(polygons.parent().unwrap()).unwrap();
        fs::write(&polygons, scene["polygons_json"].to_string()).unwrap();
        let rows = scene["instance_ids"].as_array().unwrap();
        let width = rows[0].as_array().unwrap().len() as u32;
        let ids = rows.iter().flat_map(|row| row.as_array().unwrap());
        let ids: Vec<u16> = ids.map(|id| id.as_u64().unwrap() as u16).collect();
        let image: image::ImageBuffer<image::Luma<u16>, _> =
            image::ImageBuffer::from_raw(width, rows.len() as u32, ids).unwrap();
        let name = polygons.to_string_lossy();
        image
            .save(name.replace("polygons.json", "instanceIds.png"))
            .unwrap();
    }
}

/// Objects by image file, without the ids, which depend on the order of the files.
fn by_image(document: &Value) -> HashMap<String, Vec<Value>> {
    let images = document["images"].as_array().unwrap();
    let objects = document["annotations"].as_array().unwrap();
    let of_image = |image: &Value| {
        let objects = objects
            .iter()
            .filter(|object| object["image_id"] == image["id"]);
        let mut objects: Vec<Value> = objects.cloned().collect();
        for object in &mut objects {
            let object = object.as_object_mut().unwrap();
            object.remove("id");
            object.remove("image_id");
            let area = object["area"].as_f64().unwrap();
            object.insert("area".to_owned(), area.into());
        }
        let mut header = image.clone();
        header.as_object_mut().unwrap().remove("id");
        objects.push(header);
        objects
    };
    let pairs = images.iter().map(|image| {
        let name = image["file_name"].as_str().unwrap().to_owned();
        (name, of_image(image))
    });
    pairs.collect()
}

#[test]
fn cityscapes_becomes_the_coco_files_of_the_reference() {
    let recorded = &golden::json("det", "eval.json")["cityscapes_conversion"];
    let folder = tempfile::tempdir().unwrap();
    write_cityscapes(folder.path(), recorded["input"].as_array().unwrap());
    for (set, fog) in [("cityscapes", None), ("foggy_cityscapes", Some("0.02"))] {
        let conversion = Conversion {
            root: folder.path().to_owned(),
            output: folder.path().join(set),
            fog: fog.map(str::to_owned),
            threads: 2,
        };
        let written = convert_cityscapes(&conversion, &|_, _| {}).unwrap();
        let (mut images, mut annotations) = (0, 0);
        for ((path, image_count, annotation_count), split) in
            written.iter().zip(["val", "train", "test"])
        {
            let expected = &recorded["output"][set][split];
            let ours: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            assert_eq!(ours["categories"], expected["categories"]);
            assert_eq!(by_image(&ours), by_image(expected), "{set} {split}");
            let expected_images = expected["images"].as_array().unwrap().len();
            assert_eq!(*image_count, expected_images);
            let ids = |list: &str| -> Vec<u64> {
                let entries = ours[list].as_array().unwrap().iter();
                entries.map(|entry| entry["id"].as_u64().unwrap()).collect()
            };
            let run = |start: u64, count: usize| (start..start + count as u64).collect::<Vec<_>>();
            assert_eq!(ids("images"), run(images, *image_count));
            assert_eq!(ids("annotations"), run(annotations, *annotation_count));
            images += *image_count as u64;
            annotations += *annotation_count as u64;
        }
        // The journal of a finished conversion is gone.
        assert_eq!(fs::read_dir(&conversion.output).unwrap().count(), 3);
    }
}
