//! Label maps and rare class sampling against numbers recorded from the reference.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../testdata/golden.rs"]
mod golden;

use std::collections::BTreeMap;

use mic_data::label_map::{LabelMap, RawIds, RawLabel};
use mic_data::{ClassStats, RareClassSampler, RcsConfig};
use safetensors::SafeTensors;
use serde::Deserialize;

#[derive(Deserialize)]
struct Recorded {
    rcs: Vec<Rcs>,
    gta_class_stats: BTreeMap<usize, u64>,
    synthia_class_stats: BTreeMap<usize, u64>,
    cityscapes_class_stats: BTreeMap<usize, u64>,
}

#[derive(Deserialize)]
struct Rcs {
    temperature: f64,
    sample_class_stats: Vec<Sample>,
    classes: Vec<u8>,
    probs: Vec<f64>,
    probs_atol: f64,
    samples_with_class: BTreeMap<u8, Vec<(String, u64)>>,
}

#[derive(Deserialize)]
struct Sample {
    file: String,
    #[serde(flatten)]
    counts: BTreeMap<String, u64>,
}

fn recorded() -> Recorded {
    serde_json::from_slice(&golden::read("seg", "labels.json")).expect("labels.json")
}

#[test]
fn rare_class_probabilities_and_candidates_are_those_of_the_reference() {
    let cases = recorded().rcs;
    assert!(!cases.is_empty());
    for case in cases {
        let classes = usize::from(*case.classes.iter().max().unwrap()) + 1;
        let images = case.sample_class_stats.iter().map(|sample| {
            let count = |class: usize| sample.counts.get(&class.to_string()).copied();
            let counts = (0..classes).map(|class| count(class).unwrap_or(0));
            (sample.file.clone(), counts.collect())
        });
        let stats = ClassStats::from_counts(classes, images).unwrap();
        // The largest threshold that leaves a candidate for every class, and none at all.
        let fewest = |files: &Vec<(String, u64)>| files.iter().map(|file| file.1).max().unwrap();
        let threshold = case.samples_with_class.values().map(fewest).min().unwrap() - 1;
        for min_pixels in [0, threshold] {
            let config = RcsConfig {
                min_pixels,
                class_temp: case.temperature,
                min_crop_ratio: 0.5,
            };
            let sampler = RareClassSampler::new(&stats, &config).unwrap();
            assert_eq!(sampler.classes(), case.classes);
            for (ours, theirs) in sampler.probabilities().iter().zip(&case.probs) {
                let difference = (f64::from(*ours) - theirs).abs();
                assert!(difference <= case.probs_atol, "{ours} instead of {theirs}");
            }
            for (class, images) in sampler.classes().iter().zip(sampler.candidates()) {
                let files: Vec<_> = images.iter().map(|i| &stats.names()[*i]).collect();
                let listed = case.samples_with_class[class].iter();
                let expected: Vec<_> = listed
                    .filter(|file| file.1 > min_pixels)
                    .map(|file| &file.0)
                    .collect();
                assert_eq!(files, expected, "class {class}");
            }
        }
        let config = RcsConfig {
            min_pixels: threshold + 1,
            class_temp: case.temperature,
            min_crop_ratio: 0.5,
        };
        let error = RareClassSampler::new(&stats, &config).unwrap_err();
        assert!(error.to_string().contains("lower min_pixels"), "{error}");
    }
}

/// Maps the ids, compares with the recorded train ids and returns the class counts.
fn check_map(map: &LabelMap, ids: RawIds, expected: &[u8]) -> BTreeMap<usize, u64> {
    let raw = RawLabel {
        width: expected.len() as u32,
        height: 1,
        ids,
    };
    let mapped = map.apply(&raw, std::path::Path::new("golden")).unwrap();
    assert_eq!(mapped.as_raw(), expected);
    let mut counts = BTreeMap::new();
    for id in expected.iter().filter(|id| **id != 255) {
        *counts.entry(usize::from(*id)).or_insert(0) += 1;
    }
    counts
}

#[test]
fn label_maps_convert_like_the_reference() {
    let file = golden::read("seg", "labels.safetensors");
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let bytes = |name: &str| tensors.tensor(name).unwrap().data().to_vec();
    let recorded = recorded();

    let map = LabelMap::cityscapes();
    let gta = RawIds::Bits8(bytes("gta.ids"));
    let counts = check_map(&map, gta, &bytes("gta.train_ids"));
    assert_eq!(counts, recorded.gta_class_stats);
    let polygons = RawIds::Bits8(bytes("cityscapes.ids"));
    let counts = check_map(&map, polygons, &bytes("cityscapes.train_ids"));
    assert_eq!(counts, recorded.cityscapes_class_stats);
    let random = RawIds::Bits8(bytes("cityscapes.random_ids"));
    check_map(&map, random, &bytes("cityscapes.random_train_ids"));

    // I64 (H, W, 3); the ids are in the first channel.
    let rgb = bytes("synthia.rgb16");
    let first_channel = rgb.chunks_exact(3 * 8);
    let ids = first_channel.map(|pixel| u16::from_le_bytes([pixel[0], pixel[1]]));
    let ids = RawIds::Bits16(ids.collect());
    let counts = check_map(&LabelMap::synthia(), ids, &bytes("synthia.train_ids"));
    assert_eq!(counts, recorded.synthia_class_stats);
}
