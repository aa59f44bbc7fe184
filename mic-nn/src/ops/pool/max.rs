//! Maximum over windows.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::axis::{Axis, Phases};
use super::{Pool2dOptions, planes_per_task, size_of};
use crate::ops::attach::attach;
use crate::ops::cast::in_single;
use crate::ops::cpu::{Elem, dispatch, fresh, on_gpu, storage, tensor, view};
use crate::ops::simd::vectorized;

const OP: &str = "max_pool2d";

/// Which element of its window was largest, kept for the backward pass.
trait Choice: Copy + Default + Send + Sync + 'static {
    fn of(element: u32) -> Self;
    fn get(self) -> usize;
}

impl Choice for u8 {
    #[inline(always)]
    fn of(element: u32) -> Self {
        element as Self
    }
    #[inline(always)]
    fn get(self) -> usize {
        self.into()
    }
}

impl Choice for u32 {
    #[inline(always)]
    fn of(element: u32) -> Self {
        element
    }
    #[inline(always)]
    fn get(self) -> usize {
        self as usize
    }
}

/// The largest value of every window of `x` (B, C, H, W), as (B, C, H', W') with
/// `H' = (H + 2 padding - kernel) / stride + 1` rounded down.
///
/// NaN counts as largest. The gradient goes to the first of equal values, as in PyTorch.
///
/// # Errors
/// When `x` is empty or not (B, C, H, W) of a floating-point dtype, a kernel or stride is zero,
/// the padding is more than half the kernel, or no window fits.
pub fn max_pool2d(x: &Tensor, options: &Pool2dOptions) -> Result<Tensor> {
    in_single!([x] => max_pool2d(x, options));
    let (rows, cols) = Axis::pair(OP, size_of(OP, x)?, options)?;
    let Some(elements) = rows.kernel.checked_mul(cols.kernel) else {
        candle_core::bail!("{OP}: kernel {:?} is too large", options.kernel)
    };
    if u32::try_from(elements).is_err() {
        candle_core::bail!("{OP}: kernel {:?} is too large", options.kernel)
    }
    let x = x.contiguous()?;
    on_gpu!(x => max_pool(&x, rows.on_gpu(false), cols.on_gpu(false)));
    dispatch!(OP, x.dtype(), T => match elements {
        ..=256 => pool_cpu::<T, u8>(&x, rows, cols),
        _ => pool_cpu::<T, u32>(&x, rows, cols),
    })
}

fn pool_cpu<T: Elem, I: Choice>(x: &Tensor, rows: Axis, cols: Axis) -> Result<Tensor> {
    let (batch, channels, h, w) = x.dims4()?;
    let (pixels, outputs) = (h * w, rows.outputs * cols.outputs);
    let shape = (batch, channels, rows.outputs, cols.outputs);
    let planes = planes_per_task(pixels);
    let input = view::<T>(OP, x)?;
    let mut output = fresh::<T>(batch * channels * outputs);
    let tasks = output
        .par_chunks_mut(planes * outputs)
        .zip(input.par_chunks(planes * pixels));
    if !x.track_op() {
        tasks.for_each(|(out, x)| {
            vectorized(
                #[inline(always)]
                || largest(x, &rows, &cols, out),
            );
        });
        return Ok(tensor(output, shape));
    }
    let mut chosen = vec![I::default(); batch * channels * outputs];
    tasks
        .zip(chosen.par_chunks_mut(planes * outputs))
        .for_each(|((out, x), chosen)| {
            vectorized(
                #[inline(always)]
                || largest_and_place(x, &rows, &cols, out, chosen),
            );
        });
    drop(input);
    let input = x.shape().clone();
    attach(OP, [x], storage(output), shape, move |grad| {
        let grad = view::<T>(OP, grad)?;
        let mut dx = fresh::<T>(input.elem_count());
        dx.par_chunks_mut(pixels)
            .zip(grad.par_chunks(outputs).zip(chosen.par_chunks(outputs)))
            .for_each(|(dx, (grad, chosen))| spread(grad, chosen, &rows, &cols, dx));
        Ok([Some(tensor(dx, &input))])
    })
}

