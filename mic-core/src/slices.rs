//! Reading contiguous CPU tensors as slices, so that fused loops need no intermediate tensors.

use candle_core::{CpuStorage, DType, Storage, Tensor, WithDType};

use crate::Result;

/// Whether the fused f32 loops apply: on the CPU, f32, and outside of any gradient graph.
pub(crate) fn is_plain_f32(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32 && !tensor.track_op()
}

/// Calls `read` with the elements of a CPU tensor of element type `T`, in row-major order; a
/// tensor that is not contiguous is copied first.
pub(crate) fn with_slice<T: WithDType, R>(
    tensor: &Tensor,
    read: impl FnOnce(&[T]) -> R,
) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(cpu) = &*storage else {
        return crate::error::input("expected a tensor on the CPU; move it with to_device".into());
    };
    let all = CpuStorage::as_slice::<T>(cpu)?;
    let start = layout.start_offset();
    Ok(read(&all[start..start + layout.shape().elem_count()]))
}
