//! Activation recomputation: a block's intermediate results are dropped after its forward pass and
//! computed again when the backward pass needs them.
//!
//! [`checkpoint`] records the block as one op whose inputs are the block's inputs and every
//! variable that the block uses: the backward pass delivers the same gradients as it would without
//! it. Between the two passes only the block's inputs and results are kept.
//!
//! A block may have several results. Each is an op of its own on one that stands for the block, the
//! hub; the backward pass visits the results first, then the hub, which runs the block again and
//! walks back through it with all their gradients.

use std::cell::RefCell;
use std::sync::Arc;

use candle_core::{DType, Result, Shape, Storage, Tensor, TensorId};
use parking_lot::Mutex;

use crate::autograd::{gradients_of, record, without_graph};
use crate::forward::{Drops, Forward, NormMode};
use crate::ops::attach::attach;

const OP: &str = "checkpoint";

/// Runs `block` on `inputs` without keeping its intermediate results, and returns its results.
///
/// The gradients are those of `block(inputs, mode)`, for the inputs and for all variables. In the
/// second run the flags of dropout and drop-path are those of the first, and batch norm leaves its
/// running statistics alone. When neither an input nor anything in the block is tracked, the block
/// simply runs. Calls may be nested.
///
/// The block must be a pure function of its arguments, its parameters and other tensors that exist
/// before the call, whose gradients are right as well. Variables must not change between the two
/// passes; candle does not notice when they do.
///
/// # Errors
/// Those of the block; a block without results; a second run that asks for other flags than the
/// first, or returns results of another shape.
pub fn checkpoint(
    inputs: &[&Tensor],
    mode: &Forward,
    block: impl Fn(&[Tensor], &Forward) -> Result<Vec<Tensor>> + Send + Sync + 'static,
) -> Result<Vec<Tensor>> {
    let record = mode.drops.map(|source| Record {
        source,
        asked: RefCell::default(),
    });
    let first = Forward {
        drops: record.as_ref().map(|record| record as &dyn Drops),
        recompute: false,
        ..*mode
    };
    let inputs: Vec<Tensor> = inputs.iter().map(|&x| x.clone()).collect();
    let (results, leaves) = without_graph(|| block(&inputs, &first))?;
    if results.is_empty() {
        candle_core::bail!("{OP}: the block returned nothing")
    }
    if leaves.is_empty() {
        return Ok(results);
    }
    let arrived = Arc::new(Arrived(Mutex::new(vec![None; results.len()])));
    let again = Again {
        block: Box::new(block),
        inputs,
        leaves: leaves.iter().map(Tensor::id).collect(),
        shapes: results.iter().map(|y| y.shape().clone()).collect(),
        norm: match mode.norm {
            NormMode::Batch => NormMode::BatchOnly,
            other => other,
        },
        flags: record.map(|record| record.asked.into_inner()),
        arrived: Arc::clone(&arrived),
    };
    let leaves: Vec<&Tensor> = leaves.iter().collect();
    let token = Tensor::zeros(1, DType::F32, results[0].device())?;
    let hub = attach(OP, leaves, own_storage(&token)?, 1, move |_| again.run())?;
    let attached = results.iter().enumerate().map(|(i, y)| {
        let (arrived, token) = (Arc::clone(&arrived), token.clone());
        attach(OP, [&hub], own_storage(y)?, y.shape(), move |gradient| {
            arrived.0.lock()[i] = Some(gradient.clone());
            Ok([Some(token.clone())])
        })
    });
    attached.collect()
}

/// [`checkpoint`] for a block with one input and one result.
///
/// # Errors
/// Those of [`checkpoint`].
pub fn checkpoint_one(
    x: &Tensor,
    mode: &Forward,
    block: impl Fn(&Tensor, &Forward) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    let mut results = checkpoint(&[x], mode, move |inputs, mode| {
        Ok(vec![block(&inputs[0], mode)?])
    })?;
    Ok(results.swap_remove(0))
}

type Block = Box<dyn Fn(&[Tensor], &Forward) -> Result<Vec<Tensor>> + Send + Sync>;

