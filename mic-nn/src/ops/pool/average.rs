//! Mean over windows of one size.

use candle_core::{Result, Tensor};

use super::axis::Axis;
use super::mean::{Windows, mean};
use super::{Pool2dOptions, size_of};
use crate::ops::cast::in_single;
use crate::ops::cpu::{dispatch, on_gpu};

/// The mean of every window of `x` (B, C, H, W), as (B, C, H', W') with
/// `H' = (H + 2 padding - kernel) / stride + 1` rounded down (PyTorch's `ceil_mode=false`).
///
/// Windows at the border reach into the padding, which is zero. `count_include_pad` divides their
/// sum by the whole size of the window, PyTorch's default; otherwise it is divided by the number
/// of elements inside.
///
/// # Errors
/// When `x` is empty or not (B, C, H, W) of a floating-point dtype, a kernel or stride is zero,
/// the padding is more than half the kernel, or no window fits.
pub fn avg_pool2d(x: &Tensor, options: &Pool2dOptions, count_include_pad: bool) -> Result<Tensor> {
    const OP: &str = "avg_pool2d";
    in_single!([x] => avg_pool2d(x, options, count_include_pad));
    let (rows, cols) = Axis::pair(OP, size_of(OP, x)?, options)?;
    let x = x.contiguous()?;
    on_gpu!(x => average_pool(OP, &x, rows.on_gpu(count_include_pad), cols.on_gpu(count_include_pad)));
    let windows = |axis| Windows::regular(axis, count_include_pad);
    dispatch!(OP, x.dtype(), T => mean::<T>(OP, &x, windows(rows), windows(cols)))
}

#[cfg(test)]
mod tests {
    use super::super::reference::{options, strided};
    use super::*;
    use crate::gradcheck::{max_relative_error, wave};
    use candle_core::{DType, Device};
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Sums of windows of a padded copy, and how many elements of each lie inside.
    fn plain(x: &Tensor, o: &Pool2dOptions, include: bool) -> Result<Vec<f64>> {
        let (_, _, h, w) = x.dims4()?;
        let inside = |y: usize, x: usize| {
            (o.padding.0..h + o.padding.0).contains(&y)
                && (o.padding.1..w + o.padding.1).contains(&x)
        };
        let mut out = Vec::new();
        for plane in x.flatten_all()?.to_vec1::<f64>()?.chunks(h * w) {
            for top in (0..=h + 2 * o.padding.0 - o.kernel.0).step_by(o.stride.0) {
                for left in (0..=w + 2 * o.padding.1 - o.kernel.1).step_by(o.stride.1) {
                    let (mut sum, mut count) = (0.0, 0);
                    for y in top..top + o.kernel.0 {
                        for x in left..left + o.kernel.1 {
                            if inside(y, x) {
                                sum += plane[(y - o.padding.0) * w + x - o.padding.1];
                                count += 1;
                            }
                        }
                    }
                    let whole = o.kernel.0 * o.kernel.1;
                    out.push(sum / f64::from(if include { whole as i32 } else { count }));
                }
            }
        }
        Ok(out)
    }

    #[test]
    fn matches_plain_means_on_random_shapes_and_views() -> Result<()> {
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        for case in 0..80 {
            let options = options(&mut rng);
            let shape = [2, 3, rng.random_range(4..12), rng.random_range(4..12)];
            let x = wave(&shape, 1.0, 1.3, 0.2)?;
            let expected = plain(&x, &options, case % 2 == 0)?;
            for x in [x.clone(), strided(&x)?] {
                let y = avg_pool2d(&x, &options, case % 2 == 0)?.flatten_all()?;
                let y = y.to_vec1::<f64>()?;
                assert_eq!(y.len(), expected.len());
                for (y, e) in y.iter().zip(&expected) {
                    assert!((y - e).abs() < 1e-14, "{options:?}: {y} {e}");
                }
            }
            let f = |x: &[Tensor]| avg_pool2d(&x[0], &options, case % 2 == 0);
            let error = max_relative_error(&[strided(&x)?], 30, f)?;
            assert!(error < 1e-7, "{options:?}: {error}");
        }
        Ok(())
    }

    #[test]
    fn errors_are_clear() -> Result<()> {
        let x = Tensor::zeros((1, 1, 4, 4), DType::F32, &Device::Cpu)?;
        let square = |kernel, stride, padding| Pool2dOptions {
            kernel: (kernel, kernel),
            stride: (stride, stride),
            padding: (padding, padding),
        };
        let message = |x: &Tensor, options| {
            let result = avg_pool2d(x, &options, true);
            result.err().map(|e| e.to_string()).unwrap_or_default()
        };
        for (options, expected) in [
            (square(0, 1, 0), "avg_pool2d: height has kernel 0"),
            (square(2, 0, 0), "stride 0"),
            (square(3, 1, 2), "at most half of kernel 3"),
            (square(7, 1, 1), "holds no window of kernel 7"),
        ] {
            let message = message(&x, options);
            assert!(message.contains(expected), "{message}");
        }
        let good = square(2, 2, 0);
        assert!(message(&x.squeeze(0)?, good).contains("(B, C, H, W)"));
        assert!(message(&x.to_dtype(DType::U8)?, good).contains("U8"));
        assert!(message(&x.narrow(2, 0, 0)?, good).contains("is empty"));
        Ok(())
    }
}
