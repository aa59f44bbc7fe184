//! Gives a computed result its gradient.
//!
//! Every op of this crate computes its output outside candle's graph, directly into fresh storage,
//! and then hands that storage to [`attach`] with a closure for the backward pass. The closure
//! keeps exactly what it needs (saved statistics, detached inputs): the graph itself keeps neither
//! inputs nor results. When no input is tracked (a teacher, evaluation), the closure is dropped at
//! once and no graph is recorded.

use candle_core::{Result, Shape, Storage, Tensor};

use crate::autograd::record;

/// Makes a tensor of `shape` from `storage` whose gradient flows to `inputs` through `backward`.
///
/// `backward` gets the result's gradient, contiguous, and returns one entry an input; `None` where
/// the input needs no gradient.
pub(crate) fn attach<'a, R: Into<Vec<Option<Tensor>>>>(
    name: &'static str,
    inputs: impl AsRef<[&'a Tensor]>,
    storage: Storage,
    shape: impl Into<Shape>,
    backward: impl Fn(&Tensor) -> Result<R> + Send + Sync + 'static,
) -> Result<Tensor> {
    record::op(name, inputs.as_ref(), storage, shape.into(), |_| {
        Box::new(move |gradient| Ok(backward(gradient)?.into()))
    })
}

/// [`attach`] for an op whose backward pass reads its own result: `backward(result, gradient)`.
pub(crate) fn attach_with_result<'a, R: Into<Vec<Option<Tensor>>>>(
    name: &'static str,
    inputs: impl AsRef<[&'a Tensor]>,
    storage: Storage,
    shape: impl Into<Shape>,
    backward: impl Fn(&Tensor, &Tensor) -> Result<R> + Send + Sync + 'static,
) -> Result<Tensor> {
    record::op(name, inputs.as_ref(), storage, shape.into(), |result| {
        let result = result.clone();
        Box::new(move |gradient| Ok(backward(&result, gradient)?.into()))
    })
}
