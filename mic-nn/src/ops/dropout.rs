//! Stochastic depth, channel dropout and residual sums, with the random choices passed in.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::attach::attach;
use super::cast::in_single;
use super::cpu::{Elem, dispatch, fresh, on_gpu, storage, tensor, view};
use super::simd::vectorized;

/// Elements a task handles at most.
const CHUNK: usize = 1 << 14;

/// Stochastic depth (Huang et al., 2016): `x * keep / (1 - rate)` with one choice a sample.
///
/// `x` is (B, ...), `keep` holds B choices, `rate` in `[0, 1)` is the probability of dropping.
///
/// # Errors
/// When the number of choices is not B or the rate is outside its range.
pub fn drop_path(x: &Tensor, keep: &[bool], rate: f64) -> Result<Tensor> {
    in_single!([x] => drop_path(x, keep, rate));
    let samples = x.dims().first().copied().unwrap_or(1);
    scale_groups("drop_path", x, factors("drop_path", samples, keep, rate)?)
}

/// Drops whole channels: `x * keep / (1 - rate)` with one choice a sample and channel.
///
/// `x` is (B, C, H, W), `keep` holds B * C choices in that order, `rate` is in `[0, 1)`.
///
/// # Errors
/// As [`drop_path`].
pub fn dropout2d(x: &Tensor, keep: &[bool], rate: f64) -> Result<Tensor> {
    in_single!([x] => dropout2d(x, keep, rate));
    let &[b, c, _, _] = x.dims() else {
        candle_core::bail!("dropout2d: x is {:?}, expected (B, C, H, W)", x.dims())
    };
    scale_groups("dropout2d", x, factors("dropout2d", b * c, keep, rate)?)
}

/// Dropout (Srivastava et al., 2014): `x * keep / (1 - rate)` with one choice an element.
///
/// `x` is of any shape, `keep` holds a choice for every element in order, `rate` is in `[0, 1)`.
/// Keeps the choices, a byte each.
///
/// # Errors
/// As [`drop_path`].
pub fn dropout(x: &Tensor, keep: &[bool], rate: f64) -> Result<Tensor> {
    const OP: &str = "dropout";
    in_single!([x] => dropout(x, keep, rate));
    check(OP, x.elem_count(), keep, rate)?;
    let (x, keep) = (x.contiguous()?, keep.to_vec());
    let scale = 1.0 / (1.0 - rate);
    dispatch!(OP, x.dtype(), T => {
        let output = storage(dropout_cpu::<T>(&view::<T>(OP, &x)?, &keep, T::of(scale)));
        attach(OP, [&x], output, x.shape(), move |grad| {
            let dx = dropout_cpu::<T>(&view::<T>(OP, grad)?, &keep, T::of(scale));
            Ok([Some(tensor(dx, grad.shape()))])
        })
    })
}

fn dropout_cpu<T: Elem>(x: &[T], keep: &[bool], scale: T) -> Vec<T> {
    let mut output = fresh::<T>(x.len());
    output
        .par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK).zip(keep.par_chunks(CHUNK)))
        .for_each(|(out, (x, keep))| {
            vectorized(
                #[inline(always)]
                || {
                    for ((o, &x), &keep) in out.iter_mut().zip(x).zip(keep) {
                        *o = if keep { x * scale } else { T::zero() };
                    }
                },
            );
        });
    output
}

/// `residual + branch * keep / (1 - rate)`: [`drop_path`] and the residual sum in one pass.
///
/// Both tensors are (B, ...) of one shape; `keep` holds B choices.
///
/// # Errors
/// As [`drop_path`], and when the shapes or dtypes differ.
pub fn add_drop_path(
    residual: &Tensor,
    branch: &Tensor,
    keep: &[bool],
    rate: f64,
) -> Result<Tensor> {
    in_single!([residual, branch] => add_drop_path(residual, branch, keep, rate));
    let samples = residual.dims().first().copied().unwrap_or(1);
    let factors = factors("add_drop_path", samples, keep, rate)?;
    add_scaled("add_drop_path", residual, branch, factors)
}

