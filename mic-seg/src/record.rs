//! What a run reports: losses a step, evaluations, time and memory.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::metrics::Metrics;

/// One training step.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StepRecord {
    /// 0-based step.
    pub step: u64,
    /// Named losses and other scalars of the step, such as `decode.loss_seg`,
    /// `mix.decode.loss_seg`, `masked.decode.loss_seg`, `pseudo.weight`.
    pub scalars: BTreeMap<String, f64>,
    /// Base learning rate of the step.
    pub lr: f64,
    /// Wall-clock seconds of the step, data included.
    pub seconds: f64,
}

/// Everything a finished run tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Every step.
    pub steps: Vec<StepRecord>,
    /// Evaluations on the test set by step (the last entry is the final one).
    pub evaluations: Vec<(u64, Metrics)>,
    /// Median wall-clock seconds of a step.
    pub seconds_per_step: f64,
    /// Wall-clock seconds of the whole run, evaluation included.
    pub seconds: f64,
    /// Largest resident memory of the process during the run in bytes, where it can be read.
    pub peak_memory: Option<u64>,
}

/// Watches a run.
pub trait Observer {
    /// Called after every step.
    fn step(&mut self, _record: &StepRecord) {}
    /// Called after every evaluation.
    fn evaluated(&mut self, _step: u64, _metrics: &Metrics) {}
}

/// Watches nothing.
impl Observer for () {}
