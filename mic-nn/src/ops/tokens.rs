//! Putting sequences of tokens together and taking them apart.

use candle_core::{Result, Tensor};
use num_traits::Zero;
use rayon::prelude::*;

use super::attach::attach;
use super::cast::in_single;
use super::cpu::{Elem, dispatch, fresh, storage, tensor, view};
use super::math::accumulate;
use super::simd::vectorized;

/// Elements a task handles at most, and tokens that are summed before their sum is added.
const CHUNK: usize = 1 << 14;
const SUMMED: usize = 32;

/// Puts the same `prefix` before every sample's tokens and adds `positions` to these:
/// `[prefix; tokens + positions]`.
///
/// `tokens` is (B, N, C), `prefix` (1, P, C), `positions` (1, N, C); the result is (B, P + N, C).
/// Keeps nothing for the backward pass.
///
/// # Errors
/// When the shapes or dtypes do not fit.
pub fn prepend_tokens(tokens: &Tensor, prefix: &Tensor, positions: &Tensor) -> Result<Tensor> {
    const OP: &str = "prepend_tokens";
    in_single!([tokens, prefix, positions] => prepend_tokens(tokens, prefix, positions));
    let (&[b, n, c], &[1, p, prefix_c]) = (tokens.dims(), prefix.dims()) else {
        candle_core::bail!(
            "{OP}: expected tokens (B, N, C) and a prefix (1, P, C), got {:?} and {:?}",
            tokens.dims(),
            prefix.dims()
        )
    };
    let dtypes = [prefix, positions].map(|t| t.dtype() == tokens.dtype());
    if prefix_c != c || positions.dims() != [1, n, c] || dtypes != [true; 2] || n * c == 0 {
        candle_core::bail!(
            "{OP}: expected a prefix (1, P, {c}) and positions (1, {n}, {c}) of the tokens' dtype \
             {:?}, N and C > 0, got {:?} {:?} and {:?} {:?}",
            tokens.dtype(),
            prefix.dims(),
            prefix.dtype(),
            positions.dims(),
            positions.dtype()
        )
    }
    let (tokens, prefix) = (tokens.contiguous()?, prefix.contiguous()?);
    let positions = positions.contiguous()?;
    dispatch!(OP, tokens.dtype(), T => {
        let mut output = fresh::<T>(b * (p + n) * c);
        {
            let (x, prefix) = (view::<T>(OP, &tokens)?, view::<T>(OP, &prefix)?);
            let (x, prefix): (&[T], &[T]) = (&x, &prefix);
            let positions = view::<T>(OP, &positions)?;
            let samples = output.par_chunks_mut((p + n) * c).zip(x.par_chunks(n * c));
            samples.for_each(|(out, x)| {
                let (first, rest) = out.split_at_mut(p * c);
                first.copy_from_slice(prefix);
                rest.copy_from_slice(x);
                vectorized(
                    #[inline(always)]
                    || accumulate(rest, &positions),
                );
            });
        }
        let tracked = [&tokens, &prefix, &positions].map(|t| t.track_op());
        let inputs = [&tokens, &prefix, &positions];
        attach(OP, inputs, storage(output), (b, p + n, c), move |grad| {
            let g = view::<T>(OP, grad)?;
            let shared = if tracked[1] || tracked[2] {
                sum_samples(&g, b, (p + n) * c)
            } else {
                Vec::new()
            };
            let part = |range: std::ops::Range<usize>, len: usize| {
                tensor(shared[range].to_vec(), (1, len, c))
            };
            Ok([
                tracked[0].then(|| tensor(narrow::<T>(&g, b, p + n, p, n, c), (b, n, c))),
                tracked[1].then(|| part(0..p * c, p)),
                tracked[2].then(|| part(p * c..(p + n) * c, n)),
            ])
        })
    })
}