/// `a + b` for tensors of one shape, without the copies of gradients that candle's own sum makes.
///
/// # Errors
/// When the shapes or dtypes differ.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    in_single!([a, b] => add(a, b));
    add_scaled("add", a, b, vec![1.0])
}

fn check(op: &str, groups: usize, keep: &[bool], rate: f64) -> Result<()> {
    if keep.len() != groups {
        candle_core::bail!("{op}: {} choices for {groups} groups", keep.len())
    }
    if !(0.0..1.0).contains(&rate) {
        candle_core::bail!("{op}: the rate {rate} is outside [0, 1)")
    }
    Ok(())
}

fn factors(op: &str, groups: usize, keep: &[bool], rate: f64) -> Result<Vec<f64>> {
    check(op, groups, keep, rate)?;
    let scale = 1.0 / (1.0 - rate);
    Ok(keep.iter().map(|&k| if k { scale } else { 0.0 }).collect())
}

/// Applies `f(factor, out, inputs)` to pieces that each belong to one group of elements.
fn by_group<T: Elem>(
    out: &mut [T],
    factors: &[f64],
    f: impl Fn(T, std::ops::Range<usize>, &mut [T]) + Sync,
) {
    let group = out.len() / factors.len().max(1);
    if group == 0 {
        return;
    }
    out.par_chunks_mut(group).enumerate().for_each(|(g, out)| {
        out.par_chunks_mut(CHUNK).enumerate().for_each(|(c, out)| {
            let start = g * group + c * CHUNK;
            f(T::of(factors[g]), start..start + out.len(), out);
        });
    });
}

fn scale_cpu<T: Elem>(op: &str, x: &Tensor, factors: &[f64]) -> Result<Vec<T>> {
    let input = view::<T>(op, x)?;
    let mut output = fresh::<T>(input.len());
    by_group(&mut output, factors, |factor, range, out| {
        // A dropped group is exactly 0, also where the input is not finite.
        if factor == T::zero() {
            return out.fill(factor);
        }
        let x = &input[range];
        vectorized(
            #[inline(always)]
            || {
                for (o, &x) in out.iter_mut().zip(x) {
                    *o = x * factor;
                }
            },
        );
    });
    Ok(output)
}

fn scale_groups(op: &'static str, x: &Tensor, factors: Vec<f64>) -> Result<Tensor> {
    let x = x.contiguous()?;
    on_gpu!(x => scale_groups(op, &x, &factors));
    dispatch!(op, x.dtype(), T => {
        let output = storage(scale_cpu::<T>(op, &x, &factors)?);
        attach(op, [&x], output, x.shape(), move |grad| {
            Ok([Some(tensor(scale_cpu::<T>(op, grad, &factors)?, grad.shape()))])
        })
    })
}

fn add_scaled(op: &'static str, a: &Tensor, b: &Tensor, factors: Vec<f64>) -> Result<Tensor> {
    if a.dims() != b.dims() || a.dtype() != b.dtype() {
        candle_core::bail!(
            "{op}: expected two tensors of one shape and dtype, got {:?} {:?} and {:?} {:?}",
            a.dims(),
            a.dtype(),
            b.dims(),
            b.dtype()
        )
    }
    let (a, b) = (a.contiguous()?, b.contiguous()?);
    on_gpu!(a => add_scaled(op, &a, &b, &factors));
    dispatch!(op, a.dtype(), T => add_scaled_cpu::<T>(op, &a, &b, factors))
}

