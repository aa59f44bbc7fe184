//! Maximum over windows of (B, C, H, W) images.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::attach::attach;
use super::cpu::{Elem, dispatch, storage, tensor, view};

/// Windows of [`max_pool2d`], (height, width) each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool2dOptions {
    /// Size of a window.
    pub kernel: (usize, usize),
    /// Step between windows.
    pub stride: (usize, usize),
    /// Rows and columns of minus infinity added on every side, at most half the kernel.
    pub padding: (usize, usize),
}

/// One direction of the windows.
#[derive(Clone, Copy)]
struct Axis {
    size: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
}

impl Axis {
    fn new(name: &str, size: usize, kernel: usize, stride: usize, padding: usize) -> Result<Self> {
        const OP: &str = "max_pool2d";
        if kernel == 0 || stride == 0 {
            candle_core::bail!(
                "{OP}: {name} has kernel {kernel} and stride {stride}, expected at least 1 each"
            )
        }
        if padding > kernel / 2 {
            candle_core::bail!(
                "{OP}: {name} has padding {padding}, expected at most half of kernel {kernel}"
            )
        }
        if size == 0 || size + 2 * padding < kernel {
            candle_core::bail!(
                "{OP}: {name} {size} with padding {padding} on both sides holds no window of \
                 kernel {kernel}"
            )
        }
        Ok(Self {
            size,
            outputs: (size + 2 * padding - kernel) / stride + 1,
            kernel,
            stride,
            padding,
        })
    }

    /// The part of a window that lies inside; never empty, as padding is at most half a kernel.
    fn window(&self, output: usize) -> std::ops::Range<usize> {
        let start = output * self.stride;
        let end = (start + self.kernel - self.padding).min(self.size);
        start.saturating_sub(self.padding)..end
    }
}

/// The largest value of every window of `x` (B, C, H, W), as (B, C, H', W') with
/// `H' = (H + 2 padding - kernel) / stride + 1` rounded down.
///
/// NaN counts as largest. The gradient goes to the first of equal values, as in PyTorch.
///
/// # Errors
/// When `x` is empty or not (B, C, H, W) of F32 or F64, a kernel or stride is zero, the padding is
/// more than half the kernel, or no window fits.
pub fn max_pool2d(x: &Tensor, options: &Pool2dOptions) -> Result<Tensor> {
    let &[batch, channels, h, w] = x.dims() else {
        candle_core::bail!("max_pool2d: x is {:?}, expected (B, C, H, W)", x.dims())
    };
    let Pool2dOptions {
        kernel,
        stride,
        padding,
    } = *options;
    let rows = Axis::new("height", h, kernel.0, stride.0, padding.0)?;
    let cols = Axis::new("width", w, kernel.1, stride.1, padding.1)?;
    if batch == 0 || channels == 0 {
        candle_core::bail!("max_pool2d: x {:?} is empty", x.dims())
    }
    if u32::try_from(h * w).is_err() {
        candle_core::bail!("max_pool2d: x {:?} has more than 2^32 pixels", x.dims())
    }
    let x = x.contiguous()?;
    dispatch!("max_pool2d", x.dtype(), T => pool_cpu::<T>(&x, rows, cols))
}

fn pool_cpu<T: Elem>(x: &Tensor, rows: Axis, cols: Axis) -> Result<Tensor> {
    let (batch, channels, h, w) = x.dims4()?;
    let (pixels, outputs) = (h * w, rows.outputs * cols.outputs);
    let mut output = vec![T::zero(); batch * channels * outputs];
    let mut chosen = vec![0u32; output.len()];
    {
        let input = view::<T>("max_pool2d", x)?;
        output
            .par_chunks_mut(outputs)
            .zip(chosen.par_chunks_mut(outputs))
            .zip(input.par_chunks(pixels))
            .for_each(|((out, chosen), x)| {
                let outs = out.iter_mut().zip(chosen);
                for (n, (out, chosen)) in outs.enumerate() {
                    let (ys, xs) = (rows.window(n / cols.outputs), cols.window(n % cols.outputs));
                    let mut best = ys.start * w + xs.start;
                    for row in ys {
                        for i in row * w + xs.start..row * w + xs.end {
                            if x[i] > x[best] || x[i].is_nan() {
                                best = i;
                            }
                        }
                    }
                    *out = x[best];
                    *chosen = best as u32;
                }
            });
    }
    let shape = x.shape().clone();
    attach(
        "max_pool2d",
        [x],
        storage(output),
        (batch, channels, rows.outputs, cols.outputs),
        move |grad| {
            let grad = view::<T>("max_pool2d", grad)?;
            let mut dx = vec![T::zero(); shape.elem_count()];
            dx.par_chunks_mut(pixels)
                .zip(grad.par_chunks(outputs).zip(chosen.par_chunks(outputs)))
                .for_each(|(dx, (grad, chosen))| {
                    for (g, &i) in grad.iter().zip(chosen) {
                        dx[i as usize] += *g;
                    }
                });
            Ok([Some(tensor(dx, &shape))])
        },
    )
}

#[cfg(test)]
mod tests {
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
            let kernel = (rng.random_range(1..5), rng.random_range(1..5));
            let options = Pool2dOptions {
                kernel,
                stride: (rng.random_range(1..4), rng.random_range(1..4)),
                padding: (
                    rng.random_range(0..=kernel.0 / 2),
                    rng.random_range(0..=kernel.1 / 2),
                ),
            };
            let shape = [2, 3, rng.random_range(4..10), rng.random_range(4..10)];
            let x = (wave(&shape, 1.0, 1.3, 0.2)? - 2.0)?;
            let expected = plain(&x, &options)?.flatten_all()?.to_vec1::<f64>()?;
            let y = max_pool2d(&x, &options)?;
            assert_eq!(y.dims(), plain(&x, &options)?.dims());
            assert_eq!(y.flatten_all()?.to_vec1::<f64>()?, expected);
            let strided = x.permute((0, 2, 3, 1))?.contiguous()?;
            let y = max_pool2d(&strided.permute((0, 3, 1, 2))?, &options)?;
            assert_eq!(y.flatten_all()?.to_vec1::<f64>()?, expected);
        }
        Ok(())
    }

    #[test]
    fn gradient_matches_differences() -> Result<()> {
        for options in [square(3, 2, 1), square(2, 2, 0), square(3, 1, 1)] {
            let x = wave(&[2, 2, 7, 6], 1.0, 1.3, 0.2)?;
            let error = max_relative_error(&[x], 168, |x| max_pool2d(&x[0], &options))?;
            assert!(error < 1e-6, "{options:?}: {error}");
        }
        Ok(())
    }

    #[test]
    fn ties_go_to_the_first_and_nan_wins() -> Result<()> {
        let x = Var::new(&[[[[1f32, 1.], [1., 1.]]]], &Device::Cpu)?;
        let grads = backward(&max_pool2d(&x, &square(2, 1, 0))?.sum_all()?)?;
        let grad = grads.get(&x).unwrap().flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(grad, [1., 0., 0., 0.]);
        for place in 0..4 {
            let mut values = vec![3f32, 1., 2., 5.];
            values[place] = f32::NAN;
            let x = Tensor::from_vec(values, (1, 1, 2, 2), &Device::Cpu)?;
            let y = max_pool2d(&x, &square(2, 1, 0))?.flatten_all()?;
            assert!(y.to_vec1::<f32>()?[0].is_nan());
        }
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
