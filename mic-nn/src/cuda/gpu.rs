//! A device, its memory, and launches on it.

use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg, sys,
};
use candle_core::cuda_backend::{CudaDevice, CudaStorage, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{DType, Device, Result, Shape, Storage, Tensor};

use super::source::Source;
use super::value::Value;

/// Threads of a block wherever a kernel's header does not say otherwise.
pub(super) const THREADS: usize = 256;

/// The device of an op's arguments.
pub(super) struct Gpu {
    op: &'static str,
    pub(super) device: CudaDevice,
}

/// Fresh memory for a result, which a kernel writes in full.
pub(super) struct Room<T> {
    pub(super) slice: CudaSlice<T>,
    device: CudaDevice,
}

/// Memory for activations or statistics.
pub(super) type Floats = Room<f32>;

impl Gpu {
    /// The device of `x`, which has to be F32.
    pub(super) fn of(op: &'static str, x: &Tensor) -> Result<Self> {
        let Device::Cuda(device) = x.device() else {
            candle_core::bail!(
                "{op}: expected a tensor on a CUDA device, got {:?}",
                x.device()
            )
        };
        if x.dtype() != DType::F32 {
            candle_core::bail!(
                "{op}: dtype {:?} is not supported on CUDA, expected F32",
                x.dtype()
            )
        }
        Ok(Self {
            op,
            device: device.clone(),
        })
    }

    /// The address of a contiguous F32 tensor's elements.
    pub(super) fn at(&self, tensor: &Tensor) -> Result<Value> {
        self.after(tensor, 0)
    }

    /// The address of element `index` of a contiguous F32 tensor.
    pub(super) fn after(&self, tensor: &Tensor, index: usize) -> Result<Value> {
        Ok(Value::pointer(self.address_of(tensor, index)?))
    }

    /// As [`after`](Self::after), as a number.
    pub(super) fn address_of(&self, tensor: &Tensor, index: usize) -> Result<u64> {
        let (guard, layout) = tensor.storage_and_layout();
        let (Storage::Cuda(storage), Some((start, _))) = (&*guard, layout.contiguous_offsets())
        else {
            let op = self.op;
            candle_core::bail!("{op}: expected contiguous tensors on one CUDA device")
        };
        Ok(self.address(storage.as_cuda_slice::<f32>()?, start + index))
    }

    /// The address of element `index` of a slice.
    pub(super) fn address<T>(&self, slice: &CudaSlice<T>, index: usize) -> u64 {
        address(&self.device, slice) + (index * size_of::<T>()) as u64
    }

    /// The address of a tensor that may be absent.
    pub(super) fn optional(&self, tensor: Option<&Tensor>) -> Result<Value> {
        tensor.map_or_else(|| Ok(Value::null()), |t| self.at(t))
    }

    /// Memory for `count` F32.
    pub(super) fn floats(&self, count: usize) -> Result<Floats> {
        self.room(count)
    }

    /// Memory for `count` elements.
    pub(super) fn room<T: DeviceRepr>(&self, count: usize) -> Result<Room<T>> {
        // SAFETY: memory without content; kernels write all of it before anything reads it.
        let slice = unsafe { self.device.alloc::<T>(count.max(1)) }?;
        Ok(Room {
            slice,
            device: self.device.clone(),
        })
    }

    /// Launches a kernel.
    ///
    /// Number and kinds of the arguments have to be the kernel's, sizes within the buffers: see its
    /// header. A launch without blocks does nothing.
    pub(super) fn launch(
        &self,
        source: Source,
        kernel: &str,
        grid: [usize; 3],
        block: [usize; 2],
        arguments: &[Value],
    ) -> Result<()> {
        if grid.contains(&0) {
            return Ok(());
        }
        let op = self.op;
        if grid[0] > i32::MAX as usize || grid[1].max(grid[2]) > u16::MAX as usize {
            candle_core::bail!(
                "{op}: tensors of this size are not supported on CUDA (grid {grid:?})"
            )
        }
        let ptx = source.ptx(self.arch()?)?;
        let function = self
            .device
            .get_or_load_custom_func(kernel, source.name, &ptx)?;
        let mut launch = function.builder();
        for argument in arguments {
            launch.arg(argument.first());
        }
        let [x, y, z] = grid.map(|g| g as u32);
        let configuration = LaunchConfig {
            grid_dim: (x, y, z),
            block_dim: (block[0] as u32, block[1] as u32, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: the callers in this module pass what the kernels' headers ask for, over buffers
        // of the sizes named there, which stay allocated until the stream has passed the launch.
        unsafe { launch.launch(configuration) }.w()?;
        Ok(())
    }

    /// A one-dimensional launch of at least `count` threads.
    pub(super) fn over(
        &self,
        source: Source,
        kernel: &str,
        count: usize,
        arguments: &[Value],
    ) -> Result<()> {
        let grid = [count.div_ceil(THREADS), 1, 1];
        self.launch(source, kernel, grid, [THREADS, 1], arguments)
    }

    /// A launch over planes and their pixels.
    pub(super) fn planes(
        &self,
        source: Source,
        kernel: &str,
        planes: usize,
        pixels: usize,
        arguments: &[Value],
    ) -> Result<()> {
        let grid = [planes, pixels.div_ceil(THREADS), 1];
        self.launch(source, kernel, grid, [THREADS, 1], arguments)
    }

    /// The virtual architecture to compile for: PTX runs on its own compute capability and later.
    fn arch(&self) -> Result<&'static str> {
        use sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR;
        let stream = self.device.cuda_stream();
        let major = stream.context().attribute(MAJOR).w()?;
        match major {
            ..8 => {
                let op = self.op;
                candle_core::bail!(
                    "{op}: the GPU has compute capability {major}, expected 8.0 or later"
                )
            }
            8 => Ok("compute_80"),
            _ => Ok("compute_90"),
        }
    }
}

fn address<T>(device: &CudaDevice, slice: &CudaSlice<T>) -> u64 {
    let stream = device.cuda_stream();
    // What it returns beside the address orders streams; there is one.
    let (address, _one_stream) = slice.device_ptr(&stream);
    address
}

impl<T> Room<T> {
    /// Its address.
    pub(super) fn at(&self) -> Value {
        Value::pointer(address(&self.device, &self.slice))
    }

    /// The address of element `index`.
    pub(super) fn from(&self, index: usize) -> Value {
        let bytes = index * size_of::<T>();
        Value::pointer(address(&self.device, &self.slice) + bytes as u64)
    }
}

impl Floats {
    /// The storage of a result.
    pub(super) fn storage(self) -> Storage {
        Storage::Cuda(CudaStorage::wrap_cuda_slice(self.slice, self.device))
    }

    /// A tensor without a graph.
    pub(super) fn tensor(self, shape: impl Into<Shape>) -> Tensor {
        Tensor::from_storage(self.storage(), shape, BackpropOp::none(), false)
    }
}

/// A copy of a tensor's storage: what candle has computed, for a result of our own.
pub(super) fn storage_of(tensor: &Tensor) -> Result<Storage> {
    let (guard, layout) = tensor.storage_and_layout();
    guard.try_clone(layout)
}
