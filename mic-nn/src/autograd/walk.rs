//! From the loss back to the variables.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use candle_core::{DType, Result, Tensor, TensorId};

use super::node::{Node, Saved, Source, node_of};
use super::segment;
use crate::ops;
use crate::optim::in_place::add_in_place;

/// A gradient that is still being added up.
struct Sum {
    value: Tensor,
    /// Whether its storage is ours alone.
    owned: bool,
}

impl Sum {
    fn add(self, other: Tensor) -> Result<Self> {
        if self.value.dims() != other.dims() {
            candle_core::bail!(
                "backward: gradients of shapes {:?} and {:?} meet at one tensor",
                self.value.dims(),
                other.dims()
            )
        }
        let ours = matches!(self.value.dtype(), DType::F32 | DType::F64);
        let value = match (ours, self.owned) {
            (true, true) => {
                add_in_place(&self.value, &other.contiguous()?)?;
                self.value
            }
            (true, false) => ops::add(&self.value, &other)?,
            (false, _) => (self.value + other)?,
        };
        Ok(Self { value, owned: true })
    }
}

enum Stop {
    Node(Arc<Node>),
    Candle(Tensor),
}

/// Gradients on their way.
///
/// Stops are visited in the reverse of the order in which they were recorded, so that all
/// gradients of one have arrived when its turn comes. A piece of candle's ops comes just before the
/// latest node that it was computed from.
pub(super) struct Walk {
    start: u64,
    retain: bool,
    pending: BTreeMap<(u64, u64), (Stop, Sum)>,
    /// The places of pieces of candle's ops in `pending`.
    pieces: HashMap<TensorId, (u64, u64)>,
    found: HashMap<TensorId, Sum>,
}

impl Walk {
    pub(super) fn new(start: u64, retain: bool) -> Self {
        Self {
            start,
            retain,
            pending: BTreeMap::new(),
            pieces: HashMap::new(),
            found: HashMap::new(),
        }
    }

    /// Visits everything and returns the variables' gradients.
    pub(super) fn run(mut self) -> Result<HashMap<TensorId, Tensor>> {
        while let Some((_, (stop, sum))) = self.pending.pop_last() {
            match stop {
                Stop::Node(node) => self.visit(&node, sum.value)?,
                Stop::Candle(tensor) => {
                    self.pieces.remove(&tensor.id());
                    for (leaf, gradient) in segment::walk(&tensor, &sum.value)? {
                        self.deliver_to_tensor(&leaf, gradient)?;
                    }
                }
            }
        }
        let found = self.found.into_iter();
        Ok(found.map(|(id, sum)| (id, sum.value)).collect())
    }

    fn visit(&mut self, node: &Node, gradient: Tensor) -> Result<()> {
        let saved = match self.retain {
            true => node.saved.lock().clone(),
            false => node.saved.lock().take(),
        };
        let Some(saved) = saved else {
            candle_core::bail!(
                "backward: the graph below {} has been walked before and its saved tensors are \
                 freed; use backward_retaining for all passes but the last",
                node.name
            )
        };
        let gradients = (saved.backward)(&gradient.contiguous()?)?;
        drop(gradient);
        if gradients.len() > saved.sources.len() {
            candle_core::bail!(
                "{}: {} gradients for {} inputs",
                node.name,
                gradients.len(),
                saved.sources.len()
            )
        }
        match Arc::try_unwrap(saved) {
            Ok(Saved { sources, backward }) => {
                // What the op has kept is freed before the gradients travel on.
                drop(backward);
                self.deliver_all(&sources, gradients)
            }
            Err(retained) => self.deliver_all(&retained.sources, gradients),
        }
    }

    fn deliver_all(&mut self, sources: &[Source], gradients: Vec<Option<Tensor>>) -> Result<()> {
        for (source, gradient) in sources.iter().zip(gradients) {
            if let Some(gradient) = gradient {
                self.deliver(source, gradient)?;
            }
        }
        Ok(())
    }

    fn deliver(&mut self, source: &Source, gradient: Tensor) -> Result<()> {
        match source {
            Source::Constant => Ok(()),
            Source::Variable(variable) => self.deliver_to_variable(variable, gradient),
            Source::Node(node) => self.deliver_to_node(Arc::clone(node), gradient),
            Source::Candle(tensor) => self.deliver_to_piece(tensor, gradient),
        }
    }

    /// Adds to the gradient of a tensor of whatever origin.
    pub(super) fn deliver_to_tensor(&mut self, tensor: &Tensor, gradient: Tensor) -> Result<()> {
        if tensor.is_variable() {
            self.deliver_to_variable(tensor, gradient)
        } else if let Some(node) = node_of(tensor) {
            self.deliver_to_node(node, gradient)
        } else if tensor.track_op() {
            self.deliver_to_piece(tensor, gradient)
        } else {
            Ok(())
        }
    }

    fn deliver_to_variable(&mut self, variable: &Tensor, gradient: Tensor) -> Result<()> {
        let gradient = fitted(gradient, variable.shape())?;
        self.find(variable.id(), gradient)
    }

    fn find(&mut self, id: TensorId, gradient: Tensor) -> Result<()> {
        let sum = add_to(self.found.remove(&id), gradient)?;
        self.found.insert(id, sum);
        Ok(())
    }

    fn deliver_to_node(&mut self, node: Arc<Node>, gradient: Tensor) -> Result<()> {
        let gradient = fitted(gradient, &node.shape)?;
        if node.sequence < self.start
            && let Some(&id) = node.id.get()
        {
            return self.find(id, gradient);
        }
        self.add(2 * node.sequence, 0, Stop::Node(node), gradient)
    }

    fn deliver_to_piece(&mut self, tensor: &Tensor, gradient: Tensor) -> Result<()> {
        let key = match self.pieces.get(&tensor.id()) {
            Some(&key) => key,
            None => {
                let leaves = segment::leaves(tensor);
                let nodes = leaves.iter().filter_map(node_of);
                let latest = nodes.map(|node| node.sequence).max().unwrap_or(0);
                let place = 2 * latest + 1;
                // Two pieces may hang on the same node.
                let others = self.pending.range((place, 0)..(place + 1, 0));
                (place, others.last().map_or(0, |((_, index), _)| index + 1))
            }
        };
        self.pieces.insert(tensor.id(), key);
        self.add(key.0, key.1, Stop::Candle(tensor.clone()), gradient)
    }

    fn add(&mut self, place: u64, index: u64, stop: Stop, gradient: Tensor) -> Result<()> {
        let earlier = self.pending.remove(&(place, index)).map(|(_, sum)| sum);
        let sum = add_to(earlier, gradient)?;
        self.pending.insert((place, index), (stop, sum));
        Ok(())
    }
}

fn add_to(sum: Option<Sum>, gradient: Tensor) -> Result<Sum> {
    match sum {
        Some(sum) => sum.add(gradient),
        None => Ok(Sum {
            value: gradient.detach(),
            owned: false,
        }),
    }
}

/// A gradient in the shape of its tensor, which an op may have seen in another one.
fn fitted(gradient: Tensor, shape: &candle_core::Shape) -> Result<Tensor> {
    match gradient.shape() == shape {
        true => Ok(gradient),
        false => gradient.reshape(shape),
    }
}
