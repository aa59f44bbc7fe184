//! What a step does.

use candle_core::Var;
use mic_core::BlockMaskConfig;
use mic_nn::optim::{GroupRules, Rule, Sgd, SgdConfig};
use mic_nn::schedule::StepWarmup;

use crate::rpn::Weighting;

/// What a step does. Whether domain heads take part is a matter of the network's configuration
/// and of whether there are target images.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Masked image consistency.
    pub masked: Option<MaskedConsistency>,
    /// Optimiser and schedule.
    pub sgd: SgdOptions,
    /// Whether the backbone's activations are computed again in the backward pass: less memory,
    /// more time, the same numbers.
    pub recompute: bool,
}

/// Options of masked image consistency.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskedConsistency {
    /// The hidden blocks.
    pub blocks: BlockMaskConfig,
    /// Whether every masked image is blurred. The reference draws once a run whether to blur and
    /// whether to change colours; its published configuration with its default seed does the first
    /// and not the second.
    pub blur: bool,
    /// Momentum of the teacher, the same from the second step on.
    pub alpha: f64,
    /// Detections of the teacher with at least this score become objects.
    pub threshold: f32,
    /// Factor of the masked losses of class and objectness. Those of boxes have no gradient.
    pub lambda: f64,
    /// How these losses are weighted.
    pub weighting: Weighting,
}

impl Default for MaskedConsistency {
    /// The paper's Cityscapes run.
    fn default() -> Self {
        Self {
            blocks: BlockMaskConfig {
                block: 32,
                ratio: 0.5,
            },
            blur: true,
            alpha: 0.9,
            threshold: 0.8,
            lambda: 1.0,
            weighting: Weighting::Prob,
        }
    }
}

/// Stochastic gradient descent with a warm-up and steps.
#[derive(Clone, Debug, PartialEq)]
pub struct SgdOptions {
    /// Learning rate of weights.
    pub lr: f64,
    /// Factor for biases, which do not decay.
    pub bias_lr_mult: f64,
    /// Weight decay of weights.
    pub weight_decay: f64,
    /// Momentum.
    pub momentum: f64,
    /// Learning rate by step.
    pub schedule: StepWarmup,
}

impl Default for SgdOptions {
    /// The paper's Cityscapes run: 60000 steps with one image of each domain.
    fn default() -> Self {
        Self {
            lr: 0.0025,
            bias_lr_mult: 2.0,
            weight_decay: 1e-4,
            momentum: 0.9,
            schedule: StepWarmup {
                milestones: vec![30_000, 40_000],
                gamma: 0.1,
                warmup_iters: 500,
                warmup_factor: 1.0 / 3.0,
            },
        }
    }
}

impl SgdOptions {
    /// An optimiser of these parameters.
    pub(super) fn build(&self, parameters: &[(String, Var)]) -> Sgd {
        let rules = GroupRules {
            base_lr: self.lr,
            base_weight_decay: self.weight_decay,
            rules: vec![Rule {
                key: "bias".into(),
                lr_mult: self.bias_lr_mult,
                decay_mult: 0.0,
            }],
        };
        let config = SgdConfig {
            momentum: self.momentum,
            nesterov: false,
        };
        Sgd::new(parameters, &rules, config)
    }
}
