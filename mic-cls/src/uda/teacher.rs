//! The teacher: the student's network over averaged weights.

use candle_core::Tensor;
use mic_core::{EmaTeacher, PseudoLabelConfig, PseudoLabels};
use mic_nn::forward::Forward;

use super::Tap;
use super::TeacherNorm;
use super::passes::show;
use crate::Result;
use crate::model::Network;

/// An exponential moving average of the student's weights that labels whole target images.
///
/// As in the reference it normalises with the batch's statistics, without dropout, and only
/// parameters are averaged: its running statistics start as the student's and are its own from then
/// on. With [`TeacherNorm::Running`] it takes over the student's and normalises with those.
pub struct Teacher {
    network: Network,
    average: EmaTeacher,
    norm: TeacherNorm,
}

impl Teacher {
    /// A copy of the student, whose weights then follow with momentum `alpha`.
    pub(super) fn new(student: &Network, alpha: f64, norm: TeacherNorm) -> Result<Self> {
        let network = student.frozen_copy()?;
        let students = student.store.params().into_iter();
        let pairs = network.store.params().into_iter().zip(students);
        let pairs = pairs.map(|((name, teacher), (_, student))| (name, teacher, student));
        Ok(Self {
            average: EmaTeacher::over(pairs.collect(), alpha)?,
            network,
            norm,
        })
    }

    /// Moves the weights towards the student's; the first step copies them.
    pub(super) fn follow(&mut self, step: u64, student: &Network) -> Result<f64> {
        if self.norm == TeacherNorm::Running {
            let students = student.store.buffers().into_iter();
            for ((_, own), (_, theirs)) in self.network.store.buffers().iter().zip(students) {
                own.set(theirs.get());
            }
        }
        Ok(self.average.update(step)?)
    }

    /// The averaged network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Labels and weights (B) of target images (B, 3, H, W).
    pub(super) fn pseudo_labels(
        &self,
        target: &Tensor,
        config: &PseudoLabelConfig,
        tap: &mut Option<&mut Tap>,
    ) -> Result<PseudoLabels> {
        let logits = self.logits(target)?;
        show(tap, "teacher.logits", &logits);
        Ok(config.label(&logits, None)?)
    }

    /// Class scores (B, K) of images (B, 3, H, W), normalised as in training.
    ///
    /// # Errors
    /// Images that do not fit the network.
    pub fn logits(&self, images: &Tensor) -> Result<Tensor> {
        let mode = match self.norm {
            TeacherNorm::Batch => Forward::batch_statistics(),
            TeacherNorm::Running => Forward::eval(),
        };
        Ok(self.network.net.forward(images, &mode)?.logits)
    }
}
