//! What the graph consists of.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock, Weak};

use candle_core::op::BackpropOp;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, DType, Device, DeviceLocation, Layout, Result, Shape,
    Storage, Tensor, TensorId, Var, backend::BackendStorage,
};
use parking_lot::Mutex;

use super::segment;

/// Computes the gradients of an op's inputs from that of its result, which is contiguous. An entry
/// is `None` where the input needs no gradient.
pub(crate) type Backward = Box<dyn Fn(&Tensor) -> Result<Vec<Option<Tensor>>> + Send + Sync>;

/// Where an input of an op came from.
pub(super) enum Source {
    /// Outside the graph.
    Constant,
    /// A leaf.
    Variable(Tensor),
    /// The result of an op of this crate, perhaps in another shape. The result itself is not kept.
    Node(Arc<Node>),
    /// The result of candle's ops.
    Candle(Tensor),
}

/// What a node needs for its one backward pass.
pub(super) struct Saved {
    pub(super) sources: Vec<Source>,
    pub(super) backward: Backward,
}

/// One op that was applied.
pub(crate) struct Node {
    pub(super) name: &'static str,
    /// Larger than that of every node the op depends on.
    pub(super) sequence: u64,
    pub(super) shape: Shape,
    /// The identity of the result.
    pub(super) id: OnceLock<TensorId>,
    /// `None` once the node has been walked.
    pub(super) saved: Mutex<Option<Arc<Saved>>>,
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(id) = self.id.get() {
            NODES.lock().remove(id);
        }
        // A long chain is dropped one by one, for the sake of the stack.
        let mut chain: Vec<Arc<Saved>> = self.saved.get_mut().take().into_iter().collect();
        while let Some(saved) = chain.pop() {
            let Some(saved) = Arc::into_inner(saved) else {
                continue;
            };
            for source in saved.sources {
                if let Source::Node(node) = source
                    && let Some(mut node) = Arc::into_inner(node)
                {
                    chain.extend(node.saved.get_mut().take());
                }
            }
        }
    }
}

/// The nodes of all living results.
static NODES: LazyLock<Mutex<HashMap<TensorId, Weak<Node>>>> = LazyLock::new(Mutex::default);
static SEQUENCE: AtomicU64 = AtomicU64::new(1);
static ANCHORS: LazyLock<Mutex<Vec<(DeviceLocation, Var)>>> = LazyLock::new(Mutex::default);

thread_local! {
    /// Where the leaves go while no graph is recorded.
    static LEAVES: RefCell<Option<Vec<Tensor>>> = const { RefCell::new(None) };
}

/// The node whose result `tensor` is.
pub(super) fn node_of(tensor: &Tensor) -> Option<Arc<Node>> {
    let nodes = NODES.lock();
    nodes.get(&tensor.id()).and_then(Weak::upgrade)
}

/// The variable that a device's results hang on as far as candle can see.
fn anchor(device: &Device) -> Result<Var> {
    let location = device.location();
    let mut anchors = ANCHORS.lock();
    if let Some((_, anchor)) = anchors.iter().find(|(l, _)| *l == location) {
        return Ok(anchor.clone());
    }
    let anchor = Var::zeros(1, DType::F32, device)?;
    anchors.push((location, anchor.clone()));
    Ok(anchor)
}

pub(super) fn is_anchor(tensor: &Tensor) -> bool {
    let anchors = ANCHORS.lock();
    anchors.iter().any(|(_, anchor)| anchor.id() == tensor.id())
}

impl Source {
    fn of(tensor: &Tensor) -> Self {
        if !tensor.track_op() {
            return Self::Constant;
        }
        if tensor.is_variable() {
            return Self::Variable(tensor.clone());
        }
        if let Some(node) = node_of(tensor) {
            return Self::Node(node);
        }
        match segment::reshaped(tensor) {
            Some(original) if original.is_variable() => Self::Variable(original),
            Some(original) => node_of(&original).map_or(Self::Candle(original), Self::Node),
            None => Self::Candle(tensor.clone()),
        }
    }
}

/// The op as candle sees it: the prepared result, hung on the anchor.
struct Prepared {
    name: &'static str,
    output: Mutex<Option<(Storage, Shape)>>,
    /// Owned by the result, so that the node lives as long as it or anything computed from it.
    #[allow(dead_code)]
    node: Arc<Node>,
}

