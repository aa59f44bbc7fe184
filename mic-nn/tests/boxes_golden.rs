//! NMS, RoIAlign and its levels against the recorded reference.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;

use candle_core::{DType, Device, Result, Tensor, Var};
use golden::{Golden, values};
use mic_nn::autograd::backward;
use mic_nn::ops::{
    LevelMapping, MultiLevelRoiAlign, NmsRule, RoiAlignOptions, index_select,
    multi_level_roi_align, nms, roi_align,
};

/// The tolerance of a tensor: a share of its largest magnitude, from the file's header.
fn check(golden: &Golden, key: &str, actual: &Tensor) {
    let share = golden
        .metadata("tolerance_rel_to_max_abs")
        .as_f64()
        .unwrap();
    let largest = golden
        .numbers(key)
        .iter()
        .fold(0.02f64, |m, v| m.max(v.abs()));
    golden.check_within(key, actual, share * largest);
}

fn integers(golden: &Golden, key: &str) -> Vec<usize> {
    golden
        .numbers(key)
        .into_iter()
        .map(|v| v as usize)
        .collect()
}

/// The names `<prefix>0`, `<prefix>1`, ... as far as the file has them with `suffix`.
fn cases(golden: &Golden, prefix: &str, suffix: &str) -> Vec<String> {
    let names = (0..).map(|n| format!("{prefix}{n}"));
    let found: Vec<String> = names
        .take_while(|name| golden.find(&format!("{name}{suffix}")).is_some())
        .collect();
    assert!(!found.is_empty());
    found
}

/// A recorded loss is the sum of the result times the cotangent.
fn loss(pooled: &Tensor, cotangent: &Tensor) -> Result<Tensor> {
    (pooled * cotangent)?.sum_all()
}

#[test]
fn suppression_keeps_the_recorded_boxes() -> Result<()> {
    let golden = Golden::open("det", "nms");
    for case in cases(&golden, "case", ".boxes") {
        let get = |key: &str| golden.get(&format!("{case}.{key}"));
        let threshold = golden.scalar(&format!("{case}.threshold"));
        let kept = nms(get("boxes"), get("scores"), threshold, NmsRule::Legacy)?;
        assert_eq!(values(&kept), values(get("keep")));
        let limit = golden.scalar(&format!("{case}.max_proposals"));
        let limit = if limit > 0.0 {
            limit as usize
        } else {
            usize::MAX
        };
        let kept = kept.narrow(0, 0, kept.elem_count().min(limit))?;
        let boxes = index_select(get("boxes"), 0, &kept)?;
        golden.check_within(&format!("{case}.keep_limited_boxes"), &boxes, 0.0);
    }
    let (boxes, scores) = (golden.get("boundary.boxes"), golden.get("boundary.scores"));
    let threshold = golden.scalar("boundary.threshold");
    let kept = nms(boxes, scores, threshold, NmsRule::Legacy)?;
    assert_eq!(values(&kept), golden.numbers("boundary.keep_gpu"));
    Ok(())
}

#[test]
fn single_maps_are_pooled_as_recorded() -> Result<()> {
    let golden = Golden::open("det", "roi_align");
    for case in cases(&golden, "single", ".features") {
        let key = |key: &str| format!("{case}.{key}");
        let size = integers(&golden, &key("output_size"));
        let options = RoiAlignOptions {
            output_size: (size[0], size[1]),
            spatial_scale: golden.scalar(&key("scale")),
            sampling_ratio: golden.scalar(&key("sampling_ratio")) as usize,
            aligned: false,
        };
        let features = Var::from_tensor(golden.get(&key("features")))?;
        let pooled = roi_align(&features, golden.get(&key("rois")), &options)?;
        check(&golden, &key("pooled"), &pooled);
        let gradients = backward(&loss(&pooled, golden.get(&key("cotangent")))?)?;
        check(
            &golden,
            &key("grad_features"),
            gradients.get(&features).unwrap(),
        );
    }
    Ok(())
}

#[test]
fn levels_are_the_recorded_ones() -> Result<()> {
    let golden = Golden::open("det", "roi_align");
    let maps = cases(&golden, "pooler.features.level", "").len();
    let levels = LevelMapping::legacy().levels(golden.get("levels.boxes"), maps)?;
    assert_eq!(levels, integers(&golden, "levels.level"));
    Ok(())
}

#[test]
fn pyramids_are_pooled_as_recorded() -> Result<()> {
    let golden = Golden::open("det", "roi_align");
    let features = cases(&golden, "pooler.features.level", "")
        .iter()
        .map(|key| Var::from_tensor(golden.get(key)))
        .collect::<Result<Vec<_>>>()?;
    let mut rois = Vec::new();
    for (image, key) in cases(&golden, "pooler.boxes.img", "").iter().enumerate() {
        let boxes = golden.get(key);
        let index = Tensor::full(image as f32, (boxes.dim(0)?, 1), &Device::Cpu)?;
        rois.push(Tensor::cat(&[&index, boxes], 1)?);
    }
    let rois = Tensor::cat(&rois, 0)?;
    let pooler = &golden.config["pooler"];
    let size = pooler["res"].as_u64().unwrap() as usize;
    let height = pooler["img"][0].as_f64().unwrap();
    let options = MultiLevelRoiAlign {
        output_size: (size, size),
        spatial_scales: features
            .iter()
            .map(|map| Ok(map.dim(2)? as f64 / height))
            .collect::<Result<_>>()?,
        sampling_ratio: pooler["sr"].as_u64().unwrap() as usize,
        aligned: false,
        mapping: LevelMapping::legacy(),
    };
    let levels = options
        .mapping
        .levels(&rois.narrow(1, 1, 4)?, features.len())?;
    assert_eq!(levels, integers(&golden, "pooler.levels"));
    let maps: Vec<Tensor> = features.iter().map(|v| v.as_tensor().clone()).collect();
    let pooled = multi_level_roi_align(&maps, &rois, &options)?;
    assert_eq!(pooled.dtype(), DType::F32);
    check(&golden, "pooler.pooled", &pooled);
    let gradients = backward(&loss(&pooled, golden.get("pooler.cotangent"))?)?;
    for (level, map) in features.iter().enumerate() {
        let key = format!("pooler.grad_features.level{level}");
        check(&golden, &key, gradients.get(map).unwrap());
    }
    Ok(())
}
