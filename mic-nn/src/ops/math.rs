//! Elementary functions and sums that vectorise.
//!
//! Call them inside [`super::simd::vectorized`]: they are branch-free in `f32`, so that a loop
//! over a slice becomes wide instructions. `f64`, which serves gradient checks, goes through the
//! accurate library functions.

use super::cpu::Elem;

/// Elementary functions of the element types.
pub(crate) trait Math: Elem {
    /// `e^x`. In `f32` within 2 units in the last place; results below the smallest normal number
    /// are 0.
    fn exp_fast(self) -> Self;

    /// For `u = |self|`: the upper tail of the standard normal distribution, `P(X > u)`, and
    /// `exp(-u^2 / 2)`. In `f32` the tail is within a few units in the last place.
    fn normal_tail(self) -> (Self, Self);
}

/// Coefficients of `p` in `e^r = 1 + r + r^2 p(r)`, |r| <= ln(2)/2, fitted for the least largest
/// relative error (3e-9).
const EXP: [f32; 5] = [
    0.499_999_94,
    0.166_665_21,
    0.041_668_385,
    0.008_368_711,
    0.001_381_470_7,
];

/// `P(X > u) exp(u^2 / 2)` as a ratio of polynomials in `u`, 0 <= u <= 13.3, fitted for the least
/// largest relative error (5e-9). All coefficients are positive, so nothing cancels.
const TAIL_TOP: [f32; 5] = [0.5, 0.435_684_53, 0.181_305_4, 0.039_983_7, 0.004_020_116];
const TAIL_BOTTOM: [f32; 6] = [
    1.0,
    1.669_254,
    1.194_478_6,
    0.464_376_72,
    0.100_231_655,
    0.010_076_793,
];

#[inline(always)]
fn polynomial<const N: usize>(coefficients: &[f32; N], x: f32) -> f32 {
    let mut value = coefficients[N - 1];
    for i in (0..N - 1).rev() {
        value = value.mul_add(x, coefficients[i]);
    }
    value
}

impl Math for f32 {
    #[inline(always)]
    fn exp_fast(self) -> f32 {
        // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
        const ROUND: f32 = 12_582_912.0;
        // ln(2) in two parts; the first has so few digits that its multiples are exact.
        const LN2_HIGH: f32 = 0.693_359_4;
        const LN2_LOW: f32 = -2.121_944_4e-4;
        // Above this the result is infinite, with room for the scale below.
        let x = if self > 89.0 { 89.0 } else { self };
        let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
        let n = shifted - ROUND;
        let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
        let value = polynomial(&EXP, r).mul_add(r * r, r) + 1.0;
        // 2^n in two factors, because 2^128 has no representation of its own.
        let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
        let half = n >> 1;
        let scale = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
        let value = value * scale(half) * scale(n.wrapping_sub(half));
        if self < -87.336_54 { 0.0 } else { value }
    }

    #[inline(always)]
    fn normal_tail(self) -> (f32, f32) {
        let u = self.abs();
        let density = (-0.5 * u * u).exp_fast();
        // The fit ends at 13.3, where the density is 0 already.
        let v = if u > 13.3 { 13.3 } else { u };
        let tail = density * polynomial(&TAIL_TOP, v) / polynomial(&TAIL_BOTTOM, v);
        (tail, density)
    }
}

impl Math for f64 {
    #[inline(always)]
    fn exp_fast(self) -> f64 {
        self.exp()
    }

    #[inline(always)]
    fn normal_tail(self) -> (f64, f64) {
        let u = self.abs();
        (
            0.5 * libm::erfc(u * std::f64::consts::FRAC_1_SQRT_2),
            (-0.5 * u * u).exp(),
        )
    }
}

/// Independent partial results of the main loop; their number is fixed, so results do not depend
/// on the processor.
const LANES: usize = 32;
/// Those of the shorter loop for what is left of a row, and for rows of few channels.
const FEW: usize = 8;

