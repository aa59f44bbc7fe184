//! What goes into a checkpoint, held still while training goes on.

use std::collections::HashMap;

use candle_core::{Device, Tensor};

use crate::Result;

/// Tensors of a run by name.
#[derive(Clone, Default)]
pub struct Content {
    /// The networks: `model.*` for the student, `ema_model.*` for its teacher, and others.
    pub weights: Vec<(String, Tensor)>,
    /// What only training needs: the optimiser's state and the like.
    pub training: Vec<(String, Tensor)>,
}

impl Content {
    /// All tensors by name.
    pub fn named(self) -> HashMap<String, Tensor> {
        self.weights.into_iter().chain(self.training).collect()
    }
}

/// A copy of a [`Content`] in main memory that later steps do not change.
pub struct Snapshot(pub(super) Content);

impl Snapshot {
    /// Copies every tensor; this is all that training waits for.
    ///
    /// # Errors
    /// When a tensor cannot be copied.
    pub fn of(content: &Content) -> Result<Self> {
        let copy = |tensors: &[(String, Tensor)]| -> candle_core::Result<Vec<_>> {
            let one = |(name, tensor): &(String, Tensor)| {
                let tensor = tensor.detach();
                let tensor = if tensor.device().is_cpu() {
                    tensor.force_contiguous()?
                } else {
                    tensor.to_device(&Device::Cpu)?
                };
                Ok((name.clone(), tensor))
            };
            tensors.iter().map(one).collect()
        };
        Ok(Self(Content {
            weights: copy(&content.weights)?,
            training: copy(&content.training)?,
        }))
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        let tensors = self.0.weights.iter().chain(&self.0.training);
        let size = |(_, t): &(String, Tensor)| (t.elem_count() * t.dtype().size_in_bytes()) as u64;
        tensors.map(size).sum()
    }
}
