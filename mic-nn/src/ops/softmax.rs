//! Softmax over any dimension.

use candle_core::shape::Dim;
use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::attach::attach_with_result;
use super::cast::in_single;
use super::cpu::{Shared, dispatch, fresh, on_gpu, storage, tensor, view};
use super::math::{Math, max, sum};
use super::simd::vectorized;

/// Rows a task handles where the dimension is the last one.
const ROWS: usize = 64;
/// Neighbouring positions a task handles where it is not.
const BLOCK: usize = 256;

/// `exp(x) / sum(exp(x))` over `dim`, for a tensor of any shape. Keeps its result only.
///
/// # Errors
/// When `x` has no such dimension.
pub fn softmax(x: &Tensor, dim: impl Dim) -> Result<Tensor> {
    in_single!([x] => softmax(x, dim));
    let dim = dim.to_index(x.shape(), "softmax")?;
    let x = x.contiguous()?;
    let size = x.dims()[dim];
    let inner: usize = x.dims()[dim + 1..].iter().product();
    on_gpu!(x => softmax(&x, size, inner));
    dispatch!("softmax", x.dtype(), T => softmax_cpu::<T>(&x, size, inner))
}

fn softmax_cpu<T: Math>(x: &Tensor, size: usize, inner: usize) -> Result<Tensor> {
    const OP: &str = "softmax";
    let mut output = fresh::<T>(x.elem_count());
    {
        let x = view::<T>(OP, x)?;
        if inner == 1 {
            by_row(&mut output, size, &x, &x, forward_row);
        } else {
            by_block(&mut output, size, inner, &x, &x, forward_block);
        }
    }
    attach_with_result(OP, [x], storage(output), x.shape(), move |result, grad| {
        let (y, g) = (view::<T>(OP, result)?, view::<T>(OP, grad)?);
        let mut dx = fresh::<T>(g.len());
        if inner == 1 {
            by_row(&mut dx, size, &y, &g, backward_row);
        } else {
            by_block(&mut dx, size, inner, &y, &g, backward_block);
        }
        Ok([Some(tensor(dx, grad.shape()))])
    })
}

/// Calls `f(out, a, b)` for every row of `size` elements.
fn by_row<T: Math>(
    out: &mut [T],
    size: usize,
    a: &[T],
    b: &[T],
    f: fn(&mut [T], &[T], &[T], usize),
) {
    if out.is_empty() {
        return;
    }
    out.par_chunks_mut(ROWS * size)
        .zip(a.par_chunks(ROWS * size).zip(b.par_chunks(ROWS * size)))
        .for_each(|(out, (a, b))| f(out, a, b, size));
}

/// Calls `f(out, a, b)` for blocks of neighbouring positions: the slices reach from the first
/// element of the block to its last one, with `inner` elements between entries of one position.
fn by_block<T: Math>(
    out: &mut [T],
    size: usize,
    inner: usize,
    a: &[T],
    b: &[T],
    f: fn(Strided<'_, T>, &[T], &[T]),
) {
    if out.is_empty() {
        return;
    }
    let outer = out.len() / (size * inner);
    let blocks = inner.div_ceil(BLOCK);
    let shared = Shared::new(out);
    (0..outer * blocks).into_par_iter().for_each(|task| {
        let (index, first) = (task / blocks, task % blocks * BLOCK);
        let count = BLOCK.min(inner - first);
        let start = index * size * inner + first;
        let range = start..start + (size - 1) * inner + count;
        let out = Strided {
            out: shared,
            start,
            size,
            inner,
            count,
        };
        f(out, &a[range.clone()], &b[range]);
    });
}

/// The places in the output that belong to one block of positions.
struct Strided<'a, T> {
    out: Shared<'a, T>,
    start: usize,
    size: usize,
    inner: usize,
    count: usize,
}

impl<T> Strided<'_, T> {
    /// Entry `i` of every position of the block.
    #[inline(always)]
    fn row(&mut self, i: usize) -> &mut [T] {
        let start = self.start + i * self.inner;
        // SAFETY: blocks are disjoint, and `&mut self` keeps the rows of this one apart in time.
        unsafe { self.out.slice(start..start + self.count) }
    }
}

