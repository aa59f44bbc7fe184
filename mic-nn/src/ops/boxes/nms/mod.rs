//! Greedy non-maximum suppression.

mod neighbours;
mod pairs;

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

use super::{BoxSize, rows};
use crate::ops::cpu::{Elem, dispatch};
use crate::ops::index::read_ids;
use crate::ops::simd::vectorized;

/// Which implementation's conventions [`nms`] follows.
///
/// Both go through the boxes by descending score and drop every later box that overlaps a kept one
/// by more than the threshold; an overlap of exactly the threshold stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NmsRule {
    /// torchvision: widths are `x2 - x1`, and the kept boxes come by descending score.
    Modern,
    /// maskrcnn-benchmark on a GPU: widths are `x2 - x1 + 1`, the kept boxes come in the order of
    /// the input, and a threshold of 0 or less keeps all boxes. The threshold is compared in the
    /// precision of the boxes.
    Legacy,
}

/// The indices of the boxes that remain, U32 (K').
///
/// `boxes` (K, 4) are x1, y1, x2, y2 and `scores` (K) of the same dtype, F32 or F64. Of equal
/// scores the first box comes first; NaN counts as the highest score, as in PyTorch's sort.
/// Overlap is intersection over union. Constants go in and out: there is no gradient.
///
/// # Errors
/// When shapes or dtypes do not fit, or the threshold is NaN.
pub fn nms(boxes: &Tensor, scores: &Tensor, threshold: f64, rule: NmsRule) -> Result<Tensor> {
    suppressed("nms", boxes, scores, None, threshold, rule)
}

/// [`nms`] within each class: boxes of different `classes`, (K) of U8, U32 or I64, never suppress
/// each other. The result is in the same order as for one class.
///
/// # Errors
/// As [`nms`].
pub fn batched_nms(
    boxes: &Tensor,
    scores: &Tensor,
    classes: &Tensor,
    threshold: f64,
    rule: NmsRule,
) -> Result<Tensor> {
    const OP: &str = "batched_nms";
    let classes = read_ids(OP, "classes", classes)?;
    suppressed(OP, boxes, scores, Some(&classes), threshold, rule)
}

fn suppressed(
    op: &str,
    boxes: &Tensor,
    scores: &Tensor,
    classes: Option<&[i64]>,
    threshold: f64,
    rule: NmsRule,
) -> Result<Tensor> {
    if threshold.is_nan() {
        candle_core::bail!("{op}: the threshold is NaN")
    }
    let count = boxes.dims().first().copied().unwrap_or(0);
    for (name, found) in [
        ("scores", scores.dims()),
        ("classes", &[classes.map_or(count, <[i64]>::len)]),
    ] {
        if found != [count] {
            candle_core::bail!("{op}: {name} are {found:?} for {count} boxes, expected ({count})")
        }
    }
    if u32::try_from(count).is_err() {
        candle_core::bail!("{op}: {count} boxes, expected fewer than 2^32")
    }
    if scores.dtype() != boxes.dtype() {
        candle_core::bail!(
            "{op}: scores are {:?}, boxes {:?}, expected the same",
            scores.dtype(),
            boxes.dtype()
        )
    }
    let kept = dispatch!(op, boxes.dtype(), T => {
        let boxes = rows::<T, 4>(op, "boxes", boxes)?;
        let scores = scores.to_vec1::<T>()?;
        kept_of_all(&boxes, &scores, classes, threshold, rule)
    });
    let count = kept.len();
    Tensor::from_vec(kept, count, &Device::Cpu)
}

fn kept_of_all<T: Elem>(
    boxes: &[[T; 4]],
    scores: &[T],
    classes: Option<&[i64]>,
    threshold: f64,
    rule: NmsRule,
) -> Vec<u32> {
    let order = by_score(scores);
    let mut kept = if rule == NmsRule::Legacy && threshold <= 0.0 {
        order
    } else if let Some(classes) = classes {
        let mut groups = order.clone();
        groups.sort_by_key(|&i| classes[i as usize]);
        let same = |&a: &u32, &b: &u32| classes[a as usize] == classes[b as usize];
        let groups: Vec<&[u32]> = groups.chunk_by(same).collect();
        let mut keeps = vec![false; boxes.len()];
        let kept: Vec<Vec<u32>> = groups
            .par_iter()
            .map(|group| kept_of_class(boxes, group, threshold, rule))
            .collect();
        for i in kept.into_iter().flatten() {
            keeps[i as usize] = true;
        }
        order.into_iter().filter(|&i| keeps[i as usize]).collect()
    } else {
        kept_of_class(boxes, &order, threshold, rule)
    };
    if rule == NmsRule::Legacy {
        kept.sort_unstable();
    }
    kept
}