/// `v` replaces `best` as the largest: NaN counts as largest, and of equals the first stays.
#[inline(always)]
fn beats<T: Elem>(v: T, best: T) -> bool {
    v > best || v.is_nan()
}

/// Maxima of whole planes.
#[inline(always)]
fn largest<T: Elem>(x: &[T], rows: &Axis, cols: &Axis, out: &mut [T]) {
    let (w, ow) = (cols.size, cols.outputs);
    let mut phases = Phases::new(*cols, T::neg_infinity());
    let mut highest = vec![T::zero(); w];
    let planes = x.chunks_exact(rows.size * w);
    for (x, out) in planes.zip(out.chunks_exact_mut(rows.outputs * ow)) {
        for (oy, out) in out.chunks_exact_mut(ow).enumerate() {
            let window = rows.window(oy);
            highest.copy_from_slice(&x[window.start * w..][..w]);
            for y in window.skip(1) {
                for (h, &v) in highest.iter_mut().zip(&x[y * w..][..w]) {
                    *h = if beats(v, *h) { v } else { *h };
                }
            }
            phases.load(&highest);
            out.copy_from_slice(phases.tap(0));
            for t in 1..cols.kernel {
                for (o, &v) in out.iter_mut().zip(phases.tap(t)) {
                    *o = if beats(v, *o) { v } else { *o };
                }
            }
        }
    }
}

/// Maxima of the windows of one input row, with the column of each.
struct RowMaxima<T> {
    values: Vec<T>,
    columns: Vec<u32>,
}

/// Maxima of whole planes and their places.
///
/// Every input row is searched horizontally once; the rows of a window are then compared. Taking
/// the first of equals in both directions gives the first in row-major order.
#[inline(always)]
fn largest_and_place<T: Elem, I: Choice>(
    x: &[T],
    rows: &Axis,
    cols: &Axis,
    out: &mut [T],
    chosen: &mut [I],
) {
    let (w, ow) = (cols.size, cols.outputs);
    let mut phases = Phases::new(*cols, T::neg_infinity());
    // The first element of every window that lies inside: it stays where all are minus infinity.
    let first: Vec<u32> = (0..ow)
        .map(|ox| cols.padding.saturating_sub(ox * cols.stride) as u32)
        .collect();
    // Row `y` is kept at `y % kernel`: a window never holds two rows of one place.
    let kept = rows.kernel.min(rows.size);
    let mut maxima: Vec<RowMaxima<T>> = (0..kept)
        .map(|_| RowMaxima {
            values: vec![T::zero(); ow],
            columns: vec![0; ow],
        })
        .collect();
    let mut places = vec![0u32; ow];
    let planes = x.chunks_exact(rows.size * w);
    let outs = out.chunks_exact_mut(rows.outputs * ow);
    for ((x, out), chosen) in planes
        .zip(outs)
        .zip(chosen.chunks_exact_mut(rows.outputs * ow))
    {
        let mut next = 0;
        let outs = out.chunks_exact_mut(ow).zip(chosen.chunks_exact_mut(ow));
        for (oy, (out, chosen)) in outs.enumerate() {
            let window = rows.window(oy);
            for y in next.max(window.start)..window.end {
                phases.load(&x[y * w..][..w]);
                search_row(&phases, cols.kernel, &first, &mut maxima[y % kept]);
            }
            next = window.end;
            let top = window.start + rows.padding - oy * rows.stride;
            for (n, y) in window.enumerate() {
                let row = &maxima[y % kept];
                let before = ((top + n) * cols.kernel) as u32;
                if n == 0 {
                    out.copy_from_slice(&row.values);
                    for (p, &column) in places.iter_mut().zip(&row.columns) {
                        *p = before + column;
                    }
                } else {
                    compare_row(row, before, out, &mut places);
                }
            }
            for (chosen, &place) in chosen.iter_mut().zip(&places) {
                *chosen = I::of(place);
            }
        }
    }
}

