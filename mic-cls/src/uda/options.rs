//! What a step does. The defaults named here are those of the published code; where the paper or
//! common sense say otherwise, the other choice is an option, too.

use mic_core::augment::{Gates, Normalization, StrongConfig};
use mic_core::{BlockMaskConfig, Confidence};
use mic_nn::optim::{SamConfig, SgdConfig};
use mic_nn::schedule::{InverseDecay, WarmStart};

use crate::losses::DomainLoss;

/// The method: source cross-entropy alone without the optional parts.
#[derive(Clone, Debug)]
pub struct Options {
    /// Temperature of minimum class confusion on the target.
    pub mcc: Option<f64>,
    /// Adversarial adaptation (CDAN).
    pub adversary: Option<AdversaryOptions>,
    /// Sharpness-aware task losses (SDAT).
    pub ascent: Option<Ascent>,
    /// Masked image consistency.
    pub masked: Option<MaskedConsistency>,
    /// Factor of all target losses where they update the weights.
    pub trade_off: f64,
    /// Which passes move the student's running statistics.
    pub statistics: Statistics,
    /// Whether the backbone's activations are computed again in the backward pass: less memory, more
    /// time, the same numbers.
    pub recompute: bool,
    /// Optimiser of student and discriminator.
    pub sgd: SgdOptions,
}

impl Options {
    /// Whether source and target go through the student as one batch.
    pub fn joint(&self) -> bool {
        self.mcc.is_some() || self.adversary.is_some()
    }

    /// Whether the method trains on target images.
    pub fn needs_target(&self) -> bool {
        self.joint() || self.masked.is_some()
    }
}

/// Adversarial adaptation.
#[derive(Clone, Debug, PartialEq)]
pub struct AdversaryOptions {
    /// Width of the discriminator's hidden layers.
    pub hidden: usize,
    /// Width of the randomised map; `None` for the multilinear one.
    pub randomized: Option<usize>,
    /// Whether certain predictions count more (CDAN+E).
    pub by_entropy: bool,
    /// How the discriminator's errors are measured.
    pub loss: DomainLoss,
    /// The coefficient of gradient reversal by step of the adversary.
    pub reversal: WarmStart,
}

/// The first pass of SDAT.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ascent {
    /// Length of the step upwards.
    pub sam: SamConfig,
    /// Whether the trade-off scales the target losses of this pass, too (the published code: no).
    pub trade_off: bool,
}

/// Masked image consistency (MIC, sec. 3.2).
#[derive(Clone, Debug)]
pub struct MaskedConsistency {
    /// The hidden blocks.
    pub blocks: BlockMaskConfig,
    /// Colour changes of the masked images.
    pub strong: Option<StrongConfig>,
    /// When it is decided whether colours change and images blur.
    pub gating: Gating,
    /// How images are normalised.
    pub normalization: Normalization,
    /// Bound of the teacher's momentum.
    pub alpha: f64,
    /// Weight of a pseudo-label: [`Confidence::MaxProbability`] or [`Confidence::None`].
    pub confidence: Confidence,
    /// Which losses the weight enters.
    pub weighted: WeightedLosses,
    /// The teacher's batch norm.
    pub teacher_norm: TeacherNorm,
}

/// When the gates of colour jitter and blur are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gating {
    /// Once for the whole run, as in the published code.
    Run(Gates),
    /// At every step.
    Step,
}

/// Which masked losses the confidence of pseudo-labels enters. Without an ascent there is one loss,
/// and it is weighted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightedLosses {
    /// The ascent's alone, as in the published code: the gradient that updates the weights has none.
    #[default]
    Ascent,
    /// Both, as in the paper's eq. 5.
    Both,
}

/// What the teacher's batch norm normalises with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TeacherNorm {
    /// The statistics of the target batch, as in the published code.
    #[default]
    Batch,
    /// Running statistics, copied from the student at every step.
    Running,
}

/// Which forward passes move the running statistics that evaluation uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Statistics {
    /// Every one, as in the published code: with SDAT and masking four a step, two of them at
    /// perturbed weights and two on masked images.
    #[default]
    EveryPass,
    /// The first one on unmasked images, at unperturbed weights.
    CleanPass,
}

/// Stochastic gradient descent with its schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdOptions {
    /// Learning rate at the start.
    pub lr: f64,
    /// Factor of the backbone's learning rate.
    pub backbone_lr_mult: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Whether norms and biases decay, too (the published code: yes).
    pub decay_all: bool,
    /// Momentum.
    pub momentum: SgdConfig,
    /// The learning rate by step.
    pub schedule: InverseDecay,
}
