//! What a training step sees.

use candle_core::{DType, Tensor};

use crate::{Error, Result};

/// Images of both domains. The target has no labels: they cannot reach training.
#[derive(Clone, Debug)]
pub struct ClsBatch {
    /// Source images f32 (B, 3, H, W), normalised.
    pub source: Tensor,
    /// Their classes, U8, U32 or I64 (B).
    pub labels: Tensor,
    /// Target images of the same size; `None` for methods that have no use for them.
    pub target: Option<Tensor>,
}

impl ClsBatch {
    /// Source and target images as one batch, source first.
    pub(super) fn images(&self) -> Result<Tensor> {
        Ok(Tensor::cat(&[&self.source, self.target()?], 0)?)
    }

    /// The target images.
    pub(super) fn target(&self) -> Result<&Tensor> {
        self.target.as_ref().ok_or_else(|| {
            Error::Run("the method trains on target images, and the batch has none".into())
        })
    }

    /// Number of source images.
    pub(super) fn sources(&self) -> Result<usize> {
        Ok(self.source.dim(0)?)
    }

    /// The labels as U32.
    pub(super) fn classes(&self) -> Result<Tensor> {
        Ok(self.labels.to_dtype(DType::U32)?)
    }

    /// # Errors
    /// Images and labels that differ in number, or domains that differ in image size.
    pub(super) fn check(&self) -> Result<()> {
        let source = self.source.dims();
        if self.labels.dims() != [self.sources()?] {
            return Err(Error::Run(format!(
                "the batch has {} source images and labels {:?}; every image needs one",
                self.sources()?,
                self.labels.dims()
            )));
        }
        let Some(target) = self.target.as_ref().map(Tensor::dims) else {
            return Ok(());
        };
        if source.len() != target.len() || source[1..] != target[1..] {
            return Err(Error::Run(format!(
                "source images are {source:?} and target images {target:?}; one batch norm sees both, \
                 so that they need the same size: set data.size"
            )));
        }
        Ok(())
    }
}
