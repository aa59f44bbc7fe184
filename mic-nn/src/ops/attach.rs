//! Gives a computed result its gradient.
//!
//! Every op of this crate computes its output outside candle's graph, directly into fresh storage,
//! and then hands that storage to [`attach`] with a closure for the backward pass. The closure
//! keeps exactly what it needs (saved statistics, detached inputs). When no input is tracked
//! (a teacher, evaluation), the closure is dropped at once and no graph is recorded.

use std::sync::Mutex;

use candle_core::op::BackpropOp;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Storage,
    Tensor,
};

/// Computes the gradients of `N` inputs from the op's result and the gradient of that result,
/// which is contiguous. An entry may be `None` where the input needs no gradient.
type Backward<const N: usize> =
    Box<dyn Fn(&Tensor, &Tensor) -> Result<[Option<Tensor>; N]> + Send + Sync>;

pub(crate) struct Attached<const N: usize> {
    name: &'static str,
    output: Mutex<Option<(Storage, Shape)>>,
    backward: Backward<N>,
}

impl<const N: usize> Attached<N> {
    fn take(&self) -> Result<(Storage, Shape)> {
        let taken = self.output.lock().map(|mut slot| slot.take());
        match taken {
            Ok(Some(output)) => Ok(output),
            _ => candle_core::bail!("{}: the prepared output was used twice", self.name),
        }
    }

    fn take_cpu(&self) -> Result<(CpuStorage, Shape)> {
        match self.take()? {
            (Storage::Cpu(storage), shape) => Ok((storage, shape)),
            _ => candle_core::bail!("{}: inputs on the CPU, result elsewhere", self.name),
        }
    }

    fn take_cuda(&self) -> Result<(CudaStorage, Shape)> {
        match self.take()? {
            (Storage::Cuda(storage), shape) => Ok((storage, shape)),
            _ => candle_core::bail!("{}: inputs on a GPU, result elsewhere", self.name),
        }
    }

    fn gradients(&self, result: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; N]> {
        (self.backward)(&result.detach(), &grad.detach().contiguous()?)
    }
}

impl CustomOp1 for Attached<1> {
    fn name(&self) -> &'static str {
        self.name
    }
    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.take_cpu()
    }
    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.take_cuda()
    }
    fn bwd(&self, _: &Tensor, result: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let [a] = self.gradients(result, grad)?;
        Ok(a)
    }
}

impl CustomOp2 for Attached<2> {
    fn name(&self) -> &'static str {
        self.name
    }
    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.take_cpu()
    }
    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.take_cuda()
    }
    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        result: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [a, b] = self.gradients(result, grad)?;
        Ok((a, b))
    }
}

impl CustomOp3 for Attached<3> {
    fn name(&self) -> &'static str {
        self.name
    }
    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.take_cpu()
    }
    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.take_cuda()
    }
    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        result: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [a, b, c] = self.gradients(result, grad)?;
        Ok((a, b, c))
    }
}

/// The inputs of an op, as many as candle's custom ops take.
pub(crate) trait Inputs<const N: usize> {
    /// Records the op over these inputs.
    fn record(self, op: Attached<N>) -> Result<Tensor>;
    /// Whether any input is part of a graph.
    fn tracked(&self) -> bool;
}

impl Inputs<1> for [&Tensor; 1] {
    fn record(self, op: Attached<1>) -> Result<Tensor> {
        self[0].apply_op1(op)
    }
    fn tracked(&self) -> bool {
        self.iter().any(|t| t.track_op())
    }
}

impl Inputs<2> for [&Tensor; 2] {
    fn record(self, op: Attached<2>) -> Result<Tensor> {
        self[0].apply_op2(self[1], op)
    }
    fn tracked(&self) -> bool {
        self.iter().any(|t| t.track_op())
    }
}

impl Inputs<3> for [&Tensor; 3] {
    fn record(self, op: Attached<3>) -> Result<Tensor> {
        self[0].apply_op3(self[1], self[2], op)
    }
    fn tracked(&self) -> bool {
        self.iter().any(|t| t.track_op())
    }
}

/// Makes a tensor of `shape` from `storage` whose gradient flows to `inputs` through `backward`.
///
/// `backward(result, grad)` gets detached, contiguous tensors and returns one entry an input.
pub(crate) fn attach<const N: usize, I: Inputs<N>>(
    name: &'static str,
    inputs: I,
    storage: Storage,
    shape: impl Into<Shape>,
    backward: impl Fn(&Tensor, &Tensor) -> Result<[Option<Tensor>; N]> + Send + Sync + 'static,
) -> Result<Tensor> {
    let shape = shape.into();
    if !inputs.tracked() {
        return Ok(Tensor::from_storage(
            storage,
            shape,
            BackpropOp::none(),
            false,
        ));
    }
    inputs.record(Attached {
        name,
        output: Mutex::new(Some((storage, shape))),
        backward: Box::new(backward),
    })
}
