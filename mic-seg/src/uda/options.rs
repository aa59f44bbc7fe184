//! What a training step does.

use mic_core::augment::{Normalization, StrongConfig};
use mic_core::{BlockMaskConfig, PseudoLabelConfig};

use super::FeatureDistance;
use crate::config::MaskMode;
use crate::model::DetailCrop;

/// What is learned from images of the target domain.
#[derive(Clone, Debug, PartialEq)]
pub enum TargetUse {
    /// Nothing: the source alone is trained on.
    Nothing,
    /// Pseudo-labels of mixed images (DACS).
    Mixing,
    /// Predictions that a discriminator cannot tell from those of the source (AdaptSegNet).
    Adversarial(AdversarialOptions),
    /// Predictions of low entropy (MinEnt, from ADVENT).
    Entropy {
        /// Factor of the loss.
        lambda: f64,
    },
}

impl TargetUse {
    /// Whether there have to be target images.
    pub fn needs_target(&self) -> bool {
        *self != Self::Nothing
    }
}

/// How the discriminator's output becomes a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdversarialLoss {
    /// Squared distance to the domain's number (LS-GAN).
    LeastSquares,
    /// Cross-entropy of the domain.
    CrossEntropy,
}

/// Options of adversarial training and of the discriminator's optimiser.
#[derive(Clone, Debug, PartialEq)]
pub struct AdversarialOptions {
    /// Factor of the student's loss.
    pub lambda: f64,
    /// The loss of both sides.
    pub loss: AdversarialLoss,
    /// Channels of the discriminator's first layer.
    pub channels: usize,
    /// Learning rate of its Adam at step 0.
    pub lr: f64,
    /// Decay rates of Adam's moments.
    pub betas: (f64, f64),
    /// Learning rate that it falls to.
    pub min_lr: f64,
    /// The rate at step t is `(lr - min_lr) * (1 - t / max_iters)^power + min_lr`.
    pub power: f64,
    /// Steps of the run.
    pub max_iters: u64,
}

impl AdversarialOptions {
    /// The published options for a run of `max_iters` steps.
    pub fn new(max_iters: u64) -> Self {
        Self {
            lambda: 0.001,
            loss: AdversarialLoss::LeastSquares,
            channels: 64,
            lr: 1e-4,
            betas: (0.9, 0.99),
            min_lr: 0.0,
            power: 0.9,
            max_iters,
        }
    }

    /// The discriminator's learning rate at a step.
    pub fn lr_at(&self, step: u64) -> f64 {
        let done = step as f64 / self.max_iters.max(1) as f64;
        (self.lr - self.min_lr) * (1.0 - done).max(0.0).powf(self.power) + self.min_lr
    }
}

/// What a step does.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is learned from target images.
    pub target: TargetUse,
    /// Whether source images change their colours, too.
    pub augment_source: bool,
    /// Colour jitter and blur.
    pub strong: StrongConfig,
    /// How images are normalised.
    pub normalization: Normalization,
    /// Teacher momentum.
    pub alpha: f64,
    /// Pseudo-labels.
    pub pseudo: PseudoLabelConfig,
    /// Distance to ImageNet features.
    pub feature_distance: Option<FeatureDistance>,
    /// Masked image consistency.
    pub masked: Option<MaskedConsistency>,
    /// The network's detail crop, drawn anew for every pass of the student; `None` without HRDA.
    pub detail: Option<DetailCrop>,
    /// Whether the student's blocks are computed again in the backward pass.
    pub recompute: bool,
}

/// Options of masked image consistency.
#[derive(Clone, Debug)]
pub struct MaskedConsistency {
    /// Which images are masked, and whether their colours change.
    pub mode: MaskMode,
    /// The hidden blocks.
    pub blocks: BlockMaskConfig,
    /// Factor of the masked loss.
    pub lambda: f64,
    /// Momentum and pseudo-labels of a teacher of its own; `None` shares the method's.
    pub own_teacher: Option<(f64, PseudoLabelConfig)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_discriminators_rate_is_the_papers() {
        let options = AdversarialOptions::new(40_000);
        for (step, rate) in [
            (0, 1e-4),
            (1, 9.999_775e-5),
            (1500, 9.661_858e-5),
            (20_000, 5.358_867e-5),
            (39_999, 7.213_5e-9),
        ] {
            let ours = options.lr_at(step);
            assert!((ours / rate - 1.0).abs() < 1e-5, "{ours} at {step}");
        }
    }
}