/// The sum of `f([a[i], b[i], ...])` over the elements of `K` slices of one length, in a fixed
/// order.
#[inline(always)]
pub(crate) fn sum<T: Elem, const K: usize>(slices: [&[T]; K], f: impl Fn([T; K]) -> T) -> T {
    let n = slices.first().map_or(0, |s| s.len());
    let mut few = [T::zero(); FEW];
    let mut done = 0;
    if n >= LANES {
        let mut lanes = [T::zero(); LANES];
        let chunks = slices.map(|s| s[..n].as_chunks::<LANES>().0);
        for c in 0..n / LANES {
            let chunk = chunks.map(|s| &s[c]);
            for lane in 0..LANES {
                lanes[lane] += f(chunk.map(|s| s[lane]));
            }
        }
        for lane in 0..FEW {
            few[lane] =
                (lanes[lane] + lanes[lane + FEW]) + (lanes[lane + 2 * FEW] + lanes[lane + 3 * FEW]);
        }
        done = n / LANES * LANES;
    }
    let parts = slices.map(|s| s[done..n].as_chunks::<FEW>());
    for c in 0..(n - done) / FEW {
        let chunk = parts.map(|p| &p.0[c]);
        for lane in 0..FEW {
            few[lane] += f(chunk.map(|s| s[lane]));
        }
    }
    let mut rest = T::zero();
    for i in 0..(n - done) % FEW {
        rest += f(parts.map(|p| p.1[i]));
    }
    ((few[0] + few[4]) + (few[1] + few[5])) + ((few[2] + few[6]) + (few[3] + few[7])) + rest
}

#[inline(always)]
fn larger<T: Elem>(a: T, b: T) -> T {
    if b > a { b } else { a }
}

/// The largest element, negative infinity for an empty slice. NaN elements are passed over.
#[inline(always)]
pub(crate) fn max<T: Elem>(x: &[T]) -> T {
    let mut lanes = [T::neg_infinity(); LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (m, &v) in lanes.iter_mut().zip(chunk) {
            *m = larger(*m, v);
        }
    }
    for (m, &v) in lanes.iter_mut().zip(rest) {
        *m = larger(*m, v);
    }
    let mut few = [T::neg_infinity(); FEW];
    for (lane, m) in few.iter_mut().enumerate() {
        *m = larger(
            larger(lanes[lane], lanes[lane + FEW]),
            larger(lanes[lane + 2 * FEW], lanes[lane + 3 * FEW]),
        );
    }
    larger(
        larger(larger(few[0], few[4]), larger(few[1], few[5])),
        larger(larger(few[2], few[6]), larger(few[3], few[7])),
    )
}

/// `total += part`, element by element.
#[inline(always)]
pub(crate) fn accumulate<T: Elem>(total: &mut [T], part: &[T]) {
    for (t, &p) in total.iter_mut().zip(part) {
        *t += p;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::simd::vectorized;

    #[test]
    fn exp_is_accurate_from_underflow_to_overflow() {
        let mut worst = 0f64;
        for i in 0..200_001 {
            let x = -87.33 + 176.05 * (i as f32 / 200_000.0);
            let exact = f64::from(x).exp();
            let value = f64::from(vectorized(
                #[inline(always)]
                || x.exp_fast(),
            ));
            worst = worst.max((value - exact).abs() / exact);
        }
        assert!(worst < 1.6e-7, "relative error {worst:e}");
        assert_eq!(0f32.exp_fast(), 1.0);
        assert_eq!((-88f32).exp_fast(), 0.0);
        assert_eq!(f32::NEG_INFINITY.exp_fast(), 0.0);
        assert_eq!(90f32.exp_fast(), f32::INFINITY);
        assert_eq!(f32::INFINITY.exp_fast(), f32::INFINITY);
        assert!(f32::NAN.exp_fast().is_nan());
    }

    #[test]
    fn normal_tail_is_accurate() {
        for i in 0..100_001 {
            let x = -14.0 + 28.0 * (i as f32 / 100_000.0);
            let (exact, _) = f64::from(x).normal_tail();
            let (value, _) = vectorized(
                #[inline(always)]
                || x.normal_tail(),
            );
            let error = (f64::from(value) - exact).abs();
            // The relative error grows with the rounding of x^2 / 2 alone.
            let allowed = exact * 5e-7 * (1.0 + 0.3 * f64::from(x * x)) + 2e-38;
            assert!(error < allowed, "{x}: {value:e} for {exact:e}");
        }
        assert!(f32::NAN.normal_tail().0.is_nan());
        assert_eq!(f32::INFINITY.normal_tail().0, 0.0);
    }

    #[test]
    fn sums_and_maxima_cover_every_element() {
        for n in [0usize, 1, 7, 8, 24, 31, 32, 33, 1000] {
            let x: Vec<f64> = (0..n).map(|i| (i as f64) - 3.0).collect();
            assert_eq!(sum([&x], |[x]| x), x.iter().sum::<f64>());
            assert_eq!(max(&x), x.iter().copied().fold(f64::NEG_INFINITY, f64::max));
        }
    }
}