/// The sum over samples of `len` elements each, in order.
fn sum_samples<T: Elem>(g: &[T], samples: usize, len: usize) -> Vec<T> {
    let mut total = vec![T::zero(); len];
    let tasks = total.par_chunks_mut(CHUNK).enumerate();
    tasks.for_each(|(chunk, total)| {
        for sample in 0..samples {
            let start = sample * len + chunk * CHUNK;
            vectorized(
                #[inline(always)]
                || accumulate(total, &g[start..start + total.len()]),
            );
        }
    });
    total
}

/// Tokens `start..start + len` of every sample of (B, N, C).
fn narrow<T: Elem>(x: &[T], b: usize, n: usize, start: usize, len: usize, c: usize) -> Vec<T> {
    let mut out = fresh::<T>(b * len * c);
    if !out.is_empty() {
        let samples = out.par_chunks_mut(len * c).zip(x.par_chunks(n * c));
        samples.for_each(|(out, x)| out.copy_from_slice(&x[start * c..(start + len) * c]));
    }
    out
}

/// Tokens `start` to `start + len` of every sample: (B, N, C) to (B, len, C), contiguous.
///
/// # Errors
/// When `x` is not (B, N, C) or has too few tokens.
pub fn narrow_tokens(x: &Tensor, start: usize, len: usize) -> Result<Tensor> {
    const OP: &str = "narrow_tokens";
    in_single!([x] => narrow_tokens(x, start, len));
    let (b, n, c) = tokens_from(OP, x, start, len)?;
    let x = x.contiguous()?;
    dispatch!(OP, x.dtype(), T => {
        let output = narrow::<T>(&view::<T>(OP, &x)?, b, n, start, len, c);
        attach(OP, [&x], storage(output), (b, len, c), move |grad| {
            let mut dx = vec![T::zero(); b * n * c];
            if len * c > 0 {
                let g = view::<T>(OP, grad)?;
                let samples = dx.par_chunks_mut(n * c).zip(g.par_chunks(len * c));
                samples.for_each(|(dx, g)| {
                    dx[start * c..(start + len) * c].copy_from_slice(g);
                });
            }
            Ok([Some(tensor(dx, (b, n, c)))])
        })
    })
}

/// The mean of the tokens from `start` on: (B, N, C) to (B, C).
///
/// # Errors
/// When `x` is not (B, N, C) or there is no token to take the mean of.
pub fn mean_tokens(x: &Tensor, start: usize) -> Result<Tensor> {
    const OP: &str = "mean_tokens";
    in_single!([x] => mean_tokens(x, start));
    let (b, n, c) = tokens_from(OP, x, start, 1)?;
    let x = x.contiguous()?;
    let len = n - start;
    dispatch!(OP, x.dtype(), T => {
        let scale = T::of(1.0 / len as f64);
        let mut output = vec![T::zero(); b * c];
        if c > 0 {
            let x = view::<T>(OP, &x)?;
            let samples = output.par_chunks_mut(c).zip(x.par_chunks(n * c));
            samples.for_each(|(out, x)| mean(&x[start * c..], scale, out));
        }
        attach(OP, [&x], storage(output), (b, c), move |grad| {
            let mut dx = vec![T::zero(); b * n * c];
            if c > 0 {
                let g = view::<T>(OP, grad)?;
                let samples = dx.par_chunks_mut(n * c).zip(g.par_chunks(c));
                samples.for_each(|(dx, g)| {
                    let scaled: Vec<T> = g.iter().map(|&g| g * scale).collect();
                    let rows = dx[start * c..].chunks_exact_mut(c);
                    rows.for_each(|row| row.copy_from_slice(&scaled));
                });
            }
            Ok([Some(tensor(dx, (b, n, c)))])
        })
    })
}

/// `out = scale *` the sum of the rows of `x`, over short runs of rows first.
fn mean<T: Elem>(x: &[T], scale: T, out: &mut [T]) {
    let c = out.len();
    let mut partial = vec![T::zero(); c];
    for rows in x.chunks(SUMMED * c) {
        vectorized(
            #[inline(always)]
            || {
                partial.fill(T::zero());
                for row in rows.chunks_exact(c) {
                    accumulate(&mut partial, row);
                }
                accumulate(out, &partial);
            },
        );
    }
    for o in out {
        *o *= scale;
    }
}

