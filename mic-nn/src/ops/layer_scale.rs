//! Residual sums with learned scales a channel (layer scale).

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::attach::attach;
use super::cast::in_single;
use super::cpu::{Elem, dispatch, fresh, storage, tensor, view};
use super::math::accumulate;
use super::simd::vectorized;

const OP: &str = "add_layer_scale";

/// Rows a task handles, and a partial sum of gamma's gradient covers.
const ROWS: usize = 128;

/// `residual + gamma * branch * keep / (1 - rate)`: layer scale (Touvron et al., 2021, eq. 9),
/// stochastic depth and the residual sum in one pass.
///
/// `residual` and `branch` are (B, ..., C), `gamma` is (C). `keep` holds one choice a sample;
/// without it nothing is dropped. A dropped sample is the residual exactly. Keeps `branch` and
/// `gamma` for the backward pass.
///
/// # Errors
/// When the shapes or dtypes differ, when the number of choices is not B, and for a rate outside
/// `[0, 1)`.
pub fn add_layer_scale(
    residual: &Tensor,
    branch: &Tensor,
    gamma: &Tensor,
    keep: Option<(&[bool], f64)>,
) -> Result<Tensor> {
    in_single!([residual, branch, gamma] => add_layer_scale(residual, branch, gamma, keep));
    let c = residual.dims().last().copied().unwrap_or(0);
    let samples = residual.dims().first().copied().unwrap_or(0);
    let shapes = branch.dims() == residual.dims() && gamma.dims() == [c];
    let fits = shapes && residual.rank() > 1 && c > 0;
    if !fits || branch.dtype() != residual.dtype() || gamma.dtype() != residual.dtype() {
        candle_core::bail!(
            "{OP}: expected residual and branch (B, ..., C) and gamma (C) of one dtype, C > 0, \
             got {:?} {:?}, {:?} {:?} and {:?} {:?}",
            residual.dims(),
            residual.dtype(),
            branch.dims(),
            branch.dtype(),
            gamma.dims(),
            gamma.dtype()
        )
    }
    let factors = match keep {
        None => vec![1.0; samples],
        Some((keep, rate)) => {
            if keep.len() != samples {
                candle_core::bail!("{OP}: {} choices for {samples} samples", keep.len())
            }
            if !(0.0..1.0).contains(&rate) {
                candle_core::bail!("{OP}: the rate {rate} is outside [0, 1)")
            }
            let scale = |&keep: &bool| if keep { 1.0 / (1.0 - rate) } else { 0.0 };
            keep.iter().map(scale).collect()
        }
    };
    let inputs = [residual, branch, gamma].map(Tensor::contiguous);
    let [residual, branch, gamma] = inputs;
    let (residual, branch, gamma) = (residual?, branch?, gamma?);
    dispatch!(OP, residual.dtype(), T => add_cpu::<T>(&residual, &branch, &gamma, factors))
}

/// Pieces of at most [`ROWS`] rows that each belong to one sample: the sample and its elements.
fn pieces(elements: usize, samples: usize, c: usize) -> Vec<(usize, std::ops::Range<usize>)> {
    let sample = elements / samples.max(1);
    let of = |s: usize| {
        let starts = (s * sample..(s + 1) * sample).step_by(ROWS * c);
        starts.map(move |start| (s, start..((s + 1) * sample).min(start + ROWS * c)))
    };
    (0..samples).flat_map(of).collect()
}

/// `slice` cut at the pieces' borders.
fn cut<'a, T>(
    mut slice: &'a mut [T],
    pieces: &[(usize, std::ops::Range<usize>)],
) -> Vec<&'a mut [T]> {
    let lengths = pieces.iter().map(|(_, range)| range.len());
    lengths
        .map(|length| {
            let (piece, rest) = std::mem::take(&mut slice).split_at_mut(length);
            slice = rest;
            piece
        })
        .collect()
}

