//! What all optimisers have in common.

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor, Var};

use super::{Grads, ParamGroup};

/// Changes parameters along their accumulated gradients.
pub trait Optimizer {
    /// Updates every parameter that has a gradient; the others are left alone entirely, weight
    /// decay included. `lr` turns a parameter's base learning rate into that of this iteration.
    ///
    /// # Errors
    /// When a gradient does not fit its parameter.
    fn step(&mut self, grads: &Grads, lr: &dyn Fn(f64) -> f64) -> Result<()>;

    /// The settings of every parameter, in the parameters' order.
    fn groups(&self) -> Vec<&ParamGroup>;

    /// A copy of the internal state under names derived from the parameters', to be saved.
    ///
    /// # Errors
    /// When copying fails.
    fn state(&self) -> Result<Vec<(String, Tensor)>>;

    /// Takes back what [`Optimizer::state`] returned; state that is there now is dropped.
    ///
    /// # Errors
    /// When an entry belongs to no parameter, is incomplete or has another shape or dtype.
    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()>;
}

/// Elements of a parameter that a task updates.
pub(super) const CHUNK: usize = 1 << 14;

/// The gradient of a parameter, checked.
pub(super) fn gradient<'a>(
    op: &str,
    grads: &'a Grads,
    name: &str,
    var: &Var,
) -> Result<Option<&'a Tensor>> {
    let Some(grad) = grads.get(name) else {
        return Ok(None);
    };
    if grad.dims() != var.dims() || grad.dtype() != var.dtype() {
        candle_core::bail!(
            "{op}: the gradient of {name} is {:?} {:?}, the parameter {:?} {:?}",
            grad.dims(),
            grad.dtype(),
            var.dims(),
            var.dtype()
        )
    }
    Ok(Some(grad))
}

/// A tensor's shape in zeros, as an optimiser's own memory.
pub(super) fn zeros_like(var: &Var) -> Result<Tensor> {
    Tensor::zeros(var.shape(), var.dtype(), var.device())
}

/// A whole number as a tensor that can be saved.
pub(super) fn count(steps: u64) -> Result<Tensor> {
    Tensor::new(steps as i64, &Device::Cpu)
}

/// A copied state tensor that must fit its parameter.
pub(super) fn stored(
    op: &str,
    state: &HashMap<String, Tensor>,
    key: &str,
    var: &Var,
) -> Result<Tensor> {
    let Some(value) = state.get(key) else {
        candle_core::bail!("{op}: the saved state lacks {key}")
    };
    if value.dims() != var.dims() || value.dtype() != var.dtype() {
        candle_core::bail!(
            "{op}: the saved {key} is {:?} {:?}, expected {:?} {:?}",
            value.dims(),
            value.dtype(),
            var.dims(),
            var.dtype()
        )
    }
    value.to_device(var.device())?.contiguous()?.copy()
}

/// A saved number of steps; `None` where the parameter has not been updated yet.
pub(super) fn stored_count(
    op: &str,
    state: &HashMap<String, Tensor>,
    key: &str,
) -> Result<Option<u64>> {
    let Some(value) = state.get(key) else {
        return Ok(None);
    };
    match value.to_dtype(DType::I64)?.to_scalar::<i64>() {
        Ok(steps) if steps > 0 => Ok(Some(steps as u64)),
        _ => candle_core::bail!("{op}: the saved {key} is no positive whole number"),
    }
}

/// Every key of a saved state must have been used.
pub(super) fn check_used(op: &str, state: &HashMap<String, Tensor>, used: &[String]) -> Result<()> {
    let mut unknown: Vec<&String> = state.keys().filter(|k| !used.contains(k)).collect();
    unknown.sort();
    if let Some(key) = unknown.first() {
        candle_core::bail!(
            "{op}: {} saved entries belong to no parameter, among them {key}",
            unknown.len()
        )
    }
    Ok(())
}
