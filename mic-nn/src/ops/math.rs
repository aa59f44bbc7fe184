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

    /// `e^x` for `x <= 0` (or NaN), cheaper than [`Math::exp_fast`] and as accurate.
    fn exp_nonpositive(self) -> Self;

    /// The natural logarithm of a number that is not below the smallest normal one. In `f32` within
    /// 1 unit in the last place.
    fn ln_normal(self) -> Self;

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

/// Coefficients of `p` in `ln(1 + f) = f - f^2 / 2 + f^3 p(f)`, -1/3 <= f <= 1/3, fitted for the
/// least largest relative error (5e-9).
const LN: [f32; 8] = [
    0.333_332_15,
    -0.249_997_97,
    0.200_104_06,
    -0.166_804_88,
    0.140_058_68,
    -0.121_842_615,
    0.139_844_39,
    -0.128_916_82,
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

/// Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
const ROUND: f32 = 12_582_912.0;
/// The logarithm of the smallest normal number, rounded up.
const SMALLEST: f32 = -87.336_54;

/// ln(2) in two parts; the first has so few digits that its multiples are exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// `round(x / ln(2))` on top of `round`, and `e^x` divided by that power of two.
#[inline(always)]
fn reduced_exp(x: f32, round: f32) -> (f32, f32) {
    let shifted = x.mul_add(std::f32::consts::LOG2_E, round);
    let n = shifted - round;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    (shifted, polynomial(&EXP, r).mul_add(r * r, r) + 1.0)
}

impl Math for f32 {
    #[inline(always)]
    fn exp_fast(self) -> f32 {
        // Above this the result is infinite, with room for the scale below.
        let x = if self > 89.0 { 89.0 } else { self };
        let (shifted, value) = reduced_exp(x, ROUND);
        // 2^n in two factors, because 2^128 has no representation of its own.
        let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
        let half = n >> 1;
        let scale = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
        let value = value * scale(half) * scale(n.wrapping_sub(half));
        if self < SMALLEST { 0.0 } else { value }
    }

    #[inline(always)]
    fn exp_nonpositive(self) -> f32 {
        // With the exponent's offset in the rounding constant the low bits are 2^n's exponent.
        let (shifted, value) = reduced_exp(self, ROUND + 127.0);
        let value = value * f32::from_bits(shifted.to_bits() << 23);
        if self < SMALLEST { 0.0 } else { value }
    }

    #[inline(always)]
    fn ln_normal(self) -> f32 {
        // self = 2^n (1 + f) with 1 + f from two thirds on.
        const LOWEST: i32 = (2f32 / 3.0).to_bits() as i32;
        let bits = self.to_bits() as i32;
        let n = bits.wrapping_sub(LOWEST) >> 23;
        let f = f32::from_bits(bits.wrapping_sub(n << 23) as u32) - 1.0;
        let n = n as f32;
        let low = (f * f).mul_add(f.mul_add(polynomial(&LN, f), -0.5), n * LN2_LOW);
        let value = n.mul_add(LN2_HIGH, f + low);
        // Infinity and NaN stay what they are.
        if self <= f32::MAX { value } else { self }
    }

    #[inline(always)]
    fn normal_tail(self) -> (f32, f32) {
        let u = self.abs();
        let density = (-0.5 * u * u).exp_nonpositive();
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
    fn exp_nonpositive(self) -> f64 {
        self.exp()
    }

    #[inline(always)]
    fn ln_normal(self) -> f64 {
        self.ln()
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
    let [total] = sums(
        slices,
        #[inline(always)]
        |x| [f(x)],
    );
    total
}

/// `N` sums like [`sum`]'s in one pass.
#[inline(always)]
pub(crate) fn sums<T: Elem, const K: usize, const N: usize>(
    slices: [&[T]; K],
    f: impl Fn([T; K]) -> [T; N],
) -> [T; N] {
    let n = slices.iter().fold(usize::MAX, |n, s| n.min(s.len()));
    let mut few = [[T::zero(); FEW]; N];
    let mut done = 0;
    if n >= LANES {
        let mut lanes = [[T::zero(); LANES]; N];
        let chunks = slices.map(|s| s[..n].as_chunks::<LANES>().0);
        for c in 0..n / LANES {
            let chunk = chunks.map(|s| &s[c]);
            for lane in 0..LANES {
                add(&mut lanes, lane, f(chunk.map(|s| s[lane])));
            }
        }
        for (few, lanes) in few.iter_mut().zip(&lanes) {
            for lane in 0..FEW {
                few[lane] = (lanes[lane] + lanes[lane + FEW])
                    + (lanes[lane + 2 * FEW] + lanes[lane + 3 * FEW]);
            }
        }
        done = n / LANES * LANES;
    }
    let parts = slices.map(|s| s[done..n].as_chunks::<FEW>());
    for c in 0..(n - done) / FEW {
        let chunk = parts.map(|p| &p.0[c]);
        for lane in 0..FEW {
            add(&mut few, lane, f(chunk.map(|s| s[lane])));
        }
    }
    let mut rest = [[T::zero()]; N];
    for i in 0..(n - done) % FEW {
        add(&mut rest, 0, f(parts.map(|p| p.1[i])));
    }
    let mut total = [T::zero(); N];
    for ((total, few), [rest]) in total.iter_mut().zip(&few).zip(rest) {
        *total = ((few[0] + few[4]) + (few[1] + few[5]))
            + ((few[2] + few[6]) + (few[3] + few[7]))
            + rest;
    }
    total
}

#[inline(always)]
fn add<T: Elem, const N: usize, const L: usize>(
    totals: &mut [[T; L]; N],
    lane: usize,
    terms: [T; N],
) {
    for (total, term) in totals.iter_mut().zip(terms) {
        total[lane] += term;
    }
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

/// `out[i] = f([a[i], b[i], ...])` for `K` slices at least as long as `out`.
#[inline(always)]
pub(crate) fn map<T: Elem, const K: usize>(
    out: &mut [T],
    slices: [&[T]; K],
    f: impl Fn([T; K]) -> T,
) {
    let n = out.len();
    let slices = slices.map(|s| &s[..n]);
    for i in 0..n {
        out[i] = f(slices.map(|s| s[i]));
    }
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
        for i in 0..100_001 {
            let x = -87.33 * (i as f32 / 100_000.0);
            let exact = f64::from(x).exp();
            let value = f64::from(vectorized(
                #[inline(always)]
                || x.exp_nonpositive(),
            ));
            worst = worst.max((value - exact).abs() / exact);
        }
        assert!(worst < 1.6e-7, "relative error {worst:e}");
        assert_eq!(0f32.exp_nonpositive(), 1.0);
        assert_eq!((-88f32).exp_nonpositive(), 0.0);
        assert_eq!(f32::NEG_INFINITY.exp_nonpositive(), 0.0);
        assert!(f32::NAN.exp_nonpositive().is_nan());
        assert_eq!(0f32.exp_fast(), 1.0);
        assert_eq!((-88f32).exp_fast(), 0.0);
        assert_eq!(f32::NEG_INFINITY.exp_fast(), 0.0);
        assert_eq!(90f32.exp_fast(), f32::INFINITY);
        assert_eq!(f32::INFINITY.exp_fast(), f32::INFINITY);
        assert!(f32::NAN.exp_fast().is_nan());
    }

    #[test]
    fn logarithms_are_accurate() {
        let near_one = (0..200_001).map(|i| 0.5 + i as f32 * 1e-5);
        let wide = (0..200_001).map(|i| (-87.3 + i as f32 * 8.8e-4).exp());
        for x in near_one.chain(wide) {
            let value = vectorized(
                #[inline(always)]
                || x.ln_normal(),
            );
            let exact = f64::from(x).ln();
            assert!(
                (f64::from(value) - exact).abs() <= 1.2e-7 * exact.abs(),
                "{x}: {value}"
            );
        }
        assert_eq!(1f32.ln_normal(), 0.0);
        assert_eq!(f32::INFINITY.ln_normal(), f32::INFINITY);
        assert!(f32::NAN.ln_normal().is_nan());
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
            let both = sums([&x, &x], |[a, b]| [a - 2.0, a * b]);
            let squares: f64 = x.iter().map(|x| x * x).sum();
            assert_eq!(both, [x.iter().sum::<f64>() - 2.0 * n as f64, squares]);
            assert_eq!(max(&x), x.iter().copied().fold(f64::NEG_INFINITY, f64::max));
        }
    }
}