fn forward_block<T: Math>(mut out: Strided<'_, T>, x: &[T], _: &[T]) {
    let (size, inner, count) = (out.size, out.inner, out.count);
    vectorized(
        #[inline(always)]
        || {
            let mut largest = [T::neg_infinity(); BLOCK];
            let mut total = [T::zero(); BLOCK];
            for i in 0..size {
                for (m, &x) in largest.iter_mut().zip(&x[i * inner..][..count]) {
                    *m = if x > *m { x } else { *m };
                }
            }
            for i in 0..size {
                let x = x[i * inner..][..count].iter().zip(&largest);
                for ((o, t), (&x, &m)) in out.row(i).iter_mut().zip(&mut total).zip(x) {
                    *o = (x - m).exp_nonpositive();
                    *t += *o;
                }
            }
            for t in &mut total {
                *t = T::one() / *t;
            }
            for i in 0..size {
                for (o, &t) in out.row(i).iter_mut().zip(&total) {
                    *o *= t;
                }
            }
        },
    );
}

fn backward_block<T: Math>(mut dx: Strided<'_, T>, y: &[T], g: &[T]) {
    let (size, inner, count) = (dx.size, dx.inner, dx.count);
    vectorized(
        #[inline(always)]
        || {
            let mut dot = [T::zero(); BLOCK];
            for i in 0..size {
                let (y, g) = (&y[i * inner..][..count], &g[i * inner..][..count]);
                for (d, (&y, &g)) in dot.iter_mut().zip(y.iter().zip(g)) {
                    *d += y * g;
                }
            }
            for i in 0..size {
                let (y, g) = (&y[i * inner..][..count], &g[i * inner..][..count]);
                let pixels = y.iter().zip(g).zip(&dot);
                for (d, ((&y, &g), &dot)) in dx.row(i).iter_mut().zip(pixels) {
                    *d = y * (g - dot);
                }
            }
        },
    );
}

fn forward_row<T: Math>(out: &mut [T], x: &[T], _: &[T], size: usize) {
    vectorized(
        #[inline(always)]
        || {
            for (out, x) in out.chunks_exact_mut(size).zip(x.chunks_exact(size)) {
                let largest = max(x);
                for (o, &x) in out.iter_mut().zip(x) {
                    *o = (x - largest).exp_nonpositive();
                }
                let scale = T::one()
                    / sum(
                        [&*out],
                        #[inline(always)]
                        |[p]| p,
                    );
                for o in out {
                    *o *= scale;
                }
            }
        },
    );
}

fn backward_row<T: Math>(dx: &mut [T], y: &[T], g: &[T], size: usize) {
    vectorized(
        #[inline(always)]
        || {
            let rows = dx
                .chunks_exact_mut(size)
                .zip(y.chunks_exact(size))
                .zip(g.chunks_exact(size));
            for ((dx, y), g) in rows {
                let dot = sum(
                    [y, g],
                    #[inline(always)]
                    |[y, g]| y * g,
                );
                for (d, (&y, &g)) in dx.iter_mut().zip(y.iter().zip(g)) {
                    *d = y * (g - dot);
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{max_relative_error, wave};
    use candle_core::{D, DType};

    fn plain(x: &Tensor, dim: usize) -> Result<Tensor> {
        let exp = x.exp()?;
        exp.broadcast_div(&exp.sum_keepdim(dim)?)
    }

    #[test]
    fn agrees_with_the_formula_over_every_dimension() -> Result<()> {
        let x = wave(&[3, 7, 5, BLOCK + 3], 4.0, 1.37, 0.2)?;
        for dim in 0..4 {
            let y = softmax(&x.to_dtype(DType::F32)?, dim)?.to_dtype(DType::F64)?;
            let error = (y - plain(&x, dim)?)?.abs()?.max_all()?;
            assert!(error.to_scalar::<f64>()? < 1e-6);
        }
        // Large values do not overflow, and views work.
        let x = (wave(&[3, 40], 4.0, 1.37, 0.2)? + 1e4)?.t()?;
        let y = softmax(&x, D::Minus1)?;
        let want = plain(&(x.contiguous()? - 1e4)?, 1)?;
        assert!((y - want)?.abs()?.max_all()?.to_scalar::<f64>()? < 1e-10);
        Ok(())
    }

    #[test]
    fn gradients_match_differences() -> Result<()> {
        let x = wave(&[2, 3, 4, 5], 2.0, 1.37, 0.2)?;
        for dim in 0..4 {
            let error = max_relative_error(std::slice::from_ref(&x), 120, |x| softmax(&x[0], dim))?;
            assert!(error < 1e-7, "{error}");
        }
        Ok(())
    }

    #[test]
    fn misuse_is_an_error_and_empty_tensors_pass() -> Result<()> {
        let x = wave(&[3, 4], 1.0, 1.0, 0.0)?;
        assert!(softmax(&x, 2).is_err());
        let empty = Tensor::zeros((0, 4), DType::F32, x.device())?;
        assert_eq!(softmax(&empty, 1)?.dims(), [0, 4]);
        Ok(())
    }
}
