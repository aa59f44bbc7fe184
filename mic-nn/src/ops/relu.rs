//! Rectified linear unit.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::attach::attach_with_result;
use super::cpu::{Elem, dispatch, fresh, storage, tensor, view};

/// Elements a task handles; fixed, so that results do not depend on the number of threads.
const CHUNK: usize = 1 << 14;

/// `max(x, 0)` for a tensor of any shape. The gradient at exactly 0 is 0, as in PyTorch.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    let x = x.contiguous()?;
    dispatch!("relu", x.dtype(), T => relu_cpu::<T>(&x))
}

fn relu_cpu<T: Elem>(x: &Tensor) -> Result<Tensor> {
    let input = view::<T>("relu", x)?;
    let mut output = fresh::<T>(input.len());
    output
        .par_chunks_mut(CHUNK)
        .zip(input.par_chunks(CHUNK))
        .for_each(|(out, x)| {
            for (o, &v) in out.iter_mut().zip(x) {
                // Written so that NaN stays NaN.
                *o = if v < T::zero() { T::zero() } else { v };
            }
        });
    drop(input);
    attach_with_result("relu", [x], storage(output), x.shape(), |result, grad| {
        let (y, g) = (view::<T>("relu", result)?, view::<T>("relu", grad)?);
        let mut dx = fresh::<T>(g.len());
        dx.par_chunks_mut(CHUNK)
            .zip(y.par_chunks(CHUNK).zip(g.par_chunks(CHUNK)))
            .for_each(|(dx, (y, g))| {
                for ((d, &y), &g) in dx.iter_mut().zip(y).zip(g) {
                    *d = if y > T::zero() { g } else { T::zero() };
                }
            });
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
