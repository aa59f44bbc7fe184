//! Linear maps of the last dimension.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::attach::attach;
use super::cast::in_single;
use super::cpu::{Elem, Mat, dispatch, gemm, on_gpu, storage, tensor, view};
use super::math::accumulate;
#[cfg(target_arch = "x86_64")]
use super::product;
use super::simd::vectorized;

/// Rows a task handles at most.
const ROWS: usize = 512;

/// `y = x W^T + b` over the last dimension.
///
/// `x` is (..., Cin), `w` (Cout, Cin), `bias` (Cout); the result is (..., Cout). Keeps `x` and `w`
/// for the backward pass.
///
/// # Errors
/// When the shapes or dtypes do not fit.
pub fn linear(x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    in_single!([x, w; bias] => linear(x, w, bias));
    let &[c_out, c_in] = w.dims() else {
        candle_core::bail!("linear: w is {:?}, expected (Cout, Cin)", w.dims())
    };
    if c_in == 0 {
        candle_core::bail!("linear: w ({c_out}, 0), expected at least one input channel")
    }
    if x.dims().last() != Some(&c_in) || w.dtype() != x.dtype() {
        candle_core::bail!(
            "linear: expected x (..., {c_in}) for a weight ({c_out}, {c_in}), got {:?} {:?} and a {:?} weight",
            x.dims(),
            x.dtype(),
            w.dtype()
        )
    }
    if let Some(bias) = bias
        && (bias.dims() != [c_out] || bias.dtype() != x.dtype())
    {
        candle_core::bail!(
            "linear: expected a bias ({c_out}) of {:?}, got {:?} {:?}",
            x.dtype(),
            bias.dims(),
            bias.dtype()
        )
    }
    let (x, w) = (x.contiguous()?, w.contiguous()?);
    let bias = bias.map(Tensor::contiguous).transpose()?;
    on_gpu!(x => linear(&x, &w, bias.as_ref()));
    dispatch!("linear", x.dtype(), T => linear_cpu::<T>(&x, &w, bias.as_ref()))
}

fn linear_cpu<T: Elem>(x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    const OP: &str = "linear";
    let (c_out, c_in) = w.dims2()?;
    let rows = x.elem_count() / c_in.max(1);
    let output = {
        let (x, w) = (view::<T>(OP, x)?, view::<T>(OP, w)?);
        let bias = bias.map(|b| view::<T>(OP, b)).transpose()?;
        let weight = Mat::new(&w, c_out, c_in).t();
        times(Mat::new(&x, rows, c_in), weight, bias.as_deref())
    };
    let mut shape = x.dims().to_vec();
    shape.pop();
    shape.push(c_out);
    let tracked = (
        x.track_op(),
        w.track_op(),
        bias.is_some_and(Tensor::track_op),
    );
    let (saved_x, saved_w) = (x.detach(), w.detach());
    let backward = move |grad: &Tensor| -> Result<[Option<Tensor>; 3]> {
        let g = view::<T>(OP, grad)?;
        let dx = if tracked.0 {
            let w = view::<T>(OP, &saved_w)?;
            let dx = times(Mat::new(&g, rows, c_out), Mat::new(&w, c_out, c_in), None);
            Some(tensor(dx, saved_x.shape()))
        } else {
            None
        };
        let (dw, db) = if tracked.1 || tracked.2 {
            let x = view::<T>(OP, &saved_x)?;
            let (dw, db) = weight_gradient(&x, &g, c_in, c_out, tracked.1, tracked.2);
            (
                dw.map(|dw| tensor(dw, (c_out, c_in))),
                db.map(|db| tensor(db, c_out)),
            )
        } else {
            (None, None)
        };
        Ok([dx, dw, db])
    };
    let output = storage(output);
    match bias {
        Some(bias) => attach(OP, [x, w, bias], output, shape, move |grad| backward(grad)),
        None => attach(OP, [x, w], output, shape, move |grad| {
            let [dx, dw, _] = backward(grad)?;
            Ok([dx, dw])
        }),
    }
}

