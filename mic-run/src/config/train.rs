//! Length and evaluation of a run, where a student and its teacher learn.

use std::path::PathBuf;

use super::check::{one_of, refuse};
use crate::Result;

/// Length and evaluation of a run whose best checkpoint is chosen by `S`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainConfig<S> {
    /// Iterations, at least 1.
    pub iterations: u64,
    /// Images of each domain in a batch, at least 1.
    pub batch: usize,
    /// Iterations between evaluations; 0 evaluates at the end only.
    pub eval_every: u64,
    /// What the best checkpoint is chosen by.
    pub select: S,
    /// The network that is evaluated and kept.
    pub evaluate: Evaluated,
    /// Whether the backbone's activations are computed again in the backward pass.
    pub recompute: bool,
    /// A checkpoint whose weights to start from.
    pub init_from: Option<PathBuf>,
}

/// The network that is evaluated and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evaluated {
    /// The student.
    Student,
    /// The teacher.
    Teacher,
}

impl Evaluated {
    /// The network that `train.evaluate` names; there is a teacher where images are `masked`.
    ///
    /// # Errors
    /// Another word, and a teacher that is not there.
    pub fn check(word: &str, masked: bool) -> Result<Self> {
        let networks = [("student", Self::Student), ("teacher", Self::Teacher)];
        let evaluate = one_of("train.evaluate", word, &networks)?;
        if evaluate == Self::Teacher && !masked {
            let expected = "\"student\", as there is no teacher without the table mask";
            return refuse("train.evaluate", "\"teacher\"", expected);
        }
        Ok(evaluate)
    }
}
