//! Gradients summed between GPUs by NCCL.
//!
//! Everything that is not a tensor on the GPU goes over another communicator between the same
//! processes, which also carries NCCL's identifier at the start. NCCL itself waits for ever for a
//! process that has ended; [`average`](super::average) asks all ranks over the other communicator
//! before the first bucket of each step, where a missing process is noticed.

use std::ffi::c_char;

use candle_core::cuda_backend::cudarc::nccl::result::NcclError;
use candle_core::cuda_backend::cudarc::nccl::safe::{Comm, Id, NcclType, ReduceOp};
use candle_core::cuda_backend::{CudaDType, CudaStorage};
use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Tensor};

use super::Communicator;
use crate::{Error, Result};

const OP: &str = "sum over the GPUs";
const ID_BYTES: usize = 128;

/// GPUs, one a process.
pub struct Nccl {
    host: Box<dyn Communicator>,
    comm: Comm,
}

impl Nccl {
    /// Joins the processes' GPUs; `device` is this process's, `host` what the processes have in
    /// common already.
    ///
    /// # Errors
    /// When `device` is no GPU, or NCCL cannot connect them.
    pub fn connect(mut host: Box<dyn Communicator>, device: &Device) -> Result<Self> {
        let Device::Cuda(cuda) = device else {
            return Err(Error::Usage(
                "NCCL sums tensors on GPUs, and this run is on another device: choose a GPU, or \
                 tcp or mpi"
                    .to_owned(),
            ));
        };
        let mut bytes = match host.rank() {
            0 => to_bytes(&Id::new().map_err(failed)?),
            _ => Vec::new(),
        };
        host.broadcast(&mut bytes)?;
        let id = from_bytes(&bytes)?;
        let (rank, world_size) = (host.rank(), host.world_size());
        let comm = Comm::from_rank(cuda.cuda_stream(), rank, world_size, id).map_err(failed)?;
        Ok(Self { host, comm })
    }
}

fn to_bytes(id: &Id) -> Vec<u8> {
    id.internal().iter().flat_map(|c| c.to_ne_bytes()).collect()
}

fn from_bytes(bytes: &[u8]) -> Result<Id> {
    let internal: Vec<c_char> = bytes.iter().map(|b| c_char::from_ne_bytes([*b])).collect();
    let internal: [c_char; ID_BYTES] = internal.try_into().map_err(|_| {
        Error::Run(format!(
            "NCCL's identifier from rank 0 has {} bytes, expected {ID_BYTES}",
            bytes.len()
        ))
    })?;
    Ok(Id::uninit(internal))
}

fn failed(error: NcclError) -> Error {
    Error::Run(format!(
        "NCCL failed with {:?}: set NCCL_DEBUG=INFO for its own messages",
        error.0
    ))
}

struct Sum<'a>(&'a Comm);

impl Sum<'_> {
    fn run<T: CudaDType + NcclType>(
        &self,
        storage: &mut CudaStorage,
        (start, end): (usize, usize),
    ) -> candle_core::Result<()> {
        let slice = storage.as_cuda_slice_mut::<T>()?;
        let mut elements = slice.slice_mut(start..end);
        let sum = self.0.all_reduce_in_place(&mut elements, &ReduceOp::Sum);
        sum.map_err(|error| candle_core::Error::wrap(failed(error)))?;
        Ok(())
    }
}

impl InplaceOp1 for Sum<'_> {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> candle_core::Result<()> {
        candle_core::bail!("{OP}: the tensor is in main memory")
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> candle_core::Result<()> {
        let Some(range) = layout.contiguous_offsets() else {
            candle_core::bail!("{OP}: a contiguous tensor is needed")
        };
        match candle_core::backend::BackendStorage::dtype(storage) {
            DType::F32 => self.run::<f32>(storage, range),
            DType::F64 => self.run::<f64>(storage, range),
            DType::F16 => self.run::<half::f16>(storage, range),
            DType::BF16 => self.run::<half::bf16>(storage, range),
            other => candle_core::bail!("{OP}: dtype {other:?}, expected F32, F64, F16 or BF16"),
        }
    }
}

impl Communicator for Nccl {
    fn rank(&self) -> usize {
        self.host.rank()
    }

    fn world_size(&self) -> usize {
        self.host.world_size()
    }

    fn all_reduce_f32(&mut self, values: &mut [f32]) -> Result<()> {
        self.host.all_reduce_f32(values)
    }

    fn all_reduce_f64(&mut self, values: &mut [f64]) -> Result<()> {
        self.host.all_reduce_f64(values)
    }

    fn broadcast(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        self.host.broadcast(bytes)
    }

    fn all_gather(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.host.all_gather(bytes)
    }

    fn all_reduce_tensor(&mut self, tensor: &Tensor) -> Result<()> {
        match tensor.device() {
            Device::Cuda(_) => Ok(tensor.inplace_op1(&Sum(&self.comm))?),
            _ => self.host.all_reduce_tensor(tensor),
        }
    }

    fn finish(&mut self) -> Result<()> {
        self.host.finish()
    }

    fn abort(&mut self, code: i32) -> ! {
        self.host.abort(code)
    }
}