/// Finds the largest element of every window of a row.
#[inline(always)]
fn search_row<T: Elem>(phases: &Phases<T>, kernel: usize, first: &[u32], row: &mut RowMaxima<T>) {
    let RowMaxima { values, columns } = row;
    let taps = |t| phases.tap(t);
    if kernel == 3 {
        let (a, b, c) = (taps(0), taps(1), taps(2));
        let out = values.iter_mut().zip(columns.iter_mut());
        for ((((v, i), &first), &a), (&b, &c)) in out.zip(first).zip(a).zip(b.iter().zip(c)) {
            let (mut best, mut at) = (a, first);
            (best, at) = if beats(b, best) { (b, 1) } else { (best, at) };
            (best, at) = if beats(c, best) { (c, 2) } else { (best, at) };
            (*v, *i) = (best, at);
        }
        return;
    }
    values.copy_from_slice(taps(0));
    columns.copy_from_slice(first);
    for t in 1..kernel {
        let out = values.iter_mut().zip(columns.iter_mut());
        for ((best, at), &v) in out.zip(taps(t)) {
            let wins = beats(v, *best);
            *best = if wins { v } else { *best };
            *at = if wins { t as u32 } else { *at };
        }
    }
}

/// Compares one more row of the windows; `before` is the number of elements in the rows above.
#[inline(always)]
fn compare_row<T: Elem>(row: &RowMaxima<T>, before: u32, out: &mut [T], places: &mut [u32]) {
    let row = row.values.iter().zip(&row.columns);
    for ((best, at), (&v, &column)) in out.iter_mut().zip(places).zip(row) {
        let wins = beats(v, *best);
        *best = if wins { v } else { *best };
        *at = if wins { before + column } else { *at };
    }
}

