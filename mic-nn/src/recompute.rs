//! Activation recomputation: a block's intermediate results are dropped after its forward pass and
//! computed again when the backward pass needs them.
//!
//! [`checkpoint`] records the block as one op whose inputs are the block's inputs and every
//! variable that the block uses, so that `loss.backward()` delivers the same gradients as it would
//! without it. Between the two passes only the block's inputs and results are kept.
//!
//! candle's custom ops have at most three inputs and one result. A block has more, so it becomes a
//! small chain of ops that are joined by one-element tensors, the links:
//!
//! ```text
//! input, variable, variable, ...  ->  link  ->  ...  ->  last link  ->  result
//!                                                                  ->  result
//! ```
//!
//! The backward pass visits them from right to left: each result leaves its gradient in a slot, the
//! last link runs the block again, walks back through it and leaves the gradients of all inputs and
//! variables in slots, and the links hand them out.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;

use candle_core::{DType, Result, Shape, Storage, Tensor, TensorId, Var};
use parking_lot::Mutex;

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
/// The block must be a pure function of its arguments and of its parameters: besides variables it
/// should use no tracked tensor that is not among `inputs` (its gradient would be right, but its
/// history would be walked once more). Variables must not change between the two passes; candle
/// does not notice when they do. An input that the block does not use gets a gradient of zeros.
///
/// # Errors
/// Those of the block; a block without results; a second run that asks for other flags than the
/// first, or returns results of another shape.
pub fn checkpoint(
    inputs: &[&Tensor],
    mode: &Forward,
    block: impl Fn(&[Tensor], &Forward) -> Result<Vec<Tensor>> + Send + Sync + 'static,
) -> Result<Vec<Tensor>> {
    let detached: Vec<Tensor> = inputs.iter().map(|x| x.detach()).collect();
    let record = mode.drops.map(|source| Record {
        source,
        asked: RefCell::default(),
    });
    let first = Forward {
        drops: record.as_ref().map(|record| record as &dyn Drops),
        recompute: false,
        ..*mode
    };
    let results = block(&detached, &first)?;
    if results.is_empty() {
        candle_core::bail!("{OP}: the block returned nothing")
    }
    let variables = variables(&results);
    let tracked = (0..inputs.len()).filter(|&i| inputs[i].track_op());
    let tracked: Vec<usize> = tracked.collect();
    if variables.is_empty() && tracked.is_empty() {
        return Ok(results);
    }
    let mut leaves: Vec<Tensor> = tracked.iter().map(|&i| inputs[i].clone()).collect();
    leaves.extend(variables.iter().cloned());
    let slots = Arc::new(Slots::new(results.len(), leaves.len()));
    let again = Again {
        block: Box::new(block),
        inputs: detached,
        tracked,
        variables: variables.iter().map(Tensor::id).collect(),
        shapes: results.iter().map(|y| y.shape().clone()).collect(),
        norm: match mode.norm {
            NormMode::Batch => NormMode::BatchOnly,
            other => other,
        },
        flags: record.map(|record| record.asked.into_inner()),
        slots: Arc::clone(&slots),
    };
    let last = link(&leaves, again)?;
    // The results are copied, because the first run's own would bring their graph along.
    let attached = results.into_iter().enumerate().map(|(i, y)| {
        let slots = Arc::clone(&slots);
        attach(OP, [&last], own_storage(&y)?, y.shape(), move |_, grad| {
            slots.leave_result(i, grad);
            Ok([Some(Tensor::zeros(1, DType::F32, grad.device())?)])
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
    /// Which inputs get a gradient.
    tracked: Vec<usize>,
    variables: Vec<TensorId>,
    shapes: Vec<Shape>,
    norm: NormMode,
    flags: Option<Vec<Asked>>,
    slots: Arc<Slots>,
}

impl Again {
    /// Runs the block again, walks back from its results, and leaves the gradients of the tracked
    /// inputs and of the variables in their slots.
    fn run(&self) -> Result<()> {
        let mut inputs = self.inputs.clone();
        let mut stand_ins = Vec::with_capacity(self.tracked.len());
        for &i in &self.tracked {
            let stand_in = Var::from_tensor(&inputs[i])?;
            inputs[i] = stand_in.as_tensor().clone();
            stand_ins.push(stand_in);
        }
        let replay = self.flags.as_deref().map(Replay::of);
        let mode = Forward {
            norm: self.norm,
            drops: replay.as_ref().map(|replay| replay as &dyn Drops),
            recompute: false,
        };
        let results = (self.block)(&inputs, &mode)?;
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
        let mut store = match seeded(results, self.slots.take_results())? {
            Some(seed) => seed.backward()?,
            None => return Ok(()),
        };
        let mut gradients = Vec::with_capacity(self.tracked.len() + self.variables.len());
        for stand_in in &stand_ins {
            gradients.push(store.remove(stand_in));
        }
        for &variable in &self.variables {
            gradients.push(store.get_id(variable).cloned());
        }
        self.slots.leave_gradients(gradients);
        Ok(())
    }
}

/// A tensor whose backward pass starts at `results` with the given gradients; `None` where no
/// result has one.
fn seeded(results: Vec<Tensor>, gradients: Vec<Option<Tensor>>) -> Result<Option<Tensor>> {
    let mut seed: Option<Tensor> = None;
    for (result, gradient) in results.into_iter().zip(gradients) {
        let Some(gradient) = gradient.filter(|_| result.track_op()) else {
            continue;
        };
        let empty = token(&result)?;
        seed = Some(match &seed {
            None => attach(OP, [&result], empty, 1, move |_, _| {
                Ok([Some(gradient.clone())])
            })?,
            Some(last) => attach(OP, [last, &result], empty, 1, move |_, grad| {
                Ok([Some(grad.clone()), Some(gradient.clone())])
            })?,
        });
    }
    Ok(seed)
}

/// Joins all `leaves` into one element that the results can hang on. Its backward pass is `again`,
/// after which the leaves get their gradients from the slots.
fn link(leaves: &[Tensor], again: Again) -> Result<Tensor> {
    let slots = Arc::clone(&again.slots);
    // Leaves inside a graph need a gradient, if only zeros; variables can do without.
    let inner: Vec<bool> = leaves.iter().map(|leaf| !leaf.is_variable()).collect();
    let take = move |i: usize, leaf: &Tensor| -> Result<Option<Tensor>> {
        match slots.take_gradient(i) {
            None if inner[i] => leaf.zeros_like().map(Some),
            gradient => Ok(gradient),
        }
    };
    let take = Arc::new(take);
    let mut again = Some(again);
    let mut last: Option<Tensor> = None;
    for start in (0..leaves.len()).step_by(2) {
        let mut run = None;
        if start + 2 >= leaves.len() {
            run = again.take();
        }
        let prepare = move || run.as_ref().map_or(Ok(()), Again::run);
        let take = Arc::clone(&take);
        let pair: Vec<Tensor> = leaves[start..leaves.len().min(start + 2)].to_vec();
        let saved: Vec<Tensor> = pair.iter().map(Tensor::detach).collect();
        let empty = token(&pair[0])?;
        last = Some(match (&last, &pair[..]) {
            (None, [a]) => attach(OP, [a], empty, 1, move |_, _| {
                prepare()?;
                Ok([take(start, &saved[0])?])
            })?,
            (None, [a, b, ..]) => attach(OP, [a, b], empty, 1, move |_, _| {
                prepare()?;
                Ok([take(start, &saved[0])?, take(start + 1, &saved[1])?])
            })?,
            (Some(last), [a]) => attach(OP, [last, a], empty, 1, move |_, grad| {
                prepare()?;
                Ok([Some(grad.clone()), take(start, &saved[0])?])
            })?,
            (Some(last), [a, b, ..]) => attach(OP, [last, a, b], empty, 1, move |_, grad| {
                prepare()?;
                let (a, b) = (take(start, &saved[0])?, take(start + 1, &saved[1])?);
                Ok([Some(grad.clone()), a, b])
            })?,
            (_, []) => candle_core::bail!("{OP}: a link without leaves"),
        });
    }
    match last {
        Some(last) => Ok(last),
        None => candle_core::bail!("{OP}: nothing to link"),
    }
}

/// The storage of one element, where `like` is.
fn token(like: &Tensor) -> Result<Storage> {
    own_storage(&Tensor::zeros(1, DType::F32, like.device())?)
}

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

/// The variables that `results` were computed from, in a fixed order.
fn variables(results: &[Tensor]) -> Vec<Tensor> {
    let mut seen = HashSet::new();
    let nodes = results.iter().flat_map(|result| result.sorted_nodes());
    nodes
        .filter(|node| node.is_variable() && seen.insert(node.id()))
        .cloned()
        .collect()
}

/// Gradients on their way from one op of the chain to the next. All slots are empty between two
/// backward passes.
struct Slots {
    /// Of the block's results; `None` where the loss does not use one.
    results: Mutex<Vec<Option<Tensor>>>,
    /// Of the tracked inputs and the variables.
    gradients: Mutex<Vec<Option<Tensor>>>,
}

impl Slots {
    fn new(results: usize, leaves: usize) -> Self {
        Self {
            results: Mutex::new(vec![None; results]),
            gradients: Mutex::new(vec![None; leaves]),
        }
    }

    fn leave_result(&self, i: usize, gradient: &Tensor) {
        self.results.lock()[i] = Some(gradient.clone());
    }

    fn take_results(&self) -> Vec<Option<Tensor>> {
        self.results.lock().iter_mut().map(Option::take).collect()
    }

    fn leave_gradients(&self, gradients: Vec<Option<Tensor>>) {
        *self.gradients.lock() = gradients;
    }

    fn take_gradient(&self, i: usize) -> Option<Tensor> {
        self.gradients.lock()[i].take()
    }
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
