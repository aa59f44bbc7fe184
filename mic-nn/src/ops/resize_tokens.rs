//! Bicubic resizing of grids of tokens, such as position embeddings.

use candle_core::{Result, Tensor, WithDType};
use num_traits::Float;
use rayon::prelude::*;

use super::attach::attach;
use super::cast::in_single;
use super::cpu::{Elem, dispatch, storage, tensor, view};
use super::simd::vectorized;

const OP: &str = "resize_tokens_bicubic";

/// How [`resize_tokens_bicubic`] places and weighs its samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BicubicOptions {
    /// Widen the kernel when shrinking, as image libraries do. The kernel's parameter is then -0.5,
    /// else -0.75.
    pub antialias: bool,
    /// Output positions a source position, vertically and horizontally, where that is not the
    /// ratio of the sizes (PyTorch's `scale_factor`).
    pub scale: Option<(f64, f64)>,
}

/// Resizes tokens (B, h * w, C) of a grid `from` = (h, w) to the grid `to`, bicubically, as
/// PyTorch's `interpolate(mode="bicubic", align_corners=False)` resizes the map (B, C, h, w).
///
/// Output `o` has its centre at `(o + 0.5) in / out` (or `(o + 0.5) / scale`); weights are computed
/// in the tokens' dtype. Without antialiasing four source tokens a direction count, positions
/// outside the grid being those at its border; with it, all tokens under the kernel that are inside.
///
/// # Errors
/// When the tokens do not form the grid, a size is zero, or a scale is not positive and finite.
pub fn resize_tokens_bicubic(
    x: &Tensor,
    from: (usize, usize),
    to: (usize, usize),
    options: &BicubicOptions,
) -> Result<Tensor> {
    in_single!([x] => resize_tokens_bicubic(x, from, to, options));
    let (b, c) = match *x.dims() {
        [b, n, c] if Some(n) == from.0.checked_mul(from.1) => (b, c),
        _ => candle_core::bail!(
            "{OP}: x is {:?}, expected (B, {} * {}, C)",
            x.dims(),
            from.0,
            from.1
        ),
    };
    if x.elem_count() == 0 || to.0 == 0 || to.1 == 0 {
        candle_core::bail!("{OP}: x {:?} to {to:?}, expected non-empty sizes", x.dims())
    }
    if let Some((vertical, horizontal)) = options.scale
        && ![vertical, horizontal]
            .iter()
            .all(|s| s.is_finite() && *s > 0.0)
    {
        candle_core::bail!("{OP}: the scales must be positive, got {:?}", options.scale)
    }
    let x = x.contiguous()?;
    dispatch!(OP, x.dtype(), T => {
        let scale = options.scale.unzip();
        let rows = Taps::<T>::new(from.0, to.0, scale.0, options.antialias);
        let columns = Taps::<T>::new(from.1, to.1, scale.1, options.antialias);
        let output = resize(&view::<T>(OP, &x)?, b, c, &rows, &columns);
        let (rows, columns) = (rows.transposed(), columns.transposed());
        let (shape, size) = (x.shape().clone(), to.0 * to.1);
        attach(OP, [&x], storage(output), (b, size, c), move |grad| {
            let dx = resize(&view::<T>(OP, grad)?, b, c, &rows, &columns);
            Ok([Some(tensor(dx, &shape))])
        })
    })
}

/// One direction: for every output the inputs that it is made of, and their weights.
struct Taps<T> {
    inputs: usize,
    outputs: Vec<Vec<(usize, T)>>,
}

impl<T: Elem> Taps<T> {
    fn new(inputs: usize, outputs: usize, scale: Option<f64>, antialias: bool) -> Self {
        let step = match scale {
            Some(scale) => T::of(1.0 / scale),
            None => T::of(inputs as f64) / T::of(outputs as f64),
        };
        let taps = |o| match antialias {
            true => under_kernel(o, step, inputs),
            false => four(o, step, inputs),
        };
        Self {
            inputs,
            outputs: (0..outputs).map(taps).collect(),
        }
    }

    fn transposed(&self) -> Self {
        let mut outputs = vec![Vec::new(); self.inputs];
        for (o, taps) in self.outputs.iter().enumerate() {
            for &(i, weight) in taps {
                outputs[i].push((o, weight));
            }
        }
        Self {
            inputs: self.outputs.len(),
            outputs,
        }
    }
}

/// The cubic kernel (Keys, 1981) at distance `x` with parameter `a`.
fn cubic<T: Elem>(x: T, a: T) -> T {
    let x = x.abs();
    let number = |value: f64| T::of(value);
    if x < T::one() {
        ((a + number(2.0)) * x - (a + number(3.0))) * x * x + T::one()
    } else if x < number(2.0) {
        (((x - number(5.0)) * x + number(8.0)) * x - number(4.0)) * a
    } else {
        T::zero()
    }
}