fn tokens_from(op: &str, x: &Tensor, start: usize, len: usize) -> Result<(usize, usize, usize)> {
    match *x.dims() {
        [b, n, c] if start.checked_add(len).is_some_and(|end| end <= n) => Ok((b, n, c)),
        _ => candle_core::bail!(
            "{op}: x is {:?}, expected (B, N, C) with {len} tokens or more from {start} on",
            x.dims()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{max_relative_error, wave};
    use candle_core::DType;

    fn difference(a: &Tensor, b: &Tensor) -> Result<f64> {
        (a - b)?.abs()?.max_all()?.to_scalar()
    }

    #[test]
    fn prepending_equals_its_definition_and_has_its_gradient() -> Result<()> {
        let (x, prefix) = (
            wave(&[3, 7, 5], 1.0, 0.9, 0.1)?,
            wave(&[1, 2, 5], 1.0, 1.7, 0.3)?,
        );
        let positions = wave(&[1, 7, 5], 1.0, 0.6, 0.8)?;
        let ours = prepend_tokens(&x, &prefix, &positions)?;
        let want = Tensor::cat(
            &[&prefix.repeat((3, 1, 1))?, &x.broadcast_add(&positions)?],
            1,
        )?;
        assert_eq!(difference(&ours, &want)?, 0.0);
        let error = max_relative_error(&[x.clone(), prefix, positions.clone()], 60, |t| {
            prepend_tokens(&t[0], &t[1], &t[2])?.sqr()
        })?;
        assert!(error < 1e-7);
        let message = |r: Result<Tensor>| r.err().map(|e| e.to_string()).unwrap_or_default();
        let none = Tensor::zeros((1, 0, 5), DType::F64, x.device())?;
        let added = x.broadcast_add(&positions)?;
        assert_eq!(
            difference(&prepend_tokens(&x, &none, &positions)?, &added)?,
            0.0
        );
        assert!(message(prepend_tokens(&x, &x, &positions)).contains("prefix (1, P, C)"));
        assert!(message(prepend_tokens(&x, &none, &none)).contains("positions (1, 7, 5)"));
        Ok(())
    }

    #[test]
    fn parts_and_means_equal_candles() -> Result<()> {
        let x = wave(&[2, 70, 3], 1.0, 0.9, 0.1)?;
        for (start, len) in [(0, 1), (1, 69), (5, 4), (70, 0)] {
            let ours = narrow_tokens(&x, start, len)?;
            assert_eq!(ours.dims(), [2, len, 3]);
            if len > 0 {
                assert_eq!(difference(&ours, &x.narrow(1, start, len)?)?, 0.0);
                let f = |t: &[Tensor]| narrow_tokens(&t[0], start, len)?.sqr();
                assert!(max_relative_error(std::slice::from_ref(&x), 60, f)? < 1e-7);
            }
        }
        let ours = mean_tokens(&x, 1)?;
        assert!(difference(&ours, &x.narrow(1, 1, 69)?.mean(1)?)? < 1e-15);
        let f = |t: &[Tensor]| mean_tokens(&t[0], 1)?.sqr();
        assert!(max_relative_error(std::slice::from_ref(&x), 60, f)? < 1e-7);
        assert!(mean_tokens(&x, 70).is_err() && narrow_tokens(&x, 69, 2).is_err());
        assert!(narrow_tokens(&x.get(0)?, 0, 1).is_err());
        let swapped = x.transpose(0, 1)?;
        let want = swapped.narrow(1, 1, 1)?;
        assert_eq!(difference(&narrow_tokens(&swapped, 1, 1)?, &want)?, 0.0);
        Ok(())
    }
}
