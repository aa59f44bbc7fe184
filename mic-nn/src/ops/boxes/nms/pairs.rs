//! Suppression by comparing every box that is kept with all later ones.

use super::{larger, positive, smaller};
use crate::ops::cpu::Elem;

/// Boxes in the order in which they are visited, one coordinate after the other.
struct Candidates<T> {
    corners: [Vec<T>; 4],
    areas: Vec<T>,
    dropped: Vec<bool>,
}

/// The boxes of `order` that remain, in that order.
#[inline(always)]
pub(super) fn kept<T: Elem>(boxes: &[[T; 4]], order: &[u32], extra: T, threshold: f64) -> Vec<u32> {
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
    for (n, &index) in order.iter().enumerate() {
        if !candidates.dropped[n] {
            kept.push(index);
            candidates.drop_overlapping(n, extra, threshold);
        }
    }
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
