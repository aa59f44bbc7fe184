//! Batches in the order of a set, each image once.

use std::sync::Arc;

use candle_core::Tensor;

use super::batch::{classes_to_tensor, images_to_tensor};
use super::sample::ClassifiedSet;
use super::transform::ImageTransform;
use crate::Result;
use crate::transform::ValueTables;

/// Images with their classes, for measuring.
#[derive(Clone, Debug)]
pub struct EvaluationBatch {
    /// f32 (B, 3, H, W), RGB, normalised.
    pub image: Tensor,
    /// U32 (B), class ids.
    pub class: Tensor,
    /// Names of the B images.
    pub names: Vec<String>,
}

/// A labelled set, cut into batches without any randomness. The last batch may be shorter.
pub struct EvaluationSet {
    set: Arc<dyn ClassifiedSet>,
    batch: usize,
    transform: ImageTransform,
    tables: ValueTables,
}

impl EvaluationSet {
    /// Batches of `batch` images (at least 1).
    ///
    /// # Errors
    ///
    /// Those of [`ImageTransform::check`].
    pub fn new(
        set: Arc<dyn ClassifiedSet>,
        batch: usize,
        transform: ImageTransform,
    ) -> Result<Self> {
        transform.check()?;
        let tables = transform.tables();
        Ok(Self {
            set,
            batch: batch.max(1),
            transform,
            tables,
        })
    }

    /// Number of batches.
    pub fn batches(&self) -> u64 {
        self.set.len().div_ceil(self.batch) as u64
    }

    /// Batch `index`; empty from [`EvaluationSet::batches`] on.
    ///
    /// # Errors
    ///
    /// Those of the set.
    pub fn batch(&self, index: u64) -> Result<EvaluationBatch> {
        let start = (index as usize)
            .saturating_mul(self.batch)
            .min(self.set.len());
        let end = start.saturating_add(self.batch).min(self.set.len());
        let (mut images, mut names, mut classes) = (Vec::new(), Vec::new(), Vec::new());
        for index in start..end {
            let sample = self.set.get(index)?;
            images.push((self.transform.apply_evaluation(&sample.image), false));
            names.push(sample.name);
            classes.push(sample.class);
        }
        Ok(EvaluationBatch {
            image: images_to_tensor(&images, self.transform.size, &self.tables)?,
            class: classes_to_tensor(classes)?,
            names,
        })
    }
}
