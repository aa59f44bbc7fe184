//! RoIAlign and non-maximum suppression.

use candle_core::{Device, Tensor};
use mic_nn::ops::{self, NmsRule, RoiAlignOptions};
use rand::Rng;

use super::emulator::emulators;
use super::memory::{Buffer, Struct};
use super::reference::{close, expected, rng, tensor, tolerance, values};

/// Regions of all sizes, some beyond the border, with coordinates that single precision scales
/// exactly, so that no sample is inside in one precision and outside in the other.
fn regions(rng: &mut impl Rng, count: usize, batch: usize, size: (usize, usize)) -> Vec<f32> {
    let mut rois = Vec::new();
    for _ in 0..count {
        let (h, w) = (4 * size.0 as i32, 4 * size.1 as i32);
        let corner = (rng.random_range(-8..w), rng.random_range(-8..h));
        let extent = (rng.random_range(0..w + 8), rng.random_range(0..h + 8));
        let image = rng.random_range(0..batch);
        let ends = (corner.0 + extent.0, corner.1 + extent.1);
        rois.push(image as f32);
        rois.extend([corner.0, corner.1, ends.0, ends.1].map(|v| v as f32));
    }
    rois
}

#[test]
fn roi_align_agrees() {
    for e in emulators() {
        for seed in 0..8u64 {
            let rng = &mut rng(seed);
            let batch = rng.random_range(1..4);
            let channels = [1, 3, 8, 11][seed as usize % 4];
            let size = (rng.random_range(1..24), rng.random_range(1..24));
            let count = [1, 6, 19, 300][seed as usize % 4];
            let options = RoiAlignOptions {
                output_size: [(1, 1), (4, 4), (8, 4), (2, 2)][seed as usize / 2],
                spatial_scale: 0.25,
                sampling_ratio: [2, 0, 1, 4][seed as usize / 2],
                aligned: seed % 2 == 0,
            };
            let rois = regions(rng, count, batch, size);
            let roi_tensor = tensor((&rois, &[count, 5]));
            let pixels = size.0 * size.1;
            let x = values(rng, e.storage, batch * channels * pixels);
            let shape = [batch, channels, size.0, size.1];
            let op = |t: &[Tensor]| ops::roi_align(&t[0], &roi_tensor, &options);
            let want = expected(rng, e.storage, &[(&x, &shape)], op);
            let (by, bx) = options.output_size;
            let align = Struct::of_ints(&[channels, size.0, size.1, by, bx])
                .float(0.25)
                .int(options.sampling_ratio as i32)
                .int(i32::from(options.aligned));
            let results = count * channels * by * bx;
            let (x, g, rois) = (e.put(&x), e.put(&want.g), Buffer::floats(&rois));
            let (y, dx) = (e.room(results), e.room(batch * channels * pixels));
            e.over(
                "roi_align_forward",
                results,
                &[&x, &rois, &(results as i64), &align, &y],
            );
            let grid = [pixels.div_ceil(256), channels.div_ceil(8), batch];
            let name = "roi_align_backward";
            e.launch(
                name,
                grid,
                [256, 1],
                &[&g, &rois, &(count as i32), &align, &dx],
            );
            let what = format!("roi_align {options:?} {size:?}");
            close(&what, e.storage, &e.get(&y), &want.y, tolerance(3e-6));
            close(
                &what,
                e.storage,
                &e.get(&dx),
                &want.gradients[0],
                tolerance(5e-6),
            );
        }
    }
}

#[test]
fn suppression_keeps_the_same_boxes() {
    for e in emulators().iter().take(1) {
        for seed in 0..12u64 {
            let rng = &mut rng(seed);
            let count = [1, 7, 63, 64, 65, 200][seed as usize % 6];
            // Whole numbers, so that overlaps tie often, also with the threshold.
            let boxes: Vec<[f32; 4]> = (0..count)
                .map(|_| {
                    let (x, y) = (rng.random_range(0..20), rng.random_range(0..20));
                    let (w, h) = (rng.random_range(0..9), rng.random_range(0..9));
                    [x, y, x + w, y + h].map(|v| v as f32)
                })
                .collect();
            let classes: Vec<i64> = (0..count).map(|_| rng.random_range(0..3)).collect();
            // Sorted already.
            let scores: Vec<f32> = (0..count).map(|i| 1.0 - i as f32 / 1000.0).collect();
            let (rule, extra) =
                [(NmsRule::Modern, 0f32), (NmsRule::Legacy, 1.0)][seed as usize % 2];
            let threshold = f64::from([0.25f32, 0.5, 0.7][seed as usize % 3]);
            let flat: Vec<f32> = boxes.concat();
            let tensors = (
                Tensor::from_vec(flat.clone(), (count, 4), &Device::Cpu).unwrap(),
                Tensor::from_vec(scores, count, &Device::Cpu).unwrap(),
                Tensor::from_vec(classes.clone(), count, &Device::Cpu).unwrap(),
            );
            let with_classes = seed % 4 < 2;
            let want = match with_classes {
                true => ops::batched_nms(&tensors.0, &tensors.1, &tensors.2, threshold, rule),
                false => ops::nms(&tensors.0, &tensors.1, threshold, rule),
            };
            let want = want.unwrap().to_vec1::<u32>().unwrap();

            let words = count.div_ceil(64);
            let (boxes, classes) = (Buffer::floats(&flat), Buffer::longs(&classes));
            let overlaps = Buffer::unset(8 * count * words);
            let (dropped, keeps) = (Buffer::unset(8 * words), Buffer::unset(count));
            let classes = with_classes.then_some(&classes);
            let n = count as i32;
            let name = "nms_overlaps";
            let grid = [words, words, 1];
            e.launch(
                name,
                grid,
                [64, 1],
                &[&boxes, &classes, &n, &extra, &threshold, &overlaps],
            );
            e.launch(
                "nms_select",
                [1, 1, 1],
                [256, 1],
                &[&overlaps, &n, &dropped, &keeps],
            );
            let kept = keeps.content();
            assert!(kept.iter().all(|&k| k <= 1));
            let kept: Vec<u32> = (0..count as u32)
                .filter(|&i| kept[i as usize] == 1)
                .collect();
            assert_eq!(kept, want, "{count} boxes, {rule:?}, {threshold}");
        }
    }
}
