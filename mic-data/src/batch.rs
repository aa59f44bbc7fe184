//! Batches as tensors on the CPU.

use candle_core::Tensor;

/// Labelled source images.
#[derive(Clone, Debug)]
pub struct SourceBatch {
    /// f32 (B, 3, H, W), RGB, normalised.
    pub image: Tensor,
    /// U8 (B, H, W), train ids, 255 = ignore.
    pub label: Tensor,
    /// The names of the B images.
    pub names: Vec<String>,
}

/// Target images. There is no field for labels, so none can reach training.
#[derive(Clone, Debug)]
pub struct TargetBatch {
    /// f32 (B, 3, H, W), RGB, normalised.
    pub image: Tensor,
    /// U8 (B, H, W): 1 where pseudo-labels count, 0 where not; `None` is everywhere.
    pub valid: Option<Tensor>,
    /// The names of the B images.
    pub names: Vec<String>,
}

/// What one training step sees.
#[derive(Clone, Debug)]
pub struct UdaBatch {
    /// The source images.
    pub source: SourceBatch,
    /// The target images; `None` when training on the source alone.
    pub target: Option<TargetBatch>,
}
