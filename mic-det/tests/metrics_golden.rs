//! Average precision beside recorded numbers of the reference.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;

use std::collections::BTreeMap;
use std::path::Path;

use golden::json;
use mic_data::detection::{CocoSet, DetectionSet};
use mic_det::Conventions;
use mic_det::boxes::{Corners, resize};
use mic_det::metrics::{
    CocoOptions, CocoScores, ImageBoxes, Interpolation, VocOptions, VocRule, coco, voc,
};
use mic_det::roi::Detections;
use serde_json::Value;

fn numbers<const N: usize>(value: &Value) -> [f64; N] {
    let list = value.as_array().unwrap().iter();
    let list: Vec<f64> = list.map(|v| v.as_f64().unwrap()).collect();
    list.try_into().unwrap()
}

/// The annotations of a recorded case, read as users' files are.
fn set(case: &Value, folder: &Path) -> CocoSet {
    let file = folder.join("annotations.json");
    std::fs::write(&file, case["annotations"].to_string()).unwrap();
    CocoSet::read(&file, folder, None).unwrap()
}

/// What the network found in image `index`, in the image's own pixels.
fn found(case: &Value, set: &CocoSet, index: usize) -> Detections {
    let predictions = case["predictions"].as_array().unwrap().iter();
    let mut own = predictions.filter(|p| p["image_index"].as_u64() == Some(index as u64));
    let Some(own) = own.next() else {
        return Detections::default();
    };
    let [from_width, from_height] = numbers(&own["size_wh"]);
    let (width, height) = set.size(index);
    let boxes = own["boxes"].as_array().unwrap().iter().map(|corners| {
        let corners: Corners = numbers::<4>(corners).map(|v| v as f32);
        let from = (from_height as usize, from_width as usize);
        resize(corners, from, (height as usize, width as usize))
    });
    let list = |key: &str| own[key].as_array().unwrap().iter();
    Detections {
        boxes: boxes.collect(),
        scores: list("scores").map(|v| v.as_f64().unwrap() as f32).collect(),
        labels: list("labels").map(|v| v.as_u64().unwrap() as u32).collect(),
    }
}

fn images(case: &Value, set: &CocoSet) -> Vec<ImageBoxes> {
    let boxes = |i| ImageBoxes::new(&set.objects(i), &found(case, set, i), Conventions::Legacy);
    (0..set.len()).map(boxes).collect()
}

fn check(name: &str, ours: Option<f64>, recorded: &Value) {
    let recorded = recorded.as_f64().unwrap();
    let ours = ours.unwrap_or(-1.0);
    assert!(
        (ours - recorded).abs() <= 1e-6,
        "{name}: {ours}, recorded {recorded}"
    );
}

fn check_scores(name: &str, ours: &CocoScores, recorded: &Value) {
    let ours: BTreeMap<&str, Option<f64>> = ours.named().into_iter().collect();
    for (figure, value) in recorded.as_object().unwrap() {
        check(&format!("{name} {figure}"), ours[figure.as_str()], value);
    }
}

#[test]
fn detections_are_submitted_in_the_pixels_of_the_image() {
    let folder = tempfile::tempdir().unwrap();
    for case in json("det", "eval.json")["evaluation"].as_array().unwrap() {
        let set = set(case, folder.path());
        let mut recorded = case["coco_results"].as_array().unwrap().iter();
        for (index, image) in images(case, &set).iter().enumerate() {
            for found in &image.found {
                let wanted = recorded.next().unwrap();
                assert_eq!(wanted["image_id"], set.image_id(index));
                let category = set.category_ids()[found.label as usize - 1];
                assert_eq!(wanted["category_id"], category);
                assert_eq!(wanted["score"], found.score);
                let xywh = numbers::<4>(&wanted["bbox"]);
                let off = xywh.iter().zip(found.xywh).map(|(a, b)| (a - b).abs());
                assert!(
                    off.fold(0.0, f64::max) <= 1e-4,
                    "{found:?}, recorded {wanted}"
                );
            }
        }
        assert!(recorded.next().is_none());
    }
}

#[test]
fn coco_figures_are_the_recorded_ones() {
    let folder = tempfile::tempdir().unwrap();
    for (n, case) in json("det", "eval.json")["evaluation"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
    {
        let set = set(case, folder.path());
        let images = images(case, &set);
        let classes = set.class_names().len();
        let ours = coco(&images, classes, &CocoOptions::default());
        let recorded = &case["expected"];
        check_scores(&format!("case {n}, all"), &ours.all, &recorded["all"]);
        for (place, id) in set.category_ids().iter().enumerate() {
            let recorded = &recorded["per_category"][id.to_string()];
            check_scores(
                &format!("case {n}, category {id}"),
                &ours.classes[place],
                recorded,
            );
        }
        if let Some(recorded) = recorded.get("AP50_if_ids_started_at_1") {
            let options = CocoOptions {
                zero_is_no_match: false,
                ..CocoOptions::default()
            };
            let found = coco(&images, classes, &options).all.ap50;
            check(&format!("case {n}, id 0 is an id"), found, recorded);
        }
    }
}

#[test]
fn voc_figures_are_the_recorded_ones() {
    let folder = tempfile::tempdir().unwrap();
    for case in json("det", "eval.json")["evaluation"].as_array().unwrap() {
        let set = set(case, folder.path());
        let images = images(case, &set);
        for (key, interpolation) in [
            ("use_07_metric", Interpolation::ElevenPoint),
            ("area_metric", Interpolation::Area),
        ] {
            let options = VocOptions {
                interpolation,
                rule: VocRule::Reference,
                ..VocOptions::default()
            };
            let ours = voc(&images, set.class_names().len(), &options);
            let recorded = &case["expected"]["voc"][key];
            check(key, ours.mean, &recorded["map"]);
            // The first is the background.
            let classes = recorded["ap"].as_array().unwrap().iter().skip(1);
            for (label, value) in classes.enumerate() {
                match value.is_null() {
                    true => assert_eq!(ours.classes[label], None, "{key}, label {label}"),
                    false => check(key, ours.classes[label], value),
                }
            }
        }
    }
}