impl Prepared {
    fn take(&self) -> Result<(Storage, Shape)> {
        match self.output.lock().take() {
            Some(output) => Ok(output),
            None => candle_core::bail!("{}: the prepared output was used twice", self.name),
        }
    }
}

impl CustomOp1 for Prepared {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        match self.take()? {
            (Storage::Cpu(storage), shape) => Ok((storage, shape)),
            _ => candle_core::bail!("{}: the anchor is on the CPU, the result not", self.name),
        }
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        match self.take()? {
            (Storage::Cuda(storage), shape) => Ok((storage, shape)),
            _ => candle_core::bail!("{}: the anchor is on a GPU, the result not", self.name),
        }
    }

    fn bwd(&self, _: &Tensor, result: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if segment::collect(result, grad) {
            return Ok(None);
        }
        candle_core::bail!(
            "{}: candle's own backward pass cannot go through this op; call \
             mic_nn::autograd::backward(&loss) instead of loss.backward()",
            self.name
        )
    }
}

/// Recording ops.
pub(crate) mod record {
    use super::*;

    /// A tensor of `shape` over `storage`, and its gradient's way to `inputs`. If no input is
    /// tracked, nothing is recorded and `backward` is never asked for.
    ///
    /// `backward` gets a tensor over the same storage without a graph.
    pub(crate) fn op(
        name: &'static str,
        inputs: &[&Tensor],
        storage: Storage,
        shape: Shape,
        backward: impl FnOnce(&Tensor) -> Backward,
    ) -> Result<Tensor> {
        let plain =
            |storage, shape| Tensor::from_storage(storage, shape, BackpropOp::none(), false);
        if !inputs.iter().any(|input| input.track_op()) || leave(inputs) {
            return Ok(plain(storage, shape));
        }
        let anchor = anchor(&device(&storage))?;
        let node = Arc::new(Node {
            name,
            sequence: SEQUENCE.fetch_add(1, Ordering::Relaxed),
            shape: shape.clone(),
            id: OnceLock::new(),
            saved: Mutex::new(None),
        });
        let result = anchor.apply_op1(Prepared {
            name,
            output: Mutex::new(Some((storage, shape))),
            node: Arc::clone(&node),
        })?;
        *node.saved.lock() = Some(Arc::new(Saved {
            sources: inputs.iter().map(|input| Source::of(input)).collect(),
            backward: backward(&result.detach()),
        }));
        let id = *node.id.get_or_init(|| result.id());
        NODES.lock().insert(id, Arc::downgrade(&node));
        Ok(result)
    }

    /// Larger than the sequence of every node so far, smaller than that of every later one.
    pub(crate) fn now() -> u64 {
        SEQUENCE.fetch_add(1, Ordering::Relaxed)
    }
}

fn device(storage: &Storage) -> Device {
    match storage {
        Storage::Cpu(_) => Device::Cpu,
        Storage::Cuda(storage) => Device::Cuda(storage.device().clone()),
        Storage::Metal(storage) => Device::Metal(storage.device().clone()),
    }
}

/// While no graph is recorded, remembers what the inputs depend on.
fn leave(inputs: &[&Tensor]) -> bool {
    LEAVES.with_borrow_mut(|leaves| match leaves {
        None => false,
        Some(leaves) => {
            inputs.iter().for_each(|input| add_leaves(input, leaves));
            true
        }
    })
}

fn add_leaves(tensor: &Tensor, leaves: &mut Vec<Tensor>) {
    if !tensor.track_op() {
        return;
    }
    for leaf in segment::leaves(tensor) {
        if leaves.iter().all(|known| known.id() != leaf.id()) {
            leaves.push(leaf);
        }
    }
}

/// Runs `f` without recording ops of this crate. Returns its results, detached, and all variables
/// and earlier results that they depend on.
pub(crate) fn without_graph(
    f: impl FnOnce() -> Result<Vec<Tensor>>,
) -> Result<(Vec<Tensor>, Vec<Tensor>)> {
    let outer = LEAVES.replace(Some(Vec::new()));
    let results = f();
    let mut leaves = LEAVES.replace(outer).unwrap_or_default();
    let results = results?;
    for result in &results {
        add_leaves(result, &mut leaves);
    }
    // Inside another such call these count for the outer one, too.
    leave(&leaves.iter().collect::<Vec<_>>());
    Ok((results.iter().map(Tensor::detach).collect(), leaves))
}
