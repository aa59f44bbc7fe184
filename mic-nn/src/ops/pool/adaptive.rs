//! Mean over as many windows as the output has pixels.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::mean::{Windows, mean};
use super::{planes_per_task, size_of};
use crate::ops::attach::attach;
use crate::ops::cast::in_single;
use crate::ops::cpu::{Elem, dispatch, fresh, on_gpu, storage, tensor, view};
use crate::ops::simd::vectorized;

/// Averages `x` (B, C, H, W) to (B, C, oh, ow), for any output size.
///
/// Output row `i` is the mean of the rows from `floor(i H / oh)` up to, not including,
/// `ceil((i + 1) H / oh)`, and columns likewise: PyTorch's `adaptive_avg_pool2d`. Windows overlap
/// where the sizes do not divide each other.
///
/// # Errors
/// When `x` is empty or not (B, C, H, W) of a floating-point dtype, or a side of `size` is zero.
pub fn adaptive_avg_pool2d(x: &Tensor, size: (usize, usize)) -> Result<Tensor> {
    const OP: &str = "adaptive_avg_pool2d";
    in_single!([x] => adaptive_avg_pool2d(x, size));
    let (h, w) = size_of(OP, x)?;
    if size.0 == 0 || size.1 == 0 {
        candle_core::bail!("{OP}: output size {size:?}, expected at least 1 pixel each way")
    }
    let x = x.contiguous()?;
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        use crate::cuda::PoolWindow;
        return match size {
            (1, 1) => crate::cuda::global_average_pool(OP, &x, &[1, 1]),
            _ => {
                let (rows, cols) = (
                    PoolWindow::covering(h, size.0),
                    PoolWindow::covering(w, size.1),
                );
                crate::cuda::average_pool(OP, &x, rows, cols)
            }
        };
    }
    dispatch!(OP, x.dtype(), T => {
        if size == (1, 1) {
            global::<T>(OP, &x, &[1, 1])
        } else {
            mean::<T>(OP, &x, Windows::covering(h, size.0), Windows::covering(w, size.1))
        }
    })
}

/// The mean of every plane of `x` (B, C, H, W), as (B, C).
///
/// # Errors
/// When `x` is empty or not (B, C, H, W) of a floating-point dtype.
pub fn global_avg_pool2d(x: &Tensor) -> Result<Tensor> {
    const OP: &str = "global_avg_pool2d";
    in_single!([x] => global_avg_pool2d(x));
    size_of(OP, x)?;
    let x = x.contiguous()?;
    on_gpu!(x => global_average_pool(OP, &x, &[]));
    dispatch!(OP, x.dtype(), T => global::<T>(OP, &x, &[]))
}

/// The mean of every plane; the result has (B, C) and then the dimensions `rest`, all 1.
fn global<T: Elem>(op: &'static str, x: &Tensor, rest: &[usize]) -> Result<Tensor> {
    let (batch, channels, h, w) = x.dims4()?;
    let pixels = h * w;
    let planes = planes_per_task(pixels);
    let input = view::<T>(op, x)?;
    let mut output = fresh::<T>(batch * channels);
    output
        .par_chunks_mut(planes)
        .zip(input.par_chunks(planes * pixels))
        .for_each(|(out, x)| {
            vectorized(
                #[inline(always)]
                || {
                    for (o, x) in out.iter_mut().zip(x.chunks_exact(pixels)) {
                        *o = T::of(sum(x) / pixels as f64);
                    }
                },
            );
        });
    drop(input);
    let shape = [&[batch, channels], rest].concat();
    let input = x.shape().clone();
    attach(op, [x], storage(output), shape, move |grad| {
        let grad = view::<T>(op, grad)?;
        let mut dx = fresh::<T>(input.elem_count());
        dx.par_chunks_mut(planes * pixels)
            .zip(grad.par_chunks(planes))
            .for_each(|(dx, grad)| {
                for (dx, &g) in dx.chunks_exact_mut(pixels).zip(grad) {
                    dx.fill(g / T::of(pixels as f64));
                }
            });
        Ok([Some(tensor(dx, &input))])
    })
}

