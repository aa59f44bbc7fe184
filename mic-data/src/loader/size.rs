//! How much memory a result takes.

use candle_core::Tensor;

use crate::bad_samples::Checked;
use crate::batch::{SourceBatch, TargetBatch, UdaBatch};
use crate::classification::ClassificationBatch;
use crate::detection::DetectionBatch;

/// Something whose memory counts towards a loader's limit.
pub trait MemorySize {
    /// Bytes of its pixels and values; names and the like may be left out.
    fn memory_size(&self) -> u64;
}

impl MemorySize for Tensor {
    fn memory_size(&self) -> u64 {
        (self.elem_count() * self.dtype().size_in_bytes()) as u64
    }
}

impl<T: MemorySize> MemorySize for Option<T> {
    fn memory_size(&self) -> u64 {
        self.as_ref().map_or(0, T::memory_size)
    }
}

impl MemorySize for SourceBatch {
    fn memory_size(&self) -> u64 {
        self.image.memory_size() + self.label.memory_size()
    }
}

impl MemorySize for TargetBatch {
    fn memory_size(&self) -> u64 {
        self.image.memory_size() + self.valid.memory_size()
    }
}

impl MemorySize for UdaBatch {
    fn memory_size(&self) -> u64 {
        self.source.memory_size() + self.target.memory_size()
    }
}

impl MemorySize for ClassificationBatch {
    fn memory_size(&self) -> u64 {
        let target = self.target.as_ref().map(|target| &target.image);
        self.source.image.memory_size()
            + self.source.class.memory_size()
            + target.map_or(0, Tensor::memory_size)
    }
}

impl MemorySize for DetectionBatch {
    fn memory_size(&self) -> u64 {
        let target = self.target.as_ref().map(|target| &target.image);
        self.source.image.memory_size() + target.map_or(0, Tensor::memory_size)
    }
}

impl<T: MemorySize> MemorySize for Checked<T> {
    fn memory_size(&self) -> u64 {
        self.value.memory_size()
    }
}