/// Indices by descending score, equal ones in their order, NaN first.
fn by_score<T: Elem>(scores: &[T]) -> Vec<u32> {
    // Whole numbers in the order of the scores sort faster than the scores.
    let key = |score: f64| {
        // Both zeros are equal.
        let bits = (score + 0.0).to_bits();
        let ascending = match bits >> 63 {
            _ if score.is_nan() => u64::MAX,
            1 => !bits,
            _ => bits | 1 << 63,
        };
        !ascending
    };
    let mut keys: Vec<(u64, u32)> = scores
        .iter()
        .zip(0..)
        .map(|(&score, i)| (key(score.to_f64()), i))
        .collect();
    keys.sort_unstable();
    keys.into_iter().map(|(_, i)| i).collect()
}

/// The boxes of `order` that remain, in that order.
fn kept_of_class<T: Elem>(
    boxes: &[[T; 4]],
    order: &[u32],
    threshold: f64,
    rule: NmsRule,
) -> Vec<u32> {
    let (extra, threshold) = match rule {
        NmsRule::Modern => (BoxSize::Continuous.extra::<T>(), threshold),
        NmsRule::Legacy => (BoxSize::Inclusive.extra::<T>(), T::of(threshold).to_f64()),
    };
    vectorized(
        #[inline(always)]
        || match neighbours::suit(boxes, order, extra, threshold) {
            true => neighbours::kept(boxes, order, extra, threshold),
            false => pairs::kept(boxes, order, extra, threshold),
        },
    )
}

// Plain comparisons: those of `Float` take care of NaN, which keeps them from being one instruction.
#[inline(always)]
fn larger<T: Elem>(a: T, b: T) -> T {
    if a > b { a } else { b }
}

#[inline(always)]
fn smaller<T: Elem>(a: T, b: T) -> T {
    if a < b { a } else { b }
}

