//! Gradient reversal.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::attach::attach;
use super::cast::in_single;
use super::cpu::{dispatch, storage, tensor, view};

const OP: &str = "gradient_reversal";

/// `x` itself, whose gradient is multiplied by `-coefficient` (Ganin and Lempitsky, 2015).
///
/// `x` has any shape and a floating-point dtype.
///
/// # Errors
/// When the dtype is another or the coefficient is not finite.
pub fn gradient_reversal(x: &Tensor, coefficient: f64) -> Result<Tensor> {
    in_single!([x] => gradient_reversal(x, coefficient));
    if !coefficient.is_finite() {
        candle_core::bail!("{OP}: the coefficient must be finite, got {coefficient}")
    }
    let x = x.contiguous()?;
    dispatch!(OP, x.dtype(), T => {
        let output = view::<T>(OP, &x)?.to_vec();
        attach(OP, [&x], storage(output), x.shape(), move |grad| {
            let factor = -coefficient as T;
            let dx: Vec<T> = view::<T>(OP, grad)?.par_iter().map(|&g| g * factor).collect();
            Ok([Some(tensor(dx, grad.shape()))])
        })
    })
}
