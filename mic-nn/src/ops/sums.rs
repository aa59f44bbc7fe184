//! Sums that stay accurate over many elements.
//!
//! A single `f32` accumulator loses everything below one part in 2^24 of the running total. These
//! sum short blocks in independent lanes and add the blocks up in double precision. The order is
//! fixed, so the result is too.

use candle_core::WithDType;

use super::cpu::Elem;
use super::math::sums;

/// Elements that are summed in the element's own precision, and that stay in the first-level cache
/// for a second pass.
const BLOCK: usize = 1024;

/// The sums of `f([a[i], b[i], ...])` over the elements of `K` slices of one length.
#[inline(always)]
pub(crate) fn total<T: Elem, const K: usize, const N: usize>(
    slices: [&[T]; K],
    f: impl Fn([T; K]) -> [T; N],
) -> [f64; N] {
    let len = slices.iter().fold(usize::MAX, |n, s| n.min(s.len()));
    let mut total = [0f64; N];
    let mut start = 0;
    while start < len {
        let end = len.min(start + BLOCK);
        let part = sums(slices.map(|s| &s[start..end]), &f);
        for (total, part) in total.iter_mut().zip(part) {
            *total += part.to_f64();
        }
        start = end;
    }
    total
}

/// The sum of `x`.
#[inline(always)]
pub(crate) fn sum<T: Elem>(x: &[T]) -> f64 {
    let [sum] = total(
        [x],
        #[inline(always)]
        |x| x,
    );
    sum
}

/// The sum of `g`, and of `g * (x - center)`.
#[inline(always)]
pub(crate) fn sum_and_moment<T: Elem>(g: &[T], x: &[T], center: T) -> [f64; 2] {
    total(
        [g, x],
        #[inline(always)]
        |[g, x]| [g, g * (x - center)],
    )
}

/// Number, mean and summed squared distances from the mean of the elements added so far.
///
/// Reads every element from memory once: the moments of a block are taken around its own mean while
/// it is in the first-level cache, and then combined (Chan et al., 1983).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    #[inline(always)]
    pub(crate) fn add<T: Elem>(&mut self, x: &[T]) {
        // A plain loop: an iterator's methods would not be compiled for wide vectors.
        let mut start = 0;
        while start < x.len() {
            let end = x.len().min(start + BLOCK);
            self.add_block(&x[start..end]);
            start = end;
        }
    }

    #[inline(always)]
    fn add_block<T: Elem>(&mut self, x: &[T]) {
        let count = x.len() as f64;
        let [sum] = sums(
            [x],
            #[inline(always)]
            |x| x,
        );
        // Any number close to the mean will do: how far off it is comes out below.
        let center = T::of(sum.to_f64() / count);
        let [off, squares] = sums(
            [x],
            #[inline(always)]
            |[x]| [x - center, (x - center) * (x - center)],
        )
        .map(WithDType::to_f64);
        let mean = center.to_f64() + off / count;
        let both = self.count + count;
        let between = mean - self.mean;
        self.squares +=
            (squares - off * off / count) + between * between * (self.count * count / both);
        self.mean += between * (count / both);
        self.count = both;
    }

    pub(crate) fn mean(&self) -> f64 {
        self.mean
    }

    /// The biased variance.
    pub(crate) fn variance(&self) -> f64 {
        let variance = self.squares / self.count;
        // Rounding may leave it below 0. NaN stays NaN.
        if variance < 0.0 { 0.0 } else { variance }
    }
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
        let [a, b] = sum_and_moment(&g, &x, 0.25);
        let moment: f64 = g.iter().zip(&x).map(|(g, x)| g * (x - 0.25)).sum();
        assert!((a - g.iter().sum::<f64>()).abs() < 1e-9);
        assert!((b - moment).abs() < 1e-9);
        let mut moments = Moments::default();
        for piece in [&x[..1], &x[1..40], &x[40..1900], &x[1900..]] {
            moments.add(piece);
        }
        let mean = x.iter().sum::<f64>() / 2100.0;
        let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / 2100.0;
        assert!((moments.mean() - mean).abs() < 1e-14);
        assert!((moments.variance() - variance).abs() < 1e-14);
    }
}
