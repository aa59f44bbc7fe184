//! The teacher: the student's network over averaged weights.

use mic_core::EmaTeacher;

use crate::Result;
use crate::batch::TargetBatch;
use crate::detector::Model;
use crate::roi::Detections;

/// An exponential moving average of the student that detects on whole target images.
///
/// As in the reference it follows with a constant momentum from the second step on, buffers
/// included, and predicts in evaluation mode.
pub struct Teacher {
    model: Model,
    alpha: f64,
}

impl Teacher {
    /// A copy of the student, which then follows with momentum `alpha`.
    pub(super) fn new(student: &Model, alpha: f64) -> Result<Self> {
        Ok(Self {
            model: student.frozen_copy()?,
            alpha,
        })
    }

    /// Moves everything towards the student; the first step copies it.
    pub(super) fn follow(&mut self, step: u64, student: &Model) -> Result<()> {
        let (own, theirs) = (&self.model.store, &student.store);
        let mut pairs: Vec<_> = own
            .params()
            .into_iter()
            .zip(theirs.params())
            .map(|((name, own), (_, theirs))| (name, own, theirs))
            .collect();
        // Buffers may have been replaced since the last step.
        for ((name, own), (_, theirs)) in own.buffers().into_iter().zip(theirs.buffers()) {
            match own.get().dtype().is_float() {
                true => pairs.push((name, own.get(), theirs.get())),
                false => own.set(theirs.get()),
            }
        }
        let momentum = if step == 0 { 0.0 } else { self.alpha };
        EmaTeacher::over(pairs, self.alpha)?.update_with_momentum(step, momentum)?;
        Ok(())
    }

    /// The averaged network.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// What it finds in target images.
    pub(super) fn detect(&self, target: &TargetBatch) -> Result<Vec<Detections>> {
        self.model.net.detect(&target.image, &target.sizes)
    }
}