fn add_cpu<T: Elem>(
    residual: &Tensor,
    branch: &Tensor,
    gamma: &Tensor,
    factors: Vec<f64>,
) -> Result<Tensor> {
    let c = gamma.elem_count();
    let pieces = pieces(residual.elem_count(), factors.len(), c);
    let mut output = fresh::<T>(residual.elem_count());
    {
        let (x, y) = (view::<T>(OP, residual)?, view::<T>(OP, branch)?);
        let gamma = view::<T>(OP, gamma)?;
        let (x, y, gamma): (&[T], &[T], &[T]) = (&x, &y, &gamma);
        let outputs = cut(&mut output, &pieces);
        let tasks = outputs.into_par_iter().zip(&pieces);
        tasks.for_each(|(out, (sample, range))| {
            let factor = T::of(factors[*sample]);
            let (x, y) = (&x[range.clone()], &y[range.clone()]);
            if factor == T::zero() {
                return out.copy_from_slice(x);
            }
            vectorized(
                #[inline(always)]
                || {
                    let rows = x.chunks_exact(c).zip(y.chunks_exact(c));
                    for (out, (x, y)) in out.chunks_exact_mut(c).zip(rows) {
                        for ((o, &x), (&y, &gamma)) in
                            out.iter_mut().zip(x).zip(y.iter().zip(gamma))
                        {
                            *o = (y * factor).mul_add(gamma, x);
                        }
                    }
                },
            );
        });
    }
    let tracked = [residual, branch, gamma].map(Tensor::track_op);
    let (saved_y, saved_gamma) = (branch.detach(), gamma.detach());
    attach(
        OP,
        [residual, branch, gamma],
        storage(output),
        residual.shape(),
        move |grad| {
            let [residual, branch, parameter] = tracked;
            let g = view::<T>(OP, grad)?;
            let dy = if branch {
                let gamma = view::<T>(OP, &saved_gamma)?;
                let dy = branch_gradient(&g, &gamma, &factors, &pieces);
                Some(tensor(dy, grad.shape()))
            } else {
                None
            };
            let dgamma = if parameter {
                let y = view::<T>(OP, &saved_y)?;
                Some(tensor(gamma_gradient(&g, &y, c, &factors, &pieces), c))
            } else {
                None
            };
            Ok([residual.then(|| grad.clone()), dy, dgamma])
        },
    )
}

/// `factor * gamma * g`.
fn branch_gradient<T: Elem>(
    g: &[T],
    gamma: &[T],
    factors: &[f64],
    pieces: &[(usize, std::ops::Range<usize>)],
) -> Vec<T> {
    let mut dy = vec![T::zero(); g.len()];
    let tasks = cut(&mut dy, pieces).into_par_iter().zip(pieces);
    tasks.for_each(|(dy, (sample, range))| {
        let factor = T::of(factors[*sample]);
        if factor == T::zero() {
            return;
        }
        let (c, g) = (gamma.len(), &g[range.clone()]);
        vectorized(
            #[inline(always)]
            || {
                for (dy, g) in dy.chunks_exact_mut(c).zip(g.chunks_exact(c)) {
                    for ((d, &g), &gamma) in dy.iter_mut().zip(g).zip(gamma) {
                        *d = g * factor * gamma;
                    }
                }
            },
        );
    });
    dy
}

