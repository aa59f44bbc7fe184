//! Suppression by comparing every box with the kept ones near it that are about as large.
//!
//! Where the overlap of two boxes exceeds a threshold t, one is at least t times as wide and as high
//! as the other, and their centres are apart by less than 1 - t of the larger width and height. So
//! kept boxes lie in cells by size and centre, and few cells hold what can suppress a box. The
//! comparison itself is that of [`pairs`](super::pairs), bit for bit.

use super::{larger, positive, smaller};
use crate::ops::cpu::Elem;

/// Below this threshold too many cells are near.
const LEAST_THRESHOLD: f64 = 0.25;
/// Fewer boxes are compared faster than they are sorted into cells.
const LEAST_BOXES: usize = 128;
/// Sides between which cells can be numbered.
const SIDES: std::ops::Range<f64> = 1e-30..1e30;
/// Bounds are wider than exact ones by this, against rounding.
const SLACK: f64 = 1.0 + 1e-4;

/// Whether this way is possible and likely to be faster.
pub(super) fn suit<T: Elem>(boxes: &[[T; 4]], order: &[u32], extra: T, threshold: f64) -> bool {
    let usual = |&i: &u32| {
        let sized = Sized::new(boxes[i as usize], extra);
        sized.is_none_or(|sized| SIDES.contains(&sized.longer()))
    };
    threshold >= LEAST_THRESHOLD && order.len() >= LEAST_BOXES && order.iter().all(usual)
}

/// A box of positive, finite area. No other suppresses or is suppressed.
struct Sized<T> {
    corners: [T; 4],
    area: T,
    sides: [f64; 2],
    centre: [f64; 2],
}

impl<T: Elem> Sized<T> {
    #[inline(always)]
    fn new(corners: [T; 4], extra: T) -> Option<Self> {
        let [x1, y1, x2, y2] = corners;
        let (width, height) = (x2 - x1 + extra, y2 - y1 + extra);
        let area = width * height;
        let sides = [width.to_f64(), height.to_f64()];
        let possible = area > T::zero() && sides[0] > 0.0 && area.to_f64().is_finite();
        possible.then(|| Self {
            corners,
            area,
            sides,
            centre: [
                (x1.to_f64() + x2.to_f64()) * 0.5,
                (y1.to_f64() + y2.to_f64()) * 0.5,
            ],
        })
    }

    #[inline(always)]
    fn longer(&self) -> f64 {
        self.sides[0].max(self.sides[1])
    }
}

const LANES: usize = 8;
const NONE: u32 = u32::MAX;

/// Up to [`LANES`] kept boxes. The other places hold a box that shares nothing with any.
struct Block<T> {
    corners: [[T; LANES]; 4],
    areas: [T; LANES],
    len: usize,
    /// The next block of the cell.
    next: u32,
}

/// Kept boxes by cell. Cells may share a list: that costs comparisons, but changes nothing.
struct Cells<T> {
    heads: Vec<u32>,
    blocks: Vec<Block<T>>,
    extra: T,
    threshold: f64,
    /// A little below the threshold: what passes is divided.
    nearly: T,
}

/// The boxes of `order` that remain, in that order.
#[inline(always)]
pub(super) fn kept<T: Elem>(boxes: &[[T; 4]], order: &[u32], extra: T, threshold: f64) -> Vec<u32> {
    let mut cells = Cells {
        heads: vec![NONE; (2 * order.len()).next_power_of_two()],
        blocks: Vec::with_capacity(order.len() / 4),
        extra,
        threshold,
        nearly: T::of(threshold * (1.0 - 1e-5)),
    };
    let mut kept = Vec::new();
    for &i in order {
        let Some(sized) = Sized::new(boxes[i as usize], extra) else {
            kept.push(i);
            continue;
        };
        if !cells.suppress(&sized) {
            kept.push(i);
            cells.add(&sized);
        }
    }
    kept
}

/// The power of two at or below a number.
#[inline(always)]
fn level(side: f64) -> i64 {
    (side.to_bits() >> 52) as i64 - 1023
}

