//! Greedy non-maximum suppression.

use std::cmp::Ordering;

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
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (scores[a as usize], scores[b as usize]);
        b.partial_cmp(&a)
            .unwrap_or_else(|| match (a.is_nan(), b.is_nan()) {
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
                _ => Ordering::Equal,
            })
    });
    order
}

/// Boxes in the order in which they are visited, one coordinate after the other.
struct Candidates<T> {
    corners: [Vec<T>; 4],
    areas: Vec<T>,
    dropped: Vec<bool>,
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
    let corner = |n: usize| order.iter().map(|&i| boxes[i as usize][n]).collect();
    let area = |&i: &u32| {
        let [x1, y1, x2, y2] = boxes[i as usize];
        (x2 - x1 + extra) * (y2 - y1 + extra)
    };
    let mut candidates = Candidates {
        corners: [corner(0), corner(1), corner(2), corner(3)],
        areas: order.iter().map(area).collect(),
        dropped: vec![false; order.len()],
    };
    let mut kept = Vec::new();
    vectorized(
        #[inline(always)]
        || {
            for (n, &index) in order.iter().enumerate() {
                if !candidates.dropped[n] {
                    kept.push(index);
                    candidates.drop_overlapping(n, extra, threshold);
                }
            }
        },
    );
    kept
}

impl<T: Elem> Candidates<T> {
    /// Drops every box after `n` that overlaps it by more than the threshold.
    #[inline(always)]
    fn drop_overlapping(&mut self, n: usize, extra: T, threshold: f64) {
        let [x1, y1, x2, y2] = &self.corners;
        let (left, top, right, bottom, area) = (x1[n], y1[n], x2[n], y2[n], self.areas[n]);
        let later = n + 1..;
        let corners = x1[later.clone()]
            .iter()
            .zip(&y1[later.clone()])
            .zip(x2[later.clone()].iter().zip(&y2[later.clone()]));
        let boxes = corners.zip(&self.areas[later.clone()]);
        for (dropped, (((&x1, &y1), (&x2, &y2)), &other)) in
            self.dropped[later].iter_mut().zip(boxes)
        {
            let width = positive(smaller(right, x2) - larger(left, x1) + extra);
            let height = positive(smaller(bottom, y2) - larger(top, y1) + extra);
            let shared = width * height;
            let overlap = shared / (area + other - shared);
            *dropped |= overlap.to_f64() > threshold;
        }
    }
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
