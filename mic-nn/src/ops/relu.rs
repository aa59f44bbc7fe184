//! Rectified linear unit.

use candle_core::{Result, Tensor};

use super::attach::attach_with_result;
use super::cast::in_single;
use super::cpu::{Elem, dispatch, on_gpu, storage, tensor, view};
use super::simd::elementwise;

/// `max(x, 0)` for a tensor of any shape. The gradient at exactly 0 is 0, as in PyTorch.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    in_single!([x] => relu(x));
    let x = x.contiguous()?;
    on_gpu!(x => relu(&x));
    dispatch!("relu", x.dtype(), T => relu_cpu::<T>(&x))
}

/// `max(x, 0)`, written so that NaN stays NaN.
#[inline(always)]
pub(super) fn positive<T: Elem>(x: T) -> T {
    if x < T::zero() { T::zero() } else { x }
}

/// The gradient of the rectifier's input from that of its result `y`.
#[inline(always)]
pub(super) fn masked<T: Elem>(g: T, y: T) -> T {
    if y > T::zero() { g } else { T::zero() }
}

fn relu_cpu<T: Elem>(x: &Tensor) -> Result<Tensor> {
    const OP: &str = "relu";
    let output = elementwise(
        [&view::<T>(OP, x)?],
        #[inline(always)]
        |[x]| positive(x),
    );
    attach_with_result(OP, [x], storage(output), x.shape(), |result, grad| {
        let dx = elementwise(
            [&view::<T>(OP, grad)?, &view::<T>(OP, result)?],
            #[inline(always)]
            |[g, y]| masked(g, y),
        );
        Ok([Some(tensor(dx, grad.shape()))])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autograd::backward;
    use crate::gradcheck::{max_relative_error, wave};
    use candle_core::{Device, Var};

    #[test]
    fn gradient_matches_differences() -> Result<()> {
        let x = wave(&[3, 5, 7], 1.0, 1.3, 0.2)?;
        assert!(max_relative_error(&[x], 105, |x| relu(&x[0]))? < 1e-7);
        Ok(())
    }

    #[test]
    fn gradient_at_zero_is_zero_and_views_work() -> Result<()> {
        let x = Var::new(&[[-1f32, 0., 2.], [3., -4., 0.]], &Device::Cpu)?;
        let y = relu(&x.t()?)?;
        assert_eq!(y.to_vec2::<f32>()?, [[0., 3.], [0., 0.], [2., 0.]]);
        let grads = backward(&y.sum_all()?)?;
        let grad = grads.get(&x).unwrap().to_vec2::<f32>()?;
        assert_eq!(grad, [[0., 0., 1.], [1., 0., 0.]]);
        Ok(())
    }
}