/// `a b + bias`, in blocks of rows whose bias is added while they are in the cache.
fn times<T: Elem>(a: Mat<'_, T>, b: Mat<'_, T>, bias: Option<&[T]>) -> Vec<T> {
    if let Some(out) = wide_product(a, b, bias) {
        return out;
    }
    let (rows, inner, cols) = (a.rows, a.cols, b.cols);
    let mut out = vec![T::zero(); rows * cols];
    if out.is_empty() {
        return out;
    }
    let finish = |out: &mut [T]| {
        if let Some(bias) = bias {
            vectorized(
                #[inline(always)]
                || {
                    for row in out.chunks_exact_mut(cols) {
                        accumulate(row, bias);
                    }
                },
            );
        }
    };
    if rows < 2 * ROWS {
        gemm(&mut out, cols, T::zero(), T::one(), a, b, true);
        finish(&mut out);
        return out;
    }
    out.par_chunks_mut(ROWS * cols)
        .enumerate()
        .for_each(|(block, out)| {
            let count = out.len() / cols;
            let a = Mat::new(
                &a.data[block * ROWS * inner..][..count * inner],
                count,
                inner,
            );
            gemm(out, cols, T::zero(), T::one(), a, b, false);
            finish(out);
        });
    out
}

/// [`times`] in single precision, where the processor has AVX-512.
fn wide_product<T: Elem>(a: Mat<'_, T>, b: Mat<'_, T>, bias: Option<&[T]>) -> Option<Vec<T>> {
    #[cfg(target_arch = "x86_64")]
    if product::available::<T>() {
        let bias = match bias {
            Some(bias) => Some(product::single(bias)?),
            None => None,
        };
        let (a, b) = (product::single_mat(a)?, product::single_mat(b)?);
        return product::generic(product::rows(a, b, bias));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (a, b, bias);
    None
}

/// The kernel's gradient in single precision, where the processor has AVX-512.
fn wide_gradient<T: Elem>(x: &[T], g: &[T], c_in: usize, c_out: usize) -> Option<(Vec<T>, Vec<T>)> {
    #[cfg(target_arch = "x86_64")]
    if product::available::<T>() {
        let (dw, db) = product::cross(product::single(x)?, product::single(g)?, c_in, c_out);
        return Some((product::generic(dw)?, product::generic(db)?));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (x, g, c_in, c_out);
    None
}

/// `g^T x` and the sum of `g`'s rows, over blocks of rows that are added up in order.
fn weight_gradient<T: Elem>(
    x: &[T],
    g: &[T],
    c_in: usize,
    c_out: usize,
    weight: bool,
    bias: bool,
) -> (Option<Vec<T>>, Option<Vec<T>>) {
    if weight && let Some((dw, db)) = wide_gradient(x, g, c_in, c_out) {
        return (Some(dw), bias.then_some(db));
    }
    let rows = g.len() / c_out.max(1);
    // Every block costs a partial result: no more of them than keep that small beside the product.
    let block = (rows.div_ceil(16)).clamp(ROWS, 8192);
    let part = |start: usize, parallel: bool| {
        let count = block.min(rows - start);
        let (x, g) = (
            &x[start * c_in..][..count * c_in],
            &g[start * c_out..][..count * c_out],
        );
        let dw = weight.then(|| {
            let mut dw = vec![T::zero(); c_out * c_in];
            let g = Mat::new(g, count, c_out).t();
            gemm(
                &mut dw,
                c_in,
                T::zero(),
                T::one(),
                g,
                Mat::new(x, count, c_in),
                parallel,
            );
            dw
        });
        let db = bias.then(|| row_sum(g, c_out));
        (dw, db)
    };
    let blocks = rows.div_ceil(block);
    if blocks == 0 {
        let zeros = |n: usize| vec![T::zero(); n];
        return (
            weight.then(|| zeros(c_out * c_in)),
            bias.then(|| zeros(c_out)),
        );
    }
    if blocks == 1 {
        return part(0, true);
    }
    let parts: Vec<_> = (0..blocks)
        .into_par_iter()
        .map(|b| part(b * block, false))
        .collect();
    let add = |total: Option<Vec<T>>, part: Option<Vec<T>>| match (total, part) {
        (Some(mut total), Some(part)) => {
            vectorized(
                #[inline(always)]
                || accumulate(&mut total, &part),
            );
            Some(total)
        }
        (None, part) => part,
        (total, None) => total,
    };
    parts.into_iter().fold((None, None), |(dw, db), part| {
        (add(dw, part.0), add(db, part.1))
    })
}

/// The sum of the rows, in blocks so that single precision does not lose the small ones.
fn row_sum<T: Elem>(rows: &[T], cols: usize) -> Vec<T> {
    let mut total = vec![T::zero(); cols];
    let mut partial = vec![T::zero(); cols];
    for block in rows.chunks(64 * cols) {
        vectorized(
            #[inline(always)]
            || {
                partial.fill(T::zero());
                for row in block.chunks_exact(cols) {
                    accumulate(&mut partial, row);
                }
                accumulate(&mut total, &partial);
            },
        );
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autograd::backward;
    use crate::gradcheck::{max_relative_error, wave};
    use candle_core::{DType, Var};

    #[test]
    fn gradients_match_differences() -> Result<()> {
        let x = wave(&[2, 3, 5], 1.0, 1.3, 0.2)?;
        let (w, b) = (wave(&[4, 5], 1.0, 0.7, 1.0)?, wave(&[4], 1.0, 2.0, 0.0)?);
        let all = [x, w, b];
        let error = max_relative_error(&all, 60, |t| linear(&t[0], &t[1], Some(&t[2])))?;
        assert!(error < 1e-7, "{error}");
        let error = max_relative_error(&all[..2], 60, |t| linear(&t[0], &t[1], None))?;
        assert!(error < 1e-7, "{error}");
        Ok(())
    }

    #[test]
    fn blocks_of_rows_agree_with_a_plain_product() -> Result<()> {
        let rows = 2 * ROWS + 37;
        let x = wave(&[rows, 6], 1.0, 1.3, 0.2)?;
        let (w, b) = (wave(&[7, 6], 1.0, 0.7, 1.0)?, wave(&[7], 1.0, 2.0, 0.0)?);
        let single = |t: &Tensor| Var::from_tensor(&t.to_dtype(DType::F32)?);
        let vars = [single(&x)?, single(&w)?, single(&b)?];
        let y = linear(&vars[0], &vars[1], Some(&vars[2]))?;
        let want = x.matmul(&w.t()?)?.broadcast_add(&b)?;
        let error = |a: &Tensor, b: &Tensor| -> Result<f64> {
            (a.to_dtype(DType::F64)? - b)?.abs()?.max_all()?.to_scalar()
        };
        assert!(error(&y, &want)? < 1e-5);
        let cotangent = wave(&[rows, 7], 1.0, 0.31, 0.5)?;
        let loss = (y * cotangent.to_dtype(DType::F32)?)?.sum_all()?;
        let grads = backward(&loss)?;
        let grad = |i: usize| grads.get(&vars[i]).cloned().unwrap();
        assert!(error(&grad(0), &cotangent.matmul(&w)?)? < 1e-5);
        assert!(error(&grad(1), &cotangent.t()?.matmul(&x)?)? < 1e-3);
        assert!(error(&grad(2), &cotangent.sum(0)?)? < 1e-4);
        Ok(())
    }

    #[test]
    fn views_work_and_misuse_is_named() -> Result<()> {
        let (x, w) = (wave(&[5, 3], 1.0, 1.3, 0.2)?, wave(&[5, 4], 1.0, 0.7, 1.0)?);
        let y = linear(&x.t()?, &w.t()?, None)?;
        let want = x.t()?.contiguous()?.matmul(&w)?;
        assert!((y - want)?.abs()?.max_all()?.to_scalar::<f64>()? < 1e-12);
        let message = |r: Result<Tensor>| r.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(message(linear(&x, &w, None)).contains("expected x (..., 4)"));
        assert!(message(linear(&x.t()?, &w.t()?, Some(&x))).contains("expected a bias (4)"));
        let empty = Tensor::zeros((0, 5), DType::F64, x.device())?;
        assert_eq!(linear(&empty, &w.t()?, None)?.dims(), [0, 4]);
        Ok(())
    }
}
