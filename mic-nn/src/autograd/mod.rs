//! The backward pass over graphs that hold this crate's ops.
//!
//! candle's own `backward` allocates zeros and adds them for every edge of the graph, keeps every
//! input of every op alive until the end, and walks recursively. [`backward`] hands gradients on
//! as they are, frees what an op has saved as soon as its gradient is computed, and needs no deep
//! stack. candle's ops may stand anywhere between those of this crate: each connected piece of
//! them is walked by candle itself.
//!
//! Every result of an op of this crate is tied to a node: where its inputs came from, and a closure
//! for the gradient with just what that needs. To candle such a result looks like the result of an
//! op on a variable of its own, the anchor, so that candle's ops on it are tracked, too. candle's
//! `loss.backward()` on such a graph is an error that names [`backward`].

mod node;
mod segment;
mod walk;

use std::collections::HashMap;

use candle_core::{Result, Tensor, TensorId};

pub(crate) use node::{record, without_graph};
use walk::Walk;

/// The gradients of one backward pass.
#[derive(Debug, Default)]
pub struct Gradients(HashMap<TensorId, Tensor>);

impl Gradients {
    /// The gradient of a variable, shaped like it; `None` when the loss does not depend on it.
    pub fn get(&self, tensor: &Tensor) -> Option<&Tensor> {
        self.get_id(tensor.id())
    }

    /// The gradient of the variable with this identity.
    pub fn get_id(&self, id: TensorId) -> Option<&Tensor> {
        self.0.get(&id)
    }

    /// Sets a variable's gradient, for gradients that come from elsewhere.
    pub fn insert(&mut self, tensor: &Tensor, gradient: Tensor) {
        self.0.insert(tensor.id(), gradient);
    }

    /// Takes a gradient out.
    pub fn remove(&mut self, tensor: &Tensor) -> Option<Tensor> {
        self.0.remove(&tensor.id())
    }

    /// The number of variables that have a gradient.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no variable has a gradient.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The gradients of `loss`, usually one number, with respect to every variable that it was computed
/// from; of a tensor, those of the sum of its elements.
///
/// Every op's saved tensors are freed on the way, so that a graph can be walked once. Where two
/// losses share a part of it, use [`backward_retaining`] for all but the last.
///
/// # Errors
/// Those of the ops' backward passes, and when the graph has been walked before.
pub fn backward(loss: &Tensor) -> Result<Gradients> {
    backward_from(loss, false)
}

/// [`backward`], keeping what the graph has saved.
///
/// # Errors
/// As [`backward`].
pub fn backward_retaining(loss: &Tensor) -> Result<Gradients> {
    backward_from(loss, true)
}

/// [`backward`] of the sum of `tensor`'s elements, each times that of `gradient`, which is of the same
/// shape and dtype (PyTorch's `tensor.backward(gradient)`).
///
/// # Errors
/// As [`backward`], and when shape or dtype differ.
pub fn backward_with(tensor: &Tensor, gradient: &Tensor) -> Result<Gradients> {
    if tensor.dims() != gradient.dims() || tensor.dtype() != gradient.dtype() {
        candle_core::bail!(
            "backward: expected a gradient of {:?} {:?}, got {:?} {:?}",
            tensor.dims(),
            tensor.dtype(),
            gradient.dims(),
            gradient.dtype()
        )
    }
    let gradient = gradient.detach().contiguous()?;
    gradients_of(vec![(tensor.clone(), gradient)], 0, false)
}

fn backward_from(loss: &Tensor, retain: bool) -> Result<Gradients> {
    let seed = loss.detach().ones_like()?.contiguous()?;
    gradients_of(vec![(loss.clone(), seed)], 0, retain)
}

/// The gradients of the sum of every tensor times its given gradient. Nodes recorded before `start`
/// (see [`record::now`]) are treated as variables.
pub(crate) fn gradients_of(
    seeds: Vec<(Tensor, Tensor)>,
    start: u64,
    retain: bool,
) -> Result<Gradients> {
    let mut walk = Walk::new(start, retain);
    for (tensor, gradient) in seeds {
        walk.deliver_to_tensor(&tensor, gradient)?;
    }
    Ok(Gradients(walk.run()?))
}

#[cfg(test)]
mod tests;
