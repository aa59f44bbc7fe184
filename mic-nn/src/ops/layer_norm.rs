//! Layer normalisation.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::attach::attach;
use super::cast::in_single;
use super::cpu::{dispatch, fresh, on_gpu, storage, tensor, view};
use super::math::{Math, accumulate, sum};
use super::simd::vectorized;

/// Rows a task handles, and a partial sum of the parameters' gradients covers.
const ROWS: usize = 128;

/// `(x - mean) / sqrt(var + eps) * gamma + beta` over the last dimension, with the biased variance
/// (Ba et al., 2016).
///
/// `x` is (..., C), `gamma` and `beta` are (C). Keeps `x` and two numbers a row.
///
/// # Errors
/// When the shapes or dtypes do not fit.
pub fn layer_norm(x: &Tensor, gamma: &Tensor, beta: &Tensor, eps: f64) -> Result<Tensor> {
    in_single!([x, gamma, beta] => layer_norm(x, gamma, beta, eps));
    let c = x.dims().last().copied().unwrap_or(0);
    for (name, t) in [("gamma", gamma), ("beta", beta)] {
        if t.dims() != [c] || t.dtype() != x.dtype() || c == 0 {
            candle_core::bail!(
                "layer_norm: expected x (..., C) and {name} (C) of one dtype, C > 0, got {:?} {:?} and {:?} {:?}",
                x.dims(),
                x.dtype(),
                t.dims(),
                t.dtype()
            )
        }
    }
    let (x, gamma, beta) = (x.contiguous()?, gamma.contiguous()?, beta.contiguous()?);
    on_gpu!(x => layer_norm(&x, &gamma, &beta, eps));
    dispatch!("layer_norm", x.dtype(), T => layer_norm_cpu::<T>(&x, &gamma, &beta, eps))
}

/// Mean and reciprocal standard deviation of a row.
#[inline(always)]
fn moments<T: Math>(x: &[T], eps: T) -> (T, T) {
    let n = T::of(x.len() as f64);
    let mean = sum(
        [x],
        #[inline(always)]
        |[x]| x,
    ) / n;
    let variance = sum(
        [x],
        #[inline(always)]
        |[x]| (x - mean) * (x - mean),
    ) / n;
    (mean, T::one() / (variance + eps).sqrt())
}

fn layer_norm_cpu<T: Math>(x: &Tensor, gamma: &Tensor, beta: &Tensor, eps: f64) -> Result<Tensor> {
    const OP: &str = "layer_norm";
    let c = gamma.elem_count();
    let mut output = fresh::<T>(x.elem_count());
    let mut statistics = vec![(T::zero(), T::zero()); x.elem_count() / c];
    {
        let (x, gamma, beta) = (
            view::<T>(OP, x)?,
            view::<T>(OP, gamma)?,
            view::<T>(OP, beta)?,
        );
        let (gamma, beta): (&[T], &[T]) = (&gamma, &beta);
        let eps = T::of(eps);
        output
            .par_chunks_mut(ROWS * c)
            .zip(statistics.par_chunks_mut(ROWS))
            .zip(x.par_chunks(ROWS * c))
            .for_each(|((out, statistics), x)| {
                vectorized(
                    #[inline(always)]
                    || {
                        let rows = out.chunks_exact_mut(c).zip(x.chunks_exact(c));
                        for ((out, x), saved) in rows.zip(statistics) {
                            let (mean, rstd) = moments(x, eps);
                            *saved = (mean, rstd);
                            let parameters = gamma.iter().zip(beta);
                            for ((o, &x), (&gamma, &beta)) in out.iter_mut().zip(x).zip(parameters)
                            {
                                *o = (x - mean) * rstd * gamma + beta;
                            }
                        }
                    },
                );
            });
    }
    let tracked = (x.track_op(), gamma.track_op() || beta.track_op());
    let (saved_x, saved_gamma) = (x.detach(), gamma.detach());
    attach(
        OP,
        [x, gamma, beta],
        storage(output),
        x.shape(),
        move |grad| {
            let (x, gamma) = (view::<T>(OP, &saved_x)?, view::<T>(OP, &saved_gamma)?);
            let g = view::<T>(OP, grad)?;
            let (dx, parameters) = backward(&x, &gamma, &statistics, &g, tracked);
            let [dgamma, dbeta] = match parameters {
                Some([dgamma, dbeta]) => [Some(tensor(dgamma, c)), Some(tensor(dbeta, c))],
                None => [None, None],
            };
            Ok([dx.map(|dx| tensor(dx, grad.shape())), dgamma, dbeta])
        },
    )
}