#[inline(always)]
fn positive<T: Elem>(a: T) -> T {
    larger(a, T::zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::DType;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Quadratic loops over all pairs, straight from the definition.
    fn plain(
        boxes: &[[f64; 4]],
        scores: &[f64],
        classes: &[i64],
        threshold: f64,
        rule: NmsRule,
    ) -> Vec<u32> {
        let one = f64::from(u8::from(rule == NmsRule::Legacy));
        let area = |b: &[f64; 4]| (b[2] - b[0] + one) * (b[3] - b[1] + one);
        let mut order: Vec<usize> = (0..boxes.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        let mut kept: Vec<usize> = Vec::new();
        for i in order {
            let overlaps = kept.iter().any(|&k| {
                let (a, b) = (&boxes[i], &boxes[k]);
                let w = (a[2].min(b[2]) - a[0].max(b[0]) + one).max(0.0);
                let h = (a[3].min(b[3]) - a[1].max(b[1]) + one).max(0.0);
                classes[i] == classes[k] && w * h / (area(a) + area(b) - w * h) > threshold
            });
            if !overlaps {
                kept.push(i);
            }
        }
        if rule == NmsRule::Legacy {
            kept.sort_unstable();
        }
        kept.into_iter().map(|i| i as u32).collect()
    }

    #[test]
    fn matches_plain_loops_on_random_boxes() -> Result<()> {
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        for case in 0..60 {
            let count = rng.random_range(0..70);
            // Integers, so that sizes, scores and overlaps tie often.
            let boxes: Vec<[f64; 4]> = (0..count)
                .map(|_| {
                    let (x, y) = (rng.random_range(0..9), rng.random_range(0..9));
                    let (w, h) = (rng.random_range(0..6), rng.random_range(0..6));
                    [x, y, x + w, y + h].map(f64::from)
                })
                .collect();
            let mut draw =
                |n: i64| -> Vec<i64> { (0..count).map(|_| rng.random_range(0..n)).collect() };
            let scores: Vec<f64> = draw(9).into_iter().map(|s| s as f64).collect();
            let classes = draw(3);
            let rule = [NmsRule::Modern, NmsRule::Legacy][case % 2];
            let threshold = [0.0, 0.25, 0.5, 0.7][case / 2 % 4];
            let flat: Vec<f64> = boxes.iter().flatten().copied().collect();
            let tensor = Tensor::from_vec(flat, (count, 4), &Device::Cpu)?;
            let score = Tensor::from_vec(scores.clone(), count, &Device::Cpu)?;
            let class = Tensor::from_vec(classes.clone(), count, &Device::Cpu)?;
            // Boxes as a strided view.
            let view = tensor.t()?.contiguous()?.t()?;
            let ours = batched_nms(&view, &score, &class, threshold, rule)?.to_vec1::<u32>()?;
            let expected = if rule == NmsRule::Legacy && threshold <= 0.0 {
                (0..count as u32).collect()
            } else {
                plain(&boxes, &scores, &classes, threshold, rule)
            };
            assert_eq!(ours, expected);
            if rule == NmsRule::Modern {
                let ours = nms(&tensor, &score, threshold, rule)?.to_vec1::<u32>()?;
                assert_eq!(
                    ours,
                    plain(&boxes, &scores, &vec![0; count], threshold, rule)
                );
            }
        }
        Ok(())
    }

    /// Sizes and places of one kind: objects seen many times, boxes of all sizes, small ones, and a
    /// grid of anchors; some without a positive size or no number.
    fn crowd(rng: &mut ChaCha8Rng, kind: usize, count: usize) -> Vec<[f32; 4]> {
        let mut around =
            |centre: f32, spread: f32| centre + spread * rng.random_range(-1.0..1.0f32);
        let one = |n: usize| {
            let (object, line) = ((n % 40) as f32, (n / 60) as f32);
            let [x, y, w, h] = match kind {
                0 => [
                    37.0 * object % 1000.0,
                    61.0 * object % 400.0,
                    60.0,
                    20.0 + object,
                ],
                1 => [500.0, 250.0, 90.0, 90.0],
                2 => [500.0, 250.0, 6.0, 6.0],
                _ => [16.0 * (n % 60) as f32, 16.0 * line, 64.0, 32.0],
            };
            let spread = [12.0, 450.0, 450.0, 4.0][kind];
            let (x, y) = (around(x, spread), around(y, spread));
            let (w, h) = (around(w, 0.3 * w), around(h, 0.3 * h));
            match n % 97 {
                5 => [x, y, x - 3.0, y + h],
                6 => [f32::NAN, y, x, y + h],
                7 => [x, y, x - 0.5, y - 0.25],
                8 => [x, y, x - w, y - h],
                _ => [x - w, y - h, x + w, y + h],
            }
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn both_ways_keep_the_same_boxes() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for case in 0..48 {
            let kind = case % 4;
            let boxes = crowd(&mut rng, kind, 700);
            let order: Vec<u32> = (0..boxes.len() as u32).rev().collect();
            let extra = [0.0, 1.0][case / 4 % 2];
            for threshold in [0.25, 0.5, 0.7, 0.95, 1.0] {
                let ours = neighbours::kept(&boxes, &order, extra, threshold);
                let expected = pairs::kept(&boxes, &order, extra, threshold);
                assert!(expected.len() > 20 && expected.len() <= boxes.len());
                assert_eq!(ours, expected, "kind {kind}, {extra}, {threshold}");
                let wide = |b: &[f32; 4]| b.map(f64::from);
                let boxes: Vec<[f64; 4]> = boxes.iter().map(wide).collect();
                let extra = f64::from(extra);
                assert_eq!(
                    neighbours::kept(&boxes, &order, extra, threshold),
                    pairs::kept(&boxes, &order, extra, threshold)
                );
            }
        }
    }

    #[test]
    fn scores_are_ordered_like_numbers() {
        let scores = [
            0.0f32,
            -0.0,
            -1.5,
            f32::NAN,
            2.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
            2.0,
        ];
        assert_eq!(by_score(&scores), [3, 5, 4, 7, 0, 1, 2, 6]);
    }

    #[test]
    fn nan_scores_come_first_and_nan_boxes_suppress_nothing() -> Result<()> {
        let boxes = [[0f32, 0., 9., 9.], [0., 0., 9., 9.], [f32::NAN, 0., 9., 9.]];
        let boxes = Tensor::new(&boxes, &Device::Cpu)?;
        let scores = Tensor::new(&[0.5f32, f32::NAN, 0.9], &Device::Cpu)?;
        let kept = nms(&boxes, &scores, 0.5, NmsRule::Modern)?;
        assert_eq!(kept.to_vec1::<u32>()?, [1, 2]);
        Ok(())
    }

    #[test]
    fn misuse_is_named() -> Result<()> {
        let message = |r: Result<Tensor>| r.err().map(|e| e.to_string()).unwrap_or_default();
        let boxes = Tensor::zeros((3, 4), DType::F32, &Device::Cpu)?;
        let scores = Tensor::zeros(3, DType::F32, &Device::Cpu)?;
        let rule = NmsRule::Modern;
        let nms = |b: &Tensor, s: &Tensor, t: f64| message(nms(b, s, t, rule));
        assert!(nms(&boxes.narrow(1, 0, 3)?, &scores, 0.5).contains("boxes is [3, 3]"));
        assert!(nms(&boxes, &scores.narrow(0, 0, 2)?, 0.5).contains("scores are [2] for 3 boxes"));
        assert!(nms(&boxes, &scores.to_dtype(DType::F64)?, 0.5).contains("scores are F64"));
        assert!(nms(&boxes, &scores, f64::NAN).contains("threshold is NaN"));
        let classes = Tensor::zeros(2, DType::U32, &Device::Cpu)?;
        let text = message(batched_nms(&boxes, &scores, &classes, 0.5, rule));
        assert!(
            text.contains("batched_nms: classes are [2] for 3 boxes"),
            "{text}"
        );
        let text = message(batched_nms(&boxes, &scores, &scores, 0.5, rule));
        assert!(
            text.contains("classes is F32, expected U8, U32 or I64"),
            "{text}"
        );
        Ok(())
    }
}