fn add_scaled_cpu<T: Elem>(
    op: &'static str,
    a: &Tensor,
    b: &Tensor,
    factors: Vec<f64>,
) -> Result<Tensor> {
    let mut output = fresh::<T>(a.elem_count());
    {
        let (a, b) = (view::<T>(op, a)?, view::<T>(op, b)?);
        by_group(&mut output, &factors, |factor, range, out| {
            let (a, b) = (&a[range.clone()], &b[range]);
            if factor == T::zero() {
                return out.copy_from_slice(a);
            }
            vectorized(
                #[inline(always)]
                || {
                    for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
                        *o = a + b * factor;
                    }
                },
            );
        });
    }
    let (track_a, track_b) = (a.track_op(), b.track_op());
    attach(op, [a, b], storage(output), a.shape(), move |grad| {
        let scaled = if !track_b {
            None
        } else if factors.iter().all(|&f| f == 1.0) {
            Some(grad.clone())
        } else {
            Some(tensor(scale_cpu::<T>(op, grad, &factors)?, grad.shape()))
        };
        Ok([track_a.then(|| grad.clone()), scaled])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{max_relative_error, wave};
    use candle_core::{DType, Device};

    #[test]
    fn keeps_scale_and_drops_zero() -> Result<()> {
        let x = wave(&[3, 2, 4, 5], 1.0, 0.9, 0.1)?.to_dtype(DType::F32)?;
        let y = drop_path(&x, &[true, false, true], 0.2)?;
        let expected = (&x * 1.25)?;
        for (i, kept) in [true, false, true].into_iter().enumerate() {
            let want = if kept {
                expected.get(i)?
            } else {
                x.get(i)?.zeros_like()?
            };
            let error = (y.get(i)? - want)?.abs()?.max_all()?.to_scalar::<f32>()?;
            assert!(error < 1e-6);
        }
        let keep = [true, false, false, true, true, true];
        let y = dropout2d(&x, &keep, 0.5)?.sum((2, 3))?.to_vec2::<f32>()?;
        let want = (x.sum((2, 3))? * 2.0)?.to_vec2::<f32>()?;
        for (i, &kept) in keep.iter().enumerate() {
            let (b, c) = (i / 2, i % 2);
            let want = if kept { want[b][c] } else { 0.0 };
            assert!((y[b][c] - want).abs() < 1e-5);
        }
        Ok(())
    }

    #[test]
    fn gradients_match_differences() -> Result<()> {
        let (x, b) = (
            wave(&[3, 2, 2, 3], 1.0, 1.1, 0.0)?,
            wave(&[3, 2, 2, 3], 1.0, 0.7, 1.0)?,
        );
        let keep = [true, false, true];
        let channels = [true, false, true, true, false, true];
        let error = max_relative_error(std::slice::from_ref(&x), 36, |x| {
            drop_path(&x[0], &keep, 0.3)
        })?;
        assert!(error < 1e-7);
        let error = max_relative_error(std::slice::from_ref(&x), 36, |x| {
            dropout2d(&x[0], &channels, 0.1)
        })?;
        assert!(error < 1e-7);
        let elements: Vec<bool> = (0..36).map(|i| i % 3 != 1).collect();
        let f = |x: &[Tensor]| dropout(&x[0].transpose(1, 3)?, &elements, 0.2);
        assert!(max_relative_error(std::slice::from_ref(&x), 36, f)? < 1e-7);
        let pair = [x, b];
        let f = |x: &[Tensor]| add_drop_path(&x[0], &x[1], &keep, 0.3);
        assert!(max_relative_error(&pair, 36, f)? < 1e-7);
        assert!(max_relative_error(&pair, 36, |x| add(&x[0], &x[1]))? < 1e-7);
        Ok(())
    }

    #[test]
    fn views_work_and_misuse_is_named() -> Result<()> {
        let x = wave(&[4, 6], 1.0, 1.0, 0.0)?;
        let y = add(&x.t()?, &x.t()?)?;
        let error = (y - (x.t()? * 2.0)?)?
            .abs()?
            .max_all()?
            .to_scalar::<f64>()?;
        assert_eq!(error, 0.0);
        let message = |r: Result<Tensor>| r.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(message(drop_path(&x, &[true], 0.1)).contains("1 choices for 4 groups"));
        assert!(message(dropout(&x, &[true], 0.1)).contains("1 choices for 24 groups"));
        assert!(message(drop_path(&x, &[true; 4], 1.0)).contains("outside [0, 1)"));
        assert!(message(add(&x, &x.t()?)).contains("one shape"));
        let empty = Tensor::zeros((0, 3), DType::F32, &Device::Cpu)?;
        assert_eq!(drop_path(&empty, &[], 0.1)?.dims(), [0, 3]);
        Ok(())
    }
}
