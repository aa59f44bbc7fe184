//! The teacher: the student's network over averaged weights.

use candle_core::Tensor;
use mic_core::{EmaTeacher, PseudoLabelConfig, PseudoLabels};
use mic_data::TargetBatch;
use mic_nn::forward::Forward;
use mic_nn::params::Store;

use super::trace::Trace;
use crate::Result;
use crate::model::{Segmentor, SegmentorConfig};

/// An exponential moving average of the student's weights that predicts pseudo-labels.
///
/// As in the reference it predicts with the batch's statistics in batch norm and without dropout,
/// and only parameters are averaged: its running statistics are its own.
pub struct Teacher {
    net: Segmentor,
    store: Store,
    average: EmaTeacher,
}

impl Teacher {
    /// A copy of the student in `student`, whose weights then follow with momentum `alpha`.
    pub(super) fn new(model: &SegmentorConfig, student: &Store, alpha: f64) -> Result<Self> {
        let store = student.frozen_copy()?;
        let net = Segmentor::new(model, &store.root())?;
        let pairs = store
            .params()
            .into_iter()
            .zip(student.params())
            .map(|((name, teacher), (_, student))| (name, teacher, student))
            .collect();
        Ok(Self {
            net,
            store,
            average: EmaTeacher::over(pairs, alpha)?,
        })
    }

    /// Moves the weights towards the student's, once a step; the first step copies them.
    pub(super) fn follow(&mut self, step: u64) -> Result<()> {
        // The later parts of an accumulated batch find the student as it was.
        if self.average.last_step() != Some(step) {
            self.average.update(step)?;
        }
        Ok(())
    }

    /// The network.
    pub fn net(&self) -> &Segmentor {
        &self.net
    }

    /// The averaged parameters and the teacher's own buffers.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Labels and weights of the target images. The tap sees the logits as `<name>.logits`.
    pub(super) fn pseudo_labels(
        &self,
        target: &TargetBatch,
        config: &PseudoLabelConfig,
        name: &str,
        trace: &mut Trace,
    ) -> Result<PseudoLabels> {
        let (_, _, height, width) = target.image.dims4()?;
        let output = self
            .net
            .forward(&target.image, &Forward::batch_statistics())?;
        trace.show(&format!("{name}.logits"), &output.logits);
        let size = (height, width);
        let logits: Tensor = mic_nn::ops::resize_bilinear(&output.logits, size, false)?;
        Ok(config.label(&logits, target.valid.as_ref())?)
    }
}