/// The gradient of x, and those of gamma and beta, as far as they are asked for.
fn backward<T: Math>(
    x: &[T],
    gamma: &[T],
    statistics: &[(T, T)],
    g: &[T],
    (input, parameters): (bool, bool),
) -> (Option<Vec<T>>, Option<[Vec<T>; 2]>) {
    let c = gamma.len();
    let n = T::of(c as f64);
    let mut dx = fresh::<T>(if input { x.len() } else { 0 });
    let mut partials = vec![
        T::zero();
        if parameters {
            x.len().div_ceil(ROWS * c) * 2 * c
        } else {
            0
        }
    ];
    let chunk = |x: &[T], g: &[T], statistics: &[(T, T)], dx: &mut [T], partial: &mut [T]| {
        vectorized(
            #[inline(always)]
            || {
                let rows = x.chunks_exact(c).zip(g.chunks_exact(c)).zip(statistics);
                for (row, ((x, g), &(mean, rstd))) in rows.enumerate() {
                    if parameters {
                        let (dgamma, dbeta) = partial.split_at_mut(c);
                        let totals = dgamma.iter_mut().zip(dbeta);
                        for ((dgamma, dbeta), (&x, &g)) in totals.zip(x.iter().zip(g)) {
                            *dgamma += g * (x - mean) * rstd;
                            *dbeta += g;
                        }
                    }
                    if input {
                        let a = sum(
                            [g, gamma],
                            #[inline(always)]
                            |[g, gamma]| g * gamma,
                        ) / n;
                        let b = sum(
                            [g, gamma, x],
                            #[inline(always)]
                            |[g, gamma, x]| g * gamma * (x - mean),
                        ) * rstd
                            * rstd
                            / n;
                        let dx = &mut dx[row * c..][..c];
                        for ((d, &x), (&g, &gamma)) in dx.iter_mut().zip(x).zip(g.iter().zip(gamma))
                        {
                            *d = (g * gamma - a - (x - mean) * b) * rstd;
                        }
                    }
                }
            },
        );
    };
    let count = x.len().div_ceil(ROWS * c);
    let dx_pieces = split(&mut dx, ROWS * c, count);
    let partial_pieces = split(&mut partials, 2 * c, count);
    x.par_chunks(ROWS * c)
        .zip(g.par_chunks(ROWS * c))
        .zip(statistics.par_chunks(ROWS))
        .zip(dx_pieces.into_par_iter().zip(partial_pieces))
        .for_each(|(((x, g), statistics), (dx, partial))| chunk(x, g, statistics, dx, partial));
    let totals = parameters.then(|| {
        let mut total = vec![T::zero(); 2 * c];
        for partial in partials.chunks_exact(2 * c) {
            vectorized(
                #[inline(always)]
                || accumulate(&mut total, partial),
            );
        }
        let dbeta = total.split_off(c);
        [total, dbeta]
    });
    (input.then_some(dx), totals)
}

/// `count` pieces of `size` elements, the last one shorter; empty ones of an empty slice.
fn split<T>(slice: &mut [T], size: usize, count: usize) -> Vec<&mut [T]> {
    let mut pieces: Vec<&mut [T]> = slice.chunks_mut(size).collect();
    pieces.resize_with(count, Default::default);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{max_relative_error, wave};
    use candle_core::{D, DType};

    fn plain(x: &Tensor, gamma: &Tensor, beta: &Tensor, eps: f64) -> Result<Tensor> {
        let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = x.sqr()?.mean_keepdim(D::Minus1)?;
        x.broadcast_div(&(variance + eps)?.sqrt()?)?
            .broadcast_mul(gamma)?
            .broadcast_add(beta)
    }

    #[test]
    fn agrees_with_the_formula_in_single_precision_and_on_views() -> Result<()> {
        for c in [1usize, 24, 65] {
            let x = (wave(&[c, ROWS + 9], 1.0, 1.37, 0.2)? + 3.0)?.t()?;
            let (gamma, beta) = (wave(&[c], 1.0, 0.7, 1.0)?, wave(&[c], 1.0, 2.0, 0.0)?);
            let want = plain(&x.contiguous()?, &gamma, &beta, 1e-3)?;
            let single = |t: &Tensor| t.to_dtype(DType::F32);
            let y = layer_norm(&single(&x)?, &single(&gamma)?, &single(&beta)?, 1e-3)?;
            let error = (y.to_dtype(DType::F64)? - want)?.abs()?.max_all()?;
            assert!(error.to_scalar::<f64>()? < 2e-5);
        }
        Ok(())
    }

    #[test]
    fn gradients_match_differences() -> Result<()> {
        let x = wave(&[2, ROWS, 5], 1.0, 1.37, 0.2)?;
        let all = [x, wave(&[5], 1.0, 0.7, 1.0)?, wave(&[5], 1.0, 2.0, 0.0)?];
        let f = |t: &[Tensor]| layer_norm(&t[0], &t[1], &t[2], 1e-5);
        let error = max_relative_error(&all, 100, f)?;
        assert!(error < 1e-6, "{error}");
        // Each input alone: the gradients that are not asked for change nothing.
        for i in 0..3 {
            let f = |t: &[Tensor]| {
                let pick = |j: usize| if i == j { &t[0] } else { &all[j] };
                layer_norm(pick(0), pick(1), pick(2), 1e-5)
            };
            assert!(max_relative_error(&all[i..=i], 50, f)? < 1e-6);
        }
        Ok(())
    }

    #[test]
    fn misuse_is_named() -> Result<()> {
        let (x, gamma) = (wave(&[3, 4], 1.0, 1.0, 0.0)?, wave(&[3], 1.0, 1.0, 0.0)?);
        let error = layer_norm(&x, &gamma, &gamma, 1e-5)
            .err()
            .map(|e| e.to_string());
        assert!(error.is_some_and(|e| e.contains("gamma (C)")));
        Ok(())
    }
}
