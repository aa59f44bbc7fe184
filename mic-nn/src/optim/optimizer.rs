//! What all optimisers have in common.

use std::collections::HashMap;

use candle_core::{Result, Tensor};

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
