//! Numbers that were written down for the reference, by hand or from running it.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use candle_core::{DType, Device, Tensor, Var};
use mic_core::BlockMaskConfig;
use mic_core::augment::kernel_size;
use mic_data::rng::stream;
use mic_det::Result;
use mic_det::anchors::{AnchorConfig, Anchors};
use mic_det::boxes::{Corners, to_rois};
use mic_det::detector::{DetectorConfig, Model};
use mic_det::roi::{BoxHead, RoiConfig, classifier_loss};
use mic_det::rpn::{Weighting, objectness_loss};
use mic_det::sada::{DomainHeads, DomainInput, SadaConfig};
use mic_det::uda::{MaskedConsistency, SgdOptions};
use mic_det::{Conventions, Tap};
use mic_nn::autograd::backward;
use mic_nn::forward::Forward;
use mic_nn::ops::{self, MultiLevelRoiAlign, Reduction};
use mic_nn::params::Store;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

const LEGACY: Conventions = Conventions::Legacy;
const CPU: &Device = &Device::Cpu;

fn store() -> Store {
    Store::trainable(ChaCha8Rng::seed_from_u64(0), DType::F32, CPU)
}

#[track_caller]
fn near(ours: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(ours.len(), expected.len());
    for (a, b) in ours.iter().zip(expected) {
        assert!(
            (a - b).abs() <= tolerance,
            "{ours:?}, expected {expected:?}"
        );
    }
}

