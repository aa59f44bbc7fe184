//! Boxes, anchors, box coder, matcher and sampler against the recorded reference.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

mod common;

use candle_core::{Device, Tensor};
use common::golden::Golden;
use common::{
    Recorded, boxes, cases, check, check_boxes, check_integers, check_numbers, integers, list,
    sizes, store,
};
use mic_det::anchors::{AnchorConfig, Anchors};
use mic_det::box_coder::BoxCoder;
use mic_det::boxes::{is_proper, resize};
use mic_det::matcher::{Match, Matcher};
use mic_det::sampler::BalancedSampler;
use mic_det::{Conventions, Result};

const LEGACY: Conventions = Conventions::Legacy;

#[test]
fn box_lists() {
    let golden = Golden::open("det", "boxlist");
    let (a, b) = (boxes(&golden, "a.boxes"), boxes(&golden, "b.boxes"));
    let size = integers(&golden, "image_size_wh");
    let size = (size[1], size[0]);
    check_numbers(&golden, "iou", &LEGACY.iou_matrix(&a, &b));
    let each = |f: &dyn Fn([f32; 4]) -> [f32; 4]| a.iter().map(|&c| f(c)).collect::<Vec<_>>();
    let areas: Vec<f32> = a.iter().map(|&c| LEGACY.area(c)).collect();
    check_numbers(&golden, "area", &areas);
    let xywh = each(&|c| LEGACY.to_xywh(c));
    check_boxes(&golden, "xywh", &xywh);
    let back: Vec<[f32; 4]> = xywh.iter().map(|&v| LEGACY.from_xywh(v)).collect();
    check_boxes(&golden, "xyxy_roundtrip", &back);
    check_boxes(&golden, "flip_lr", &each(&|c| LEGACY.flip(c, size)));
    for (i, wanted) in golden.config["resize"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
    {
        let wanted = list(wanted);
        let to = (wanted[1] as usize, wanted[0] as usize);
        let resized = each(&|c| resize(c, size, to));
        check_boxes(&golden, &format!("resize{i}.boxes"), &resized);
    }
    let clipped = each(&|c| LEGACY.clip(c, size));
    check_boxes(&golden, "clip", &clipped);
    let mut proper = clipped;
    proper.retain(|&c| is_proper(c));
    check_boxes(&golden, "clip_remove", &proper);
    for (i, least) in list(&golden.config["min"]).into_iter().enumerate() {
        let mut kept = a.clone();
        kept.retain(|&c| LEGACY.at_least(c, least as f32));
        check_boxes(&golden, &format!("remove_small{i}.boxes"), &kept);
    }
}

#[test]
fn anchors() -> Result<()> {
    let golden = Golden::open("det", "anchors");
    for case in cases(&golden, "case") {
        let key = |key: &str| format!("{case}.{key}");
        let straddle = golden.scalar(&key("straddle_thresh"));
        let config = AnchorConfig {
            sizes: golden.numbers(&key("sizes")),
            ratios: golden.numbers(&key("ratios")),
            strides: integers(&golden, &key("strides")),
            straddle: (straddle >= 0.0).then_some(straddle),
        };
        for level in 0..config.sizes.len() {
            let name = key(&format!("cell_anchors.level{level}"));
            check_boxes(&golden, &name, &config.cell(level, LEGACY));
        }
        let anchors = Anchors::new(&config, LEGACY, &store().root())?;
        let maps = sizes(&golden, &key("feature_sizes"));
        let padded = (maps[0].0 * config.strides[0], maps[0].1 * config.strides[0]);
        let grid = anchors.grid(&maps, padded)?;
        assert_eq!(
            grid.len() as f64,
            golden
                .scalar(&key("count"))
                .max(golden.numbers(&key("count")).iter().sum())
        );
        let all = grid.anchors();
        let visible = |anchors: &[[f32; 4]]| -> Vec<Vec<u8>> {
            let images = sizes(&golden, &key("image_sizes")).into_iter();
            images
                .map(|size| {
                    let flags = anchors.iter().map(|&a| grid.is_visible(a, size));
                    flags.map(u8::from).collect()
                })
                .collect()
        };
        let counts: Vec<i64> = visible(&all)
            .iter()
            .map(|image| image.iter().map(|&v| i64::from(v)).sum())
            .collect();
        check_integers(&golden, &key("visible_count"), &counts);
        if golden.find(&key("anchors")).is_some() {
            check_boxes(&golden, &key("anchors"), &all);
            check_integers(&golden, &key("visible"), &visible(&all).concat());
        } else {
            let places = integers(&golden, &key("sample_idx"));
            let some: Vec<[f32; 4]> = places.iter().map(|&i| all[i]).collect();
            check_boxes(&golden, &key("sample_anchors"), &some);
            check_integers(&golden, &key("sample_visible"), &visible(&some).concat());
        }
    }
    Ok(())
}

#[test]
fn box_coder() {
    let golden = Golden::open("det", "box_coder");
    for case in cases(&golden, "case") {
        let key = |key: &str| format!("{case}.{key}");
        let weights = golden.numbers(&key("weights"));
        let coder = BoxCoder {
            weights: [0, 1, 2, 3].map(|i| weights[i] as f32),
            conventions: LEGACY,
        };
        let from = boxes(&golden, &key("proposals"));
        let wanted = boxes(&golden, &key("reference"));
        let pairs = || wanted.iter().zip(&from);
        let encoded: Vec<[f32; 4]> = pairs().map(|(&w, &f)| coder.encode(w, f)).collect();
        check_boxes(&golden, &key("encoded"), &encoded);
        let decode = |codes: &[[f32; 4]]| -> Vec<[f32; 4]> {
            let classes = codes.len() / from.len();
            let codes = codes.chunks(classes).zip(&from);
            codes
                .flat_map(|(codes, &f)| codes.iter().map(move |&c| coder.decode(c, f)))
                .collect()
        };
        check_boxes(&golden, &key("roundtrip"), &decode(&encoded));
        for (codes, decoded) in [("codes", "decoded"), ("codes_large", "decoded_large")] {
            let flat: Vec<f32> = golden
                .numbers(&key(codes))
                .iter()
                .map(|&v| v as f32)
                .collect();
            check_boxes(&golden, &key(decoded), &decode(flat.as_chunks::<4>().0));
        }
    }
}

fn as_numbers(matches: &[Match]) -> Vec<i64> {
    let number = |m: &Match| match *m {
        Match::Object(i) => i as i64,
        Match::Background => -1,
        Match::Between => -2,
    };
    matches.iter().map(number).collect()
}

#[test]
fn matcher() {
    let golden = Golden::open("det", "matcher_sampler");
    let matcher = |case: &str, low_quality| {
        let thresholds = golden.numbers(&format!("{case}.thresholds"));
        Matcher {
            high: thresholds[0] as f32,
            low: thresholds[1] as f32,
            low_quality,
        }
    };
    for case in cases(&golden, "match") {
        let truth = boxes(&golden, &format!("{case}.gt"));
        let candidates = boxes(&golden, &format!("{case}.boxes"));
        let iou = LEGACY.iou_matrix(&truth, &candidates);
        check_numbers(&golden, &format!("{case}.iou"), &iou);
        let low_quality = golden.scalar(&format!("{case}.allow_low_quality")) != 0.0;
        let matches = matcher(&case, low_quality).matches(&iou, candidates.len());
        check_integers(&golden, &format!("{case}.matches"), &as_numbers(&matches));
    }
    for case in cases(&golden, "tie") {
        let quality = golden.get(&format!("{case}.quality"));
        let boxes = quality.dims()[1];
        let quality = quality.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for low_quality in [false, true] {
            let matches = matcher(&case, low_quality).matches(&quality, boxes);
            let key = format!("{case}.matches_low{}", u8::from(low_quality));
            check_integers(&golden, &key, &as_numbers(&matches));
        }
    }
}

#[test]
fn sampler() {
    let golden = Golden::open("det", "matcher_sampler");
    let picks = Recorded {
        golden: &golden,
        prefix: String::new(),
    };
    for case in cases(&golden, "sampler") {
        let sampler = BalancedSampler {
            batch: golden.scalar(&format!("{case}.batch_size")) as usize,
            positive_fraction: golden.scalar(&format!("{case}.positive_fraction")),
        };
        for site in cases(&golden, &format!("{case}.img")) {
            let labels = golden.numbers(&format!("{site}.input_labels"));
            let labels: Vec<i64> = labels.into_iter().map(|l| l as i64).collect();
            let sampled = sampler.sample(&labels, &site, &picks);
            let as_i64 = |v: &[usize]| v.iter().map(|&i| i as i64).collect::<Vec<_>>();
            check_integers(
                &golden,
                &format!("{site}.pos_idx"),
                &as_i64(&sampled.positive),
            );
            check_integers(
                &golden,
                &format!("{site}.neg_idx"),
                &as_i64(&sampled.negative),
            );
            let seen = Tensor::from_slice(&labels, labels.len(), &Device::Cpu).unwrap();
            check(&golden, &format!("{site}.labels"), &seen);
        }
    }
}