/// The sum of a plane. A lane adds up to 512 elements in their own precision; small planes need
/// fewer lanes.
#[inline(always)]
fn sum<T: Elem>(x: &[T]) -> f64 {
    if x.len() < 512 {
        lanes::<T, 16>(x)
    } else {
        x.chunks(1 << 15).map(lanes::<T, 64>).sum()
    }
}

#[inline(always)]
fn lanes<T: Elem, const N: usize>(x: &[T]) -> f64 {
    let mut sums = [T::zero(); N];
    let (chunks, rest) = x.as_chunks::<N>();
    for x in chunks {
        for (s, &v) in sums.iter_mut().zip(x) {
            *s += v;
        }
    }
    let (mut total, mut half) = (T::zero(), N / 2);
    for &v in rest {
        total += v;
    }
    while half > 0 {
        for i in 0..half {
            sums[i] += sums[i + half];
        }
        half /= 2;
    }
    (total + sums[0]).to_f64()
}

#[cfg(test)]
mod tests {
    use super::super::reference::strided;
    use super::*;
    use crate::gradcheck::{max_relative_error, wave};
    use candle_core::{DType, Device};
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn plain(x: &Tensor, size: (usize, usize)) -> Result<Vec<f64>> {
        let (_, _, h, w) = x.dims4()?;
        let span = |i: usize, input: usize, output: usize| {
            let scale = input as f64 / output as f64;
            (i as f64 * scale + 1e-9) as usize..((i + 1) as f64 * scale - 1e-9).ceil() as usize
        };
        let mut out = Vec::new();
        for plane in x.flatten_all()?.to_vec1::<f64>()?.chunks(h * w) {
            for i in 0..size.0 * size.1 {
                let (rows, cols) = (span(i / size.1, h, size.0), span(i % size.1, w, size.1));
                let count = rows.len() * cols.len();
                let places = rows.flat_map(|y| cols.clone().map(move |x| y * w + x));
                out.push(places.map(|p| plane[p]).sum::<f64>() / count as f64);
            }
        }
        Ok(out)
    }

    #[test]
    fn matches_plain_means_on_random_sizes_and_views() -> Result<()> {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        for case in 0..60 {
            let mut side = || rng.random_range(1..11);
            let shape = [2, 3, side(), side()];
            let size = if case < 5 { (1, 1) } else { (side(), side()) };
            let x = wave(&shape, 1.0, 1.3, 0.2)?;
            let expected = plain(&x, size)?;
            for x in [x.clone(), strided(&x)?] {
                let y = adaptive_avg_pool2d(&x, size)?;
                assert_eq!(y.dims(), [2, 3, size.0, size.1]);
                for (y, e) in y.flatten_all()?.to_vec1::<f64>()?.iter().zip(&expected) {
                    assert!((y - e).abs() < 1e-14, "{shape:?} {size:?}: {y} {e}");
                }
            }
            let f = |x: &[Tensor]| adaptive_avg_pool2d(&x[0], size);
            let error = max_relative_error(&[strided(&x)?], 30, f)?;
            assert!(error < 1e-7, "{shape:?} {size:?}: {error}");
            let f = |x: &[Tensor]| global_avg_pool2d(&x[0]);
            assert!(max_relative_error(&[x], 30, f)? < 1e-7);
        }
        Ok(())
    }

    #[test]
    fn misuse_is_named() -> Result<()> {
        let message = |r: Result<Tensor>| r.err().map(|e| e.to_string()).unwrap_or_default();
        let x = Tensor::zeros((1, 2, 4, 4), DType::F32, &Device::Cpu)?;
        assert!(message(adaptive_avg_pool2d(&x, (0, 2))).contains("output size (0, 2)"));
        assert!(message(global_avg_pool2d(&x.squeeze(0)?)).contains("global_avg_pool2d: x is [2"));
        assert!(message(global_avg_pool2d(&x.narrow(1, 0, 0)?)).contains("is empty"));
        assert!(message(adaptive_avg_pool2d(&x.to_dtype(DType::U8)?, (2, 2))).contains("U8"));
        Ok(())
    }
}