fn vector(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn the_paper_s_detector_has_the_size_of_the_reference_s() -> Result<()> {
    let model = Model::new(&DetectorConfig::reference(50, 9)?, store())?;
    let state = model.store.state();
    let scalars = |tensors: &[(String, Tensor)]| -> usize {
        tensors.iter().map(|(_, tensor)| tensor.elem_count()).sum()
    };
    assert_eq!((state.len(), scalars(&state)), (344, 50_502_721));
    let all = model.store.params();
    assert_eq!((all.len(), scalars(&all)), (127, 50_396_421));
    let frozen = |name: &str| name.contains("body.stem.") || name.contains("body.layer1.");
    let trained: Vec<_> = all.into_iter().filter(|(name, _)| !frozen(name)).collect();
    assert_eq!((trained.len(), scalars(&trained)), (116, 50_174_021));
    let biases = trained.iter().filter(|(name, _)| name.contains("bias"));
    assert_eq!(biases.count(), 37);
    Ok(())
}

#[test]
fn anchors_are_those_of_the_table() -> Result<()> {
    let config = AnchorConfig::default();
    let table: [[Corners; 3]; 5] = [
        [
            [-22.0, -10.0, 25.0, 13.0],
            [-14.0, -14.0, 17.0, 17.0],
            [-10.0, -22.0, 13.0, 25.0],
        ],
        [
            [-40.0, -20.0, 47.0, 27.0],
            [-28.0, -28.0, 35.0, 35.0],
            [-20.0, -44.0, 27.0, 51.0],
        ],
        [
            [-84.0, -40.0, 99.0, 55.0],
            [-56.0, -56.0, 71.0, 71.0],
            [-36.0, -80.0, 51.0, 95.0],
        ],
        [
            [-164.0, -72.0, 195.0, 103.0],
            [-112.0, -112.0, 143.0, 143.0],
            [-76.0, -168.0, 107.0, 199.0],
        ],
        [
            [-332.0, -152.0, 395.0, 215.0],
            [-224.0, -224.0, 287.0, 287.0],
            [-148.0, -328.0, 211.0, 391.0],
        ],
    ];
    for (level, expected) in table.iter().enumerate() {
        assert_eq!(config.cell(level, LEGACY), expected);
    }
    let anchors = Anchors::new(&config, LEGACY, &store().root())?;
    let maps = [(200, 400), (100, 200), (50, 100), (25, 50), (13, 25)];
    assert_eq!(anchors.grid(&maps, (800, 1600))?.len(), 319_725);
    Ok(())
}

#[test]
fn regions_go_to_levels_by_the_root_of_their_area() -> Result<()> {
    let mapping = LEGACY.level_mapping();
    // A side of s pixels ends at s - 1.
    let sides = [111.99, 112.0, 223.9, 224.0, 447.0, 448.0, 5000.0];
    let boxes: Vec<f32> = sides
        .iter()
        .flat_map(|s| [0.0, 0.0, s - 1.0, s - 1.0])
        .collect();
    let boxes = Tensor::from_vec(boxes, (sides.len(), 4), CPU)?;
    assert_eq!(mapping.levels(&boxes, 4)?, [0, 1, 1, 2, 2, 3, 3]);
    Ok(())
}

#[test]
fn regions_are_read_without_half_a_pixel() -> Result<()> {
    let map = Tensor::arange(0f32, 36.0, CPU)?.reshape((1, 1, 6, 6))?;
    let pool = MultiLevelRoiAlign {
        output_size: (2, 2),
        spatial_scales: vec![1.0],
        sampling_ratio: 2,
        aligned: false,
        mapping: LEGACY.level_mapping(),
    };
    for (corners, expected) in [
        ([1.0, 1.0, 4.0, 4.0], [12.25, 13.75, 21.25, 22.75]),
        ([2.0, 2.0, 2.0, 2.0], [15.75, 16.25, 18.75, 19.25]),
    ] {
        let rois = to_rois([[corners].as_slice()])?;
        let pooled = ops::multi_level_roi_align(std::slice::from_ref(&map), &rois, &pool)?;
        near(&vector(&pooled), &expected, 1e-5);
    }
    Ok(())
}

#[test]
fn distances_are_quadratic_near_zero() -> Result<()> {
    for (beta, distances, sum) in [
        (1.0 / 9.0, [0.05f32, 0.2], 0.155_69),
        (1.0, [0.5, 2.0], 1.625),
    ] {
        let found = Tensor::new(&distances, CPU)?;
        let loss = ops::smooth_l1(&found, &found.zeros_like()?, beta, Reduction::Sum)?;
        near(&vector(&loss), &[sum], 1e-5);
    }
    Ok(())
}

#[test]
fn objectness_is_weighted_by_itself() -> Result<()> {
    let logits = Var::new(&[2f32, -1.0, 0.0, 3.0], CPU)?;
    let truth = Tensor::new(&[1f32, 0.0, 0.0, 0.0], CPU)?;
    let plain = objectness_loss(&logits, &truth, Weighting::None)?;
    near(&vector(&plain), &[1.045_481_1], 1e-6);
    let weighted = objectness_loss(&logits, &truth, Weighting::Prob)?;
    near(&vector(&weighted), &[0.861_656_5], 1e-6);
    let grads = backward(&weighted)?;
    let expected = [-0.022_916_75, 0.033_480_12, 0.105_821_7, 0.261_280_6];
    near(&vector(grads.get(&logits).unwrap()), &expected, 1e-6);
    Ok(())
}

#[test]
fn classes_are_weighted_by_a_constant() -> Result<()> {
    let logits = Var::new(&[[2f32, 0.0, 1.0], [0.0, 3.0, 0.0]], CPU)?;
    let truth = Tensor::new(&[2u32, 1], CPU)?;
    let loss = classifier_loss(&logits, &truth, Weighting::Prob)?;
    near(&vector(&loss), &[0.511_362], 1e-6);
    let grads = backward(&loss)?;
    let expected = [
        0.221_272_7,
        0.029_946,
        -0.251_218_8,
        0.020_589_1,
        -0.041_178_2,
        0.020_589_1,
    ];
    near(&vector(grads.get(&logits).unwrap()), &expected, 1e-6);
    Ok(())
}

const ZEROS: [f32; 2] = [0.0; 2];

/// Heads whose logits are their inputs: `relu(x)` and `relu(-x)`, subtracted.
fn transparent_heads(store: &Store) -> Result<DomainHeads> {
    let config = SadaConfig {
        image_hidden: 2,
        instance_hidden: 2,
        dropout: 0.0,
        ..SadaConfig::default()
    };
    let strides = AnchorConfig::default().strides;
    let head = BoxHead::new(
        &RoiConfig::default(),
        1,
        &strides,
        LEGACY,
        &self::store().root(),
    )?;
    let heads = DomainHeads::new(&config, 5, 1, 1, head.pool(), &store.root())?;
    for (name, var) in store.vars() {
        let values: &[f32] = match var.elem_count() {
            count if name.ends_with("bias") => &ZEROS[..count],
            4 => &[1.0, 0.0, 0.0, 1.0],
            _ => &[1.0, -1.0],
        };
        var.set(&Tensor::from_slice(values, var.shape(), CPU)?)?;
    }
    Ok(heads)
}

#[test]
fn the_losses_of_the_domain_heads() -> Result<()> {
    let store = store();
    let heads = transparent_heads(&store)?;
    let sizes = [(8, 16), (4, 8), (2, 4), (1, 2), (1, 1)];
    let mut maps = Vec::new();
    for (level, (height, width)) in sizes.into_iter().enumerate() {
        let l = (level + 1) as f32;
        let of = |value: f32| Tensor::full(value, (1, 1, height, width), CPU);
        maps.push(Tensor::cat(&[of(0.5 * l)?, of(-0.25 * l)?], 0)?);
    }
    let source = [[0.0, 0.0, 31.0, 15.0], [4.0, 4.0, 59.0, 27.0]];
    let target = [[8.0, 2.0, 40.0, 30.0]];
    let rois = to_rois([source.as_slice(), target.as_slice()])?;
    let features = Tensor::new(&[[0.3f32], [0.0], [-0.7]], CPU)?;
    let input = DomainInput {
        maps: &maps,
        rois: &rois,
        features: &features,
        source_images: &[true, false],
        source_rois: &[true, true, false],
    };
    let losses = heads.losses(&input, &Forward::eval(), &mut Tap::none())?;
    near(&vector(&losses.image), &[0.319_664_8], 1e-6);
    near(&vector(&losses.instance), &[0.550_229_5], 1e-6);
    near(&vector(&losses.consistency), &[0.092_162_5], 1e-6);
    Ok(())
}

/// Only regions of the finest level have a logit: all others say nothing of their domain.
#[test]
fn without_a_small_region_the_instance_loss_is_the_logarithm_of_two() -> Result<()> {
    let store = store();
    let heads = transparent_heads(&store)?;
    let map = |side| Tensor::zeros((2, 1, side, side), DType::F32, CPU);
    let maps = [map(64)?, map(32)?, map(16)?, map(8)?, map(4)?];
    let large = [[0.0, 0.0, 200.0, 200.0]];
    let rois = to_rois([large.as_slice(), large.as_slice()])?;
    let features = Var::new(&[[5f32], [-3.0]], CPU)?;
    let input = DomainInput {
        maps: &maps,
        rois: &rois,
        features: features.as_tensor(),
        source_images: &[true, false],
        source_rois: &[true, false],
    };
    let losses = heads.losses(&input, &Forward::eval(), &mut Tap::none())?;
    near(&vector(&losses.instance), &[std::f32::consts::LN_2], 1e-7);
    Ok(())
}

#[test]
fn learning_rates_are_those_of_the_reference() {
    let sgd = SgdOptions::default();
    for (step, expected) in [
        (0, 8.333_333e-4),
        (100, 1.166_67e-3),
        (250, 1.666_67e-3),
        (499, 2.496_667e-3),
        (500, 2.5e-3),
        (29_999, 2.5e-3),
        (30_000, 2.5e-4),
        (39_999, 2.5e-4),
        (40_000, 2.5e-5),
        (59_999, 2.5e-5),
    ] {
        let lr = sgd.schedule.lr(step, sgd.lr);
        assert!((lr / expected - 1.0).abs() < 1e-5, "{step}: {lr}");
        assert_eq!(sgd.schedule.lr(step, sgd.lr * sgd.bias_lr_mult), 2.0 * lr);
    }
}

#[test]
fn masks_hide_blocks_and_are_independent() -> Result<()> {
    let paper = MaskedConsistency::default();
    for (side, blocks) in [
        (592, 18),
        (624, 20),
        (720, 22),
        (752, 24),
        (784, 24),
        (816, 26),
    ] {
        assert_eq!(paper.blocks.grid(side, 1600)?, (blocks, 50), "{side}");
    }
    let BlockMaskConfig { block, .. } = paper.blocks;
    let mask = paper
        .blocks
        .sample(&mut stream(1, "block mask", 0), 2, 800, 1600)?;
    let images = mask.apply(&Tensor::ones((2, 3, 800, 1600), DType::F32, CPU)?)?;
    let values = vector(&images);
    let at = |image: usize, channel: usize, y: usize, x: usize| {
        values[((image * 3 + channel) * 800 + y) * 1600 + x]
    };
    let (mut kept, mut different) = (0, 0);
    for image in 0..2 {
        for y in 0..800 {
            for x in 0..1600 {
                let value = at(image, 0, y / block * block, x / block * block);
                for channel in 0..3 {
                    assert_eq!(at(image, channel, y, x), value);
                }
                kept += usize::from(value == 1.0);
                different += usize::from(image == 1 && value != at(0, 0, y, x));
            }
        }
    }
    let share = kept as f64 / (2.0 * 800.0 * 1600.0);
    assert!((share - 0.5).abs() < 0.04, "{share}");
    assert!(different > 0);
    Ok(())
}

#[test]
fn blurs_are_as_wide_as_the_reference_s() {
    let sizes = [576, 608, 704, 800, 1056, 1088, 1333, 1600];
    assert_eq!(sizes.map(kernel_size), [57, 61, 71, 79, 105, 109, 133, 159]);
    // What the published run does with its default seed.
    assert!(MaskedConsistency::default().blur);
}

#[test]
fn gradients_are_reversed_by_a_factor() -> Result<()> {
    let x = Var::new(&[1f32], CPU)?;
    let y = (ops::gradient_reversal(x.as_tensor(), 0.025)? * 2.0)?.sum_all()?;
    near(&vector(backward(&y)?.get(&x).unwrap()), &[-0.05], 1e-9);
    Ok(())
}
