//! Sums that stay accurate over many elements.
//!
//! A single `f32` accumulator loses everything below one part in 2^24 of the running total. These
//! sum short blocks in independent lanes and add the blocks up in double precision. The order is
//! fixed, so the result is too.

use super::cpu::Elem;

/// Elements that are summed in the element's own precision.
const BLOCK: usize = 1024;
const LANES: usize = 32;

/// Sums `N` terms of each element index over `0..len` as double-precision totals.
#[inline(always)]
fn blocks<T: Elem, const N: usize>(len: usize, term: impl Fn(usize, [T; N]) -> [T; N]) -> [f64; N] {
    let mut total = [0f64; N];
    let mut start = 0;
    while start < len {
        let end = (start + BLOCK).min(len);
        let mut lanes = [[T::zero(); N]; LANES];
        let mut i = start;
        while i + LANES <= end {
            for l in 0..LANES {
                lanes[l] = term(i + l, lanes[l]);
            }
            i += LANES;
        }
        while i < end {
            lanes[i % LANES] = term(i, lanes[i % LANES]);
            i += 1;
        }
        for lane in lanes {
            for (total, value) in total.iter_mut().zip(lane) {
                *total += value.to_f64();
            }
        }
        start = end;
    }
    total
}

/// The sum of `x`.
#[inline(always)]
pub(crate) fn sum<T: Elem>(x: &[T]) -> f64 {
    blocks::<T, 1>(x.len(), |i, [a]| [a + x[i]])[0]
}

/// The sum of squared distances of `x` from `center`.
#[inline(always)]
pub(crate) fn squared_distance<T: Elem>(x: &[T], center: T) -> f64 {
    blocks::<T, 1>(x.len(), |i, [a]| {
        let d = x[i] - center;
        [d.mul_add(d, a)]
    })[0]
}

/// The sum of `g`, and of `g * (x - center)`.
#[inline(always)]
pub(crate) fn sum_and_moment<T: Elem>(g: &[T], x: &[T], center: T) -> (f64, f64) {
    let (g, x) = (&g[..g.len().min(x.len())], &x[..g.len().min(x.len())]);
    let [a, b] = blocks::<T, 2>(g.len(), |i, [a, b]| {
        [a + g[i], g[i].mul_add(x[i] - center, b)]
    });
    (a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_do_not_stall() {
        let ones = vec![1f32; (1 << 25) + 3];
        assert_eq!(sum(&ones), ((1 << 25) + 3) as f64);
    }

    #[test]
    fn moments_match_their_definition() {
        let x: Vec<f64> = (0..2100).map(|i| (i as f64 * 0.3).sin()).collect();
        let g: Vec<f64> = (0..2100).map(|i| (i as f64 * 0.7).cos()).collect();
        let (a, b) = sum_and_moment(&g, &x, 0.25);
        let moment: f64 = g.iter().zip(&x).map(|(g, x)| g * (x - 0.25)).sum();
        assert!((a - g.iter().sum::<f64>()).abs() < 1e-9);
        assert!((b - moment).abs() < 1e-9);
        let squares: f64 = x.iter().map(|x| (x - 0.5) * (x - 0.5)).sum();
        assert!((squared_distance(&x, 0.5) - squares).abs() < 1e-9);
    }
}