/// Adds the gradient of a plane's windows to the elements that were largest.
fn spread<T: Elem, I: Choice>(grad: &[T], chosen: &[I], rows: &Axis, cols: &Axis, dx: &mut [T]) {
    let w = cols.size;
    dx.fill(T::zero());
    // Element `n` of a window lies this far behind the window's corner, which may lie in the
    // padding: the sums below are only in range as a whole.
    let corner = rows.padding * w + cols.padding;
    let offsets: Vec<usize> = (0..rows.kernel * cols.kernel)
        .map(|n| (n / cols.kernel * w + n % cols.kernel).wrapping_sub(corner))
        .collect();
    let lines = grad
        .chunks_exact(cols.outputs)
        .zip(chosen.chunks_exact(cols.outputs));
    for (oy, (grad, chosen)) in lines.enumerate() {
        let mut at = oy * rows.stride * w;
        for (&g, &element) in grad.iter().zip(chosen) {
            dx[at.wrapping_add(offsets[element.get()])] += g;
            at += cols.stride;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reference::{options, strided};
    use super::*;
    use crate::autograd::backward;
    use crate::gradcheck::{max_relative_error, wave};
    use candle_core::{DType, Device, Var};
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn square(kernel: usize, stride: usize, padding: usize) -> Pool2dOptions {
        Pool2dOptions {
            kernel: (kernel, kernel),
            stride: (stride, stride),
            padding: (padding, padding),
        }
    }

    /// Pads with minus infinity and takes the maximum of every window.
    fn plain(x: &Tensor, o: &Pool2dOptions) -> Result<Tensor> {
        let (b, c, h, w) = x.dims4()?;
        let data = x.flatten_all()?.to_vec1::<f64>()?;
        let (ph, pw) = (h + 2 * o.padding.0, w + 2 * o.padding.1);
        let mut out = Vec::new();
        let (mut oh, mut ow) = (0, 0);
        for plane in data.chunks(h * w) {
            let mut padded = vec![f64::NEG_INFINITY; ph * pw];
            for (i, v) in plane.iter().enumerate() {
                padded[(i / w + o.padding.0) * pw + i % w + o.padding.1] = *v;
            }
            oh = 0;
            for top in (0..=ph - o.kernel.0).step_by(o.stride.0) {
                oh += 1;
                ow = 0;
                for left in (0..=pw - o.kernel.1).step_by(o.stride.1) {
                    ow += 1;
                    let values = (0..o.kernel.0 * o.kernel.1)
                        .map(|k| padded[(top + k / o.kernel.1) * pw + left + k % o.kernel.1]);
                    out.push(values.fold(f64::NEG_INFINITY, f64::max));
                }
            }
        }
        Tensor::from_vec(out, (b, c, oh, ow), &Device::Cpu)
    }

    #[test]
    fn matches_a_plain_maximum_on_random_shapes_and_views() -> Result<()> {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for _ in 0..60 {
            let options = options(&mut rng);
            let shape = [2, 3, rng.random_range(4..10), rng.random_range(4..10)];
            let x = (wave(&shape, 1.0, 1.3, 0.2)? - 2.0)?;
            let expected = plain(&x, &options)?.flatten_all()?.to_vec1::<f64>()?;
            let y = max_pool2d(&x, &options)?;
            assert_eq!(y.dims(), plain(&x, &options)?.dims());
            assert_eq!(y.flatten_all()?.to_vec1::<f64>()?, expected);
            // A constant and a variable take different ways.
            let x = Var::from_tensor(&x)?;
            let y = max_pool2d(&strided(&x)?, &options)?;
            assert_eq!(y.flatten_all()?.to_vec1::<f64>()?, expected);
            let f = |x: &[Tensor]| max_pool2d(&x[0], &options);
            let error = max_relative_error(&[x.as_detached_tensor()], 30, f)?;
            assert!(error < 1e-6, "{options:?}: {error}");
        }
        Ok(())
    }

    #[test]
    fn gradient_matches_differences() -> Result<()> {
        for options in [
            square(3, 2, 1),
            square(2, 2, 0),
            square(3, 1, 1),
            square(17, 3, 8),
        ] {
            let x = wave(&[2, 2, 17, 18], 1.0, 1.3, 0.2)?;
            let error = max_relative_error(&[x], 168, |x| max_pool2d(&x[0], &options))?;
            assert!(error < 1e-6, "{options:?}: {error}");
        }
        Ok(())
    }

    #[test]
    fn ties_go_to_the_first_and_nan_wins() -> Result<()> {
        let x = Var::new(&[[[[1f32, 1.], [1., 1.]]]], &Device::Cpu)?;
        let grads = backward(&max_pool2d(&x, &square(2, 1, 0))?)?;
        let grad = grads.get(&x).unwrap().flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(grad, [1., 0., 0., 0.]);
        for place in 0..4 {
            let mut values = vec![3f32, 1., 2., 5.];
            values[place] = f32::NAN;
            let x = Var::from_tensor(&Tensor::from_vec(values, (1, 1, 2, 2), &Device::Cpu)?)?;
            for x in [x.as_tensor().clone(), x.as_detached_tensor()] {
                let y = max_pool2d(&x, &square(2, 1, 0))?.flatten_all()?;
                assert!(y.to_vec1::<f32>()?[0].is_nan());
            }
        }
        // Minus infinity everywhere: still an element inside, not one of the padding.
        let x = Var::from_tensor(&Tensor::full(
            f32::NEG_INFINITY,
            (1, 1, 2, 2),
            &Device::Cpu,
        )?)?;
        let grads = backward(&max_pool2d(&x, &square(3, 1, 1))?)?;
        let grad = grads.get(&x).unwrap().flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(grad, [4., 0., 0., 0.]);
        Ok(())
    }

    #[test]
    fn errors_are_clear() -> Result<()> {
        let x = Tensor::zeros((1, 1, 4, 4), DType::F32, &Device::Cpu)?;
        for (options, expected) in [
            (square(0, 1, 0), "kernel 0"),
            (square(2, 0, 0), "stride 0"),
            (square(3, 1, 2), "at most half of kernel 3"),
            (square(7, 1, 1), "holds no window of kernel 7"),
        ] {
            let message = max_pool2d(&x, &options).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        let message = max_pool2d(&x.squeeze(0)?, &square(2, 2, 0));
        assert!(message.unwrap_err().to_string().contains("(B, C, H, W)"));
        let message = max_pool2d(&x.to_dtype(DType::U8)?, &square(2, 2, 0));
        assert!(message.unwrap_err().to_string().contains("U8"));
        let empty = Tensor::zeros((0, 1, 4, 4), DType::F32, &Device::Cpu)?;
        let message = max_pool2d(&empty, &square(2, 2, 0));
        assert!(message.unwrap_err().to_string().contains("is empty"));
        Ok(())
    }
}