/// The four neighbours of output `o`, those outside moved to the border.
fn four<T: Elem>(o: usize, step: T, inputs: usize) -> Vec<(usize, T)> {
    let half = T::of(0.5);
    let source = step * (T::of(o as f64) + half) - half;
    let first = Float::min(source.floor(), T::of(inputs as f64 - 1.0));
    let fraction = Float::min(Float::max(source - first, T::zero()), T::one());
    let first = WithDType::to_f64(first) as i64;
    let tap = |k: i64| {
        let at = (first + k).clamp(0, inputs as i64 - 1);
        (at as usize, cubic(fraction - T::of(k as f64), T::of(-0.75)))
    };
    (-1..=2).map(tap).collect()
}

/// All inputs under the kernel of output `o`, widened by `step` when that shrinks.
fn under_kernel<T: Elem>(o: usize, step: T, inputs: usize) -> Vec<(usize, T)> {
    let (half, two) = (T::of(0.5), T::of(2.0));
    let wide = Float::max(step, T::one());
    let support = two * wide;
    let center = step * (T::of(o as f64) + half);
    // Rounded towards zero, as PyTorch does.
    let whole = |x: T| WithDType::to_f64(x) as i64;
    let first = whole(center - support + half).max(0);
    let last = whole(center + support + half).min(inputs as i64);
    let weight = |i: i64| {
        let distance = (T::of(i as f64) - center + half) * (T::one() / wide);
        cubic(distance, T::of(-0.5))
    };
    let mut taps: Vec<(usize, T)> = (first..last).map(|i| (i as usize, weight(i))).collect();
    let total: T = taps.iter().map(|&(_, weight)| weight).sum();
    if total != T::zero() {
        for (_, weight) in &mut taps {
            *weight /= total;
        }
    }
    taps
}

/// Applies both directions to (B, h, w, C): columns of every row first, then rows.
fn resize<T: Elem>(x: &[T], b: usize, c: usize, rows: &Taps<T>, columns: &Taps<T>) -> Vec<T> {
    let (h, w) = (rows.inputs, columns.inputs);
    let (oh, ow) = (rows.outputs.len(), columns.outputs.len());
    let mut wide = vec![T::zero(); b * h * ow * c];
    wide.par_chunks_mut(ow * c)
        .zip(x.par_chunks(w * c))
        .for_each(|(out, row)| mix(row, c, &columns.outputs, out));
    let mut out = vec![T::zero(); b * oh * ow * c];
    out.par_chunks_mut(oh * ow * c)
        .zip(wide.par_chunks(h * ow * c))
        .for_each(|(out, wide)| mix(wide, ow * c, &rows.outputs, out));
    out
}

/// Every output line of `line` elements as the weighted sum of input lines.
fn mix<T: Elem>(x: &[T], line: usize, taps: &[Vec<(usize, T)>], out: &mut [T]) {
    vectorized(
        #[inline(always)]
        || {
            for (out, taps) in out.chunks_exact_mut(line).zip(taps) {
                for &(i, weight) in taps {
                    let x = &x[i * line..(i + 1) * line];
                    for (o, &x) in out.iter_mut().zip(x) {
                        *o = x.mul_add(weight, *o);
                    }
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{max_relative_error, wave};

    fn options() -> [BicubicOptions; 4] {
        let scale = Some((8.1 / 5.0, 3.1 / 7.0));
        [(false, None), (true, None), (false, scale), (true, scale)]
            .map(|(antialias, scale)| BicubicOptions { antialias, scale })
    }

    #[test]
    fn constants_stay_and_gradients_match_differences() -> Result<()> {
        let x = wave(&[2, 35, 3], 1.0, 0.9, 0.1)?;
        for options in options() {
            let resize = |x: &Tensor| resize_tokens_bicubic(x, (5, 7), (8, 3), &options);
            let ones = resize(&x.ones_like()?)?;
            let error = (ones - 1.0)?.abs()?.max_all()?.to_scalar::<f64>()?;
            assert!(error < 1e-12, "{options:?}: {error}");
            let error = max_relative_error(std::slice::from_ref(&x), 70, |x| resize(&x[0])?.sqr())?;
            assert!(error < 1e-7, "{options:?}: {error}");
        }
        Ok(())
    }

    #[test]
    fn the_same_grid_stays_and_misuse_is_named() -> Result<()> {
        let x = wave(&[2, 35, 3], 1.0, 0.9, 0.1)?;
        for antialias in [false, true] {
            let options = BicubicOptions {
                antialias,
                scale: None,
            };
            let same = resize_tokens_bicubic(&x, (5, 7), (5, 7), &options)?;
            assert!((same - &x)?.abs()?.max_all()?.to_scalar::<f64>()? < 1e-15);
        }
        let plain = BicubicOptions::default();
        let message = |r: Result<Tensor>| r.err().map(|e| e.to_string()).unwrap_or_default();
        let wrong = resize_tokens_bicubic(&x, (5, 6), (2, 2), &plain);
        assert!(message(wrong).contains("expected (B, 5 * 6, C)"));
        assert!(message(resize_tokens_bicubic(&x, (5, 7), (0, 2), &plain)).contains("non-empty"));
        let negative = BicubicOptions {
            scale: Some((1.0, -1.0)),
            ..plain
        };
        let wrong = resize_tokens_bicubic(&x, (5, 7), (2, 2), &negative);
        assert!(message(wrong).contains("positive"));
        Ok(())
    }
}
