//! `metrics.json`: what came out of a finished run.

use serde::Serialize;

use crate::checkpoint::Best;
use crate::record::{BadSample, Evaluation};
use crate::train::{Ending, Outcome, Plan};

/// The contents of `metrics.json`.
#[derive(Clone, Debug, Serialize)]
pub struct RunResult<'a> {
    /// The program.
    pub program: &'a str,
    /// The run's seed.
    pub seed: u64,
    /// Steps done.
    pub iterations: u64,
    /// Whether it stopped early because nothing improved.
    pub early_stop: bool,
    /// Steps that were left out because a loss or gradient was not finite.
    pub skipped: &'a [u64],
    /// Training samples that could not be read and were replaced.
    pub bad_samples: &'a [BadSample],
    /// Names of the classes of the scores, in order.
    pub classes: &'a [String],
    /// The last evaluation.
    pub test: Option<&'a Evaluation>,
    /// The best evaluation.
    pub best: Option<&'a Best>,
    /// All evaluations.
    pub evaluations: &'a [Evaluation],
    /// Median wall-clock seconds of a step of the last process.
    pub seconds_per_step: f64,
    /// Wall-clock seconds of the last process.
    pub seconds: f64,
    /// Largest resident memory of the last process.
    pub peak_memory_bytes: Option<u64>,
}

impl<'a> RunResult<'a> {
    /// The result of a run that ended.
    pub fn new(plan: &'a Plan, outcome: &'a Outcome) -> Self {
        let progress = &outcome.progress;
        let test = progress.evaluations.last();
        Self {
            program: &plan.program,
            seed: plan.seed,
            iterations: progress.step,
            early_stop: outcome.ending == Ending::EarlyStop,
            skipped: &progress.skipped,
            bad_samples: &progress.bad_samples,
            classes: test.map_or(&[], |evaluation| &evaluation.classes),
            test,
            best: progress.best.as_ref(),
            evaluations: &progress.evaluations,
            seconds_per_step: outcome.seconds_per_step,
            seconds: outcome.seconds,
            peak_memory_bytes: outcome.peak_memory,
        }
    }
}