/// 2 to the power of `n`.
#[inline(always)]
fn power(n: i64) -> f64 {
    f64::from_bits(((1023 + n) as u64) << 52)
}

/// Number of a cell along an axis; cells of a level are as long as its boxes at most.
#[inline(always)]
fn cell(at: f64, level: i64) -> i64 {
    // Positive for all usual images, where conversion rounds down.
    const OFFSET: f64 = (1u64 << 30) as f64;
    (at * power(-level - 1) + OFFSET) as i64
}

impl<T: Elem> Cells<T> {
    #[inline(always)]
    fn list(&self, level: i64, x: i64, y: i64) -> usize {
        let mix = |v: i64, by: u64| (v as u64).wrapping_mul(by);
        let all = mix(x, 0x9e37_79b9_7f4a_7c15)
            ^ mix(y, 0xc2b2_ae3d_27d4_eb4f)
            ^ mix(level, 0x1656_67b1_9e37_79f9);
        let all = (all ^ (all >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (all >> 32) as usize & (self.heads.len() - 1)
    }

    #[inline(always)]
    fn add(&mut self, sized: &Sized<T>) {
        let level = level(sized.longer());
        let [x, y] = sized.centre;
        let list = self.list(level, cell(x, level), cell(y, level));
        let mut head = self.heads[list];
        if self
            .blocks
            .get(head as usize)
            .is_none_or(|b| b.len == LANES)
        {
            self.blocks.push(Block {
                // Right of and below everything, and ending before it begins.
                corners: [1e30, 1e30, -1e30, -1e30].map(|v| [T::of(v); LANES]),
                areas: [T::one(); LANES],
                len: 0,
                next: head,
            });
            head = self.blocks.len() as u32 - 1;
            self.heads[list] = head;
        }
        let block = &mut self.blocks[head as usize];
        for (row, &corner) in block.corners.iter_mut().zip(&sized.corners) {
            row[block.len] = corner;
        }
        block.areas[block.len] = sized.area;
        block.len += 1;
    }

    /// Whether a kept box overlaps this one by more than the threshold.
    #[inline(always)]
    fn suppress(&self, sized: &Sized<T>) -> bool {
        let (ratio, apart) = (
            SLACK / self.threshold,
            (1.0 - self.threshold).max(0.0) * SLACK,
        );
        let longer = sized.longer();
        for level in level(longer / ratio)..=level(longer * ratio) {
            // The longest side of this level, and so the larger one of both.
            let longest = power(level + 1);
            let reach = sized
                .sides
                .map(|side| apart * (side * ratio).min(side.max(longest)));
            let [x, y] = sized.centre;
            for row in cell(y - reach[1], level)..=cell(y + reach[1], level) {
                for column in cell(x - reach[0], level)..=cell(x + reach[0], level) {
                    if self.suppress_in(self.heads[self.list(level, column, row)], sized) {
                        return true;
                    }
                }
            }
        }
        false
    }

    #[inline(always)]
    fn suppress_in(&self, head: u32, sized: &Sized<T>) -> bool {
        let mut next = head;
        while let Some(block) = self.blocks.get(next as usize) {
            next = block.next;
            let mut any = false;
            for lane in 0..LANES {
                let (shared, union) = self.compare(block, lane, sized);
                any |= shared > self.nearly * union;
            }
            if any {
                for lane in 0..block.len {
                    let (shared, union) = self.compare(block, lane, sized);
                    if (shared / union).to_f64() > self.threshold {
                        return true;
                    }
                }
            }
        }
        false
    }

    /// The shared and the joint area.
    #[inline(always)]
    fn compare(&self, block: &Block<T>, lane: usize, sized: &Sized<T>) -> (T, T) {
        let [left, top, right, bottom] = sized.corners;
        let [x1, y1, x2, y2] = &block.corners;
        let (x1, y1, x2, y2) = (x1[lane], y1[lane], x2[lane], y2[lane]);
        let width = positive(smaller(right, x2) - larger(left, x1) + self.extra);
        let height = positive(smaller(bottom, y2) - larger(top, y1) + self.extra);
        let shared = width * height;
        (shared, block.areas[lane] + sized.area - shared)
    }
}