/// The sum of `factor * y * g` over all rows, in a fixed order.
fn gamma_gradient<T: Elem>(
    g: &[T],
    y: &[T],
    c: usize,
    factors: &[f64],
    pieces: &[(usize, std::ops::Range<usize>)],
) -> Vec<T> {
    let mut partials = vec![T::zero(); pieces.len() * c];
    let tasks = partials.par_chunks_mut(c).zip(pieces);
    tasks.for_each(|(partial, (sample, range))| {
        let factor = T::of(factors[*sample]);
        if factor == T::zero() {
            return;
        }
        let (g, y) = (&g[range.clone()], &y[range.clone()]);
        vectorized(
            #[inline(always)]
            || {
                for (g, y) in g.chunks_exact(c).zip(y.chunks_exact(c)) {
                    for ((p, &g), &y) in partial.iter_mut().zip(g).zip(y) {
                        *p = g.mul_add(y, *p);
                    }
                }
                for p in partial {
                    *p *= factor;
                }
            },
        );
    });
    let mut total = vec![T::zero(); c];
    for partial in partials.chunks_exact(c) {
        accumulate(&mut total, partial);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{max_relative_error, wave};
    use candle_core::DType;

    fn inputs() -> Result<[Tensor; 3]> {
        Ok([
            wave(&[3, 150, 5], 1.0, 0.9, 0.1)?,
            wave(&[3, 150, 5], 1.0, 1.7, 0.4)?,
            wave(&[5], 1.0, 0.8, 0.6)?,
        ])
    }

    #[test]
    fn matches_its_definition_and_has_its_gradient() -> Result<()> {
        let [x, y, gamma] = inputs()?;
        let keep = [true, false, true];
        let factors = Tensor::new(&[1.25f64, 0.0, 1.25], x.device())?.reshape((3, 1, 1))?;
        let scaled = y.broadcast_mul(&gamma)?;
        for (keep, want) in [
            (None, (&x + &scaled)?),
            (
                Some((&keep[..], 0.2)),
                (&x + scaled.broadcast_mul(&factors)?)?,
            ),
        ] {
            let ours = add_layer_scale(&x, &y, &gamma, keep)?;
            assert!((ours - want)?.abs()?.max_all()?.to_scalar::<f64>()? < 1e-12);
            let all = [x.clone(), y.clone(), gamma.clone()];
            let f = |t: &[Tensor]| add_layer_scale(&t[0], &t[1], &t[2], keep)?.sqr();
            assert!(max_relative_error(&all, 40, f)? < 1e-7);
        }
        Ok(())
    }

    #[test]
    fn a_dropped_sample_is_the_residual_and_views_work() -> Result<()> {
        let [x, y, gamma] = inputs()?.map(|t| t.to_dtype(DType::F32));
        let (x, gamma) = (x?, gamma?);
        // Infinities in a dropped branch do not matter.
        let y = (y? * f64::INFINITY)?;
        let ours = add_layer_scale(&x, &y, &gamma, Some((&[false; 3], 0.5)))?;
        assert_eq!(
            ours.flatten_all()?.to_vec1::<f32>()?,
            x.flatten_all()?.to_vec1::<f32>()?
        );
        let (a, b) = (
            x.transpose(0, 1)?,
            x.t()?.contiguous()?.t()?.transpose(0, 1)?,
        );
        let want = (&a + b.broadcast_mul(&gamma)?)?;
        let error = (add_layer_scale(&a, &b, &gamma, None)? - want)?
            .abs()?
            .max_all()?;
        assert!(error.to_scalar::<f32>()? < 1e-6);
        Ok(())
    }

    #[test]
    fn misuse_is_named() -> Result<()> {
        let [x, y, gamma] = inputs()?;
        let message = |r: Result<Tensor>| r.err().map(|e| e.to_string()).unwrap_or_default();
        let short = y.narrow(1, 0, 2)?;
        assert!(message(add_layer_scale(&x, &short, &gamma, None)).contains("[3, 2, 5]"));
        assert!(message(add_layer_scale(&x, &y, &y, None)).contains("gamma (C)"));
        let few = Some((&[true][..], 0.1));
        assert!(message(add_layer_scale(&x, &y, &gamma, few)).contains("1 choices for 3 samples"));
        let rate = Some((&[true; 3][..], 1.0));
        assert!(message(add_layer_scale(&x, &y, &gamma, rate)).contains("outside [0, 1)"));
        let empty = Tensor::zeros((0, 4, 5), DType::F64, x.device())?;
        assert_eq!(
            add_layer_scale(&empty, &empty, &gamma, None)?.dims(),
            [0, 4, 5]
        );
        Ok(())
    }
}