/// Everything that the second run needs.
struct Again {
    block: Block,
    inputs: Vec<Tensor>,
    leaves: Vec<TensorId>,
    shapes: Vec<Shape>,
    norm: NormMode,
    flags: Option<Vec<Asked>>,
    arrived: Arc<Arrived>,
}

impl Again {
    /// Runs the block again, walks back from its results as far as its leaves, and returns their
    /// gradients.
    fn run(&self) -> Result<Vec<Option<Tensor>>> {
        let start = record::now();
        let replay = self.flags.as_deref().map(Replay::of);
        let mode = Forward {
            norm: self.norm,
            drops: replay.as_ref().map(|replay| replay as &dyn Drops),
            recompute: false,
        };
        let results = (self.block)(&self.inputs, &mode)?;
        if let Some(error) = replay.and_then(|replay| replay.error.into_inner()) {
            candle_core::bail!("{OP}: {error}")
        }
        let shapes = results.iter().map(Tensor::shape);
        if !shapes.eq(self.shapes.iter()) {
            candle_core::bail!(
                "{OP}: the block's second run returned shapes {:?}, its first {:?}",
                results.iter().map(Tensor::dims).collect::<Vec<_>>(),
                self.shapes
            )
        }
        let arrived: Vec<_> = self.arrived.0.lock().iter_mut().map(Option::take).collect();
        let seeds = results.into_iter().zip(arrived);
        let seeds = seeds.filter_map(|(result, gradient)| Some((result, gradient?)));
        let gradients = gradients_of(seeds.collect(), start, false)?;
        let of = |&id: &TensorId| gradients.get_id(id).cloned();
        Ok(self.leaves.iter().map(of).collect())
    }
}

/// The results' gradients on their way to the second run; `None` where the loss does not use one,
/// and all `None` between two backward passes.
struct Arrived(Mutex<Vec<Option<Tensor>>>);

/// A copy of a tensor's elements, contiguous.
fn own_storage(tensor: &Tensor) -> Result<Storage> {
    let tensor = tensor.detach();
    let tensor = match tensor.layout().contiguous_offsets() {
        Some((0, _)) => tensor,
        _ => tensor.force_contiguous()?,
    };
    let (storage, layout) = tensor.storage_and_layout();
    storage.try_clone(layout)
}

/// One call of [`Drops::keep`] and its answer.
struct Asked {
    site: String,
    flags: Vec<bool>,
}

/// Passes calls on and remembers them.
struct Record<'a> {
    source: &'a dyn Drops,
    asked: RefCell<Vec<Asked>>,
}

impl Drops for Record<'_> {
    fn keep(&self, site: &str, rate: f64, count: usize) -> Vec<bool> {
        let flags = self.source.keep(site, rate, count);
        self.asked.borrow_mut().push(Asked {
            site: site.to_string(),
            flags: flags.clone(),
        });
        flags
    }
}

/// Gives remembered answers, in order.
struct Replay<'a> {
    asked: RefCell<std::slice::Iter<'a, Asked>>,
    error: RefCell<Option<String>>,
}

impl<'a> Replay<'a> {
    fn of(asked: &'a [Asked]) -> Self {
        Self {
            asked: RefCell::new(asked.iter()),
            error: RefCell::new(None),
        }
    }
}

impl Drops for Replay<'_> {
    fn keep(&self, site: &str, _: f64, count: usize) -> Vec<bool> {
        match self.asked.borrow_mut().next() {
            Some(asked) if asked.site == site && asked.flags.len() == count => asked.flags.clone(),
            other => {
                let first = other.map_or("nothing more".to_string(), |asked| {
                    format!("{} flags of {}", asked.flags.len(), asked.site)
                });
                let mut error = self.error.borrow_mut();
                error.get_or_insert_with(|| {
                    format!(
                        "the block's second run asks for {count} flags of {site}, its first for \
                         {first}; a block must do the same in both"
                    )
                });
                vec![true; count]
            }
        }
    }
}
