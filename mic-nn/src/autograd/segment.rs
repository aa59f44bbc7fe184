//! The pieces of a graph that consist of candle's own ops.

use std::cell::RefCell;

use candle_core::{Result, Storage, Tensor};

use super::node::{is_anchor, node_of};

thread_local! {
    /// The gradients that arrive at results of this crate's ops while candle walks a piece.
    static ARRIVED: RefCell<Option<Vec<(Tensor, Tensor)>>> = const { RefCell::new(None) };
}

/// Takes a gradient that candle has computed for the result of an op of this crate; `false` when
/// no piece is being walked.
pub(super) fn collect(result: &Tensor, gradient: &Tensor) -> bool {
    ARRIVED.with_borrow_mut(|arrived| match arrived {
        None => false,
        Some(arrived) => {
            arrived.push((result.clone(), gradient.clone()));
            true
        }
    })
}

/// The variables and results of this crate's ops that `tensor` was computed from by candle's ops;
/// itself where it is one of them.
pub(super) fn leaves(tensor: &Tensor) -> Vec<Tensor> {
    let nodes = tensor.sorted_nodes();
    let leaf = |node: &&&Tensor| match node.is_variable() {
        true => !is_anchor(node),
        false => node_of(node).is_some(),
    };
    nodes
        .iter()
        .filter(leaf)
        .map(|&node| node.clone())
        .collect()
}

/// The one leaf that `tensor` merely shows in another shape, if that is what it is: all tensors
/// between the two have the same elements of the same storage in the same order.
pub(super) fn reshaped(tensor: &Tensor) -> Option<Tensor> {
    let place = elements(tensor)?;
    let mut found = None;
    for node in tensor.sorted_nodes() {
        if node.is_variable() && is_anchor(node) {
            continue;
        }
        if elements(node)? != place {
            return None;
        }
        if (node.is_variable() || node_of(node).is_some()) && found.replace(node.clone()).is_some()
        {
            return None;
        }
    }
    found
}

/// The storage and the range that a contiguous tensor covers.
fn elements(tensor: &Tensor) -> Option<(*const Storage, usize, usize)> {
    let (storage, layout) = tensor.storage_and_layout();
    let (start, end) = layout.contiguous_offsets()?;
    Some((&raw const *storage, start, end))
}

/// Walks a piece from `tensor`, whose gradient is given, and returns its leaves' gradients.
pub(super) fn walk(tensor: &Tensor, gradient: &Tensor) -> Result<Vec<(Tensor, Tensor)>> {
    let product = (tensor * gradient)?.sum_all()?;
    let outer = ARRIVED.replace(Some(Vec::new()));
    let store = product.backward();
    let mut arrived = ARRIVED.replace(outer).unwrap_or_default();
    let store = store?;
    for leaf in leaves(tensor) {
        if leaf.is_variable()
            && let Some(gradient) = store.get(&leaf)
        {
            arrived.push((leaf, gradient.detach()));
        }
    }
    Ok(arrived)
}
