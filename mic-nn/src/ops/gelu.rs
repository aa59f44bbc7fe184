//! Gaussian error linear unit.

use candle_core::{Result, Tensor};

use super::attach::attach;
use super::cast::in_single;
use super::cpu::{dispatch, on_gpu, storage, tensor, view};
use super::math::Math;
use super::simd::elementwise;

/// `x * P(X <= x)` for a standard normal X (Hendrycks and Gimpel, 2016): the exact form with the
/// error function, for a tensor of any shape. Keeps its input for the backward pass.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    in_single!([x] => gelu(x));
    let x = x.contiguous()?;
    on_gpu!(x => gelu(&x));
    dispatch!("gelu", x.dtype(), T => gelu_cpu::<T>(&x))
}

#[inline(always)]
fn value<T: Math>(x: T) -> T {
    let (tail, _) = x.normal_tail();
    // The small half of the distribution is the accurate one.
    x * if x > T::zero() { T::one() - tail } else { tail }
}

#[inline(always)]
fn derivative<T: Math>(x: T) -> T {
    let (tail, exp) = x.normal_tail();
    let below = if x > T::zero() { T::one() - tail } else { tail };
    below + x * exp * T::of(0.398_942_280_401_432_7)
}

fn gelu_cpu<T: Math>(x: &Tensor) -> Result<Tensor> {
    const OP: &str = "gelu";
    let output = elementwise(
        [&view::<T>(OP, x)?],
        #[inline(always)]
        |[x]| value(x),
    );
    let saved = x.detach();
    attach(OP, [x], storage(output), x.shape(), move |grad| {
        let dx = elementwise(
            [&view::<T>(OP, grad)?, &view::<T>(OP, &saved)?],
            #[inline(always)]
            |[g, x]| g * derivative(x),
        );
        Ok([Some(tensor(dx, grad.shape()))])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{max_relative_error, wave};
    use candle_core::{DType, Device};

    #[test]
    fn single_precision_agrees_with_double() -> Result<()> {
        let x: Vec<f32> = (0..40_001).map(|i| -10.0 + i as f32 * 5e-4).collect();
        let x = Tensor::new(x, &Device::Cpu)?;
        let exact = gelu(&x.to_dtype(DType::F64)?)?;
        let error = (gelu(&x)?.to_dtype(DType::F64)? - exact)?.abs()?;
        // Half a unit in the last place of the value itself, for large x.
        let allowed = ((x.to_dtype(DType::F64)?.relu()? * 1.2e-7)? + 1e-7)?;
        assert_eq!(error.gt(&allowed)?.max_all()?.to_scalar::<u8>()?, 0);
        Ok(())
    }

    #[test]
    fn known_values_and_gradient() -> Result<()> {
        let x = Tensor::new(&[0f64, 1.0, -1.0], &Device::Cpu)?;
        let y = gelu(&x)?.to_vec1::<f64>()?;
        for (y, want) in
            y.into_iter()
                .zip([0.0, 0.841_344_746_068_542_9, -0.158_655_253_931_457_05])
        {
            assert!((y - want).abs() < 1e-15);
        }
        let x = wave(&[5, 8], 3.0, 1.3, 0.2)?;
        assert!(max_relative_error(&[x], 40, |x| gelu(&x[0]))? < 1e-7);
        Ok(())
    }

    #[test]
    fn views_work() -> Result<()> {
        let x = wave(&[5, 8], 3.0, 1.3, 0.2)?.to_dtype(DType::F32)?;
        let difference = (gelu(&x.t()?)? - gelu(&x)?.t()?)?.abs()?.max_all()?;
        assert_eq!(difference.to_scalar::<f32>()?, 0.0);
        Ok(())
    }
}
