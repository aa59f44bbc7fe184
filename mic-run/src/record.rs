//! What a run tells: steps, evaluations, pictures and what else happens.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Named numbers.
pub type Scalars = BTreeMap<String, f64>;

/// One training step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// 0-based step.
    pub step: u64,
    /// Named losses and other scalars of the step, such as `decode.loss_seg`. A scalar that the
    /// step did not have is absent or NaN (`null` in JSON).
    #[serde(with = "finite_or_null")]
    pub scalars: Scalars,
    /// Base learning rate of the step.
    pub lr: f64,
    /// Wall-clock seconds of the step, data included.
    pub seconds: f64,
}

/// One measurement on a test set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Steps done before it.
    pub step: u64,
    /// Name of the score that tells good from bad (larger is better), one of `scores`.
    pub main: String,
    /// Scores over the whole set by name, such as `mIoU`; fractions from 0 to 1 where they are
    /// shares. `None` where there was nothing to measure.
    pub scores: BTreeMap<String, Option<f64>>,
    /// Names of the classes, in order; empty for a task without classes.
    pub classes: Vec<String>,
    /// Scores by name, each with one value a class; `None` for a class that does not occur.
    pub class_scores: BTreeMap<String, Vec<Option<f64>>>,
    /// Wall-clock seconds it took.
    pub seconds: f64,
}

impl Evaluation {
    /// The score that tells good from bad.
    pub fn main_score(&self) -> Option<f64> {
        self.scores.get(&self.main).copied().flatten()
    }
}

/// A training sample that could not be read and whose place another took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadSample {
    /// The set: `source` or `target`.
    pub set: String,
    /// Its place in the set.
    pub index: usize,
    /// The error, which names the file.
    pub reason: String,
}

impl fmt::Display for BadSample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { set, index, reason } = self;
        write!(f, "{set} sample {index}: {reason}")
    }
}

/// A picture that a run shows, such as an image, its label and the prediction side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// What it shows, the same at every step: a name of letters, digits, `-`, `_` and `/`, which
    /// becomes the TensorBoard tag and part of the file name.
    pub name: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Row-major RGB, 3 bytes a pixel.
    pub rgb: Vec<u8>,
}

/// Values of one tensor, counted into bins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// The tensor's name.
    pub name: String,
    /// Smallest and largest finite value.
    pub range: (f64, f64),
    /// Number of finite values, their sum and the sum of their squares.
    pub moments: (f64, f64, f64),
    /// Upper edges of the bins, ascending.
    pub edges: Vec<f64>,
    /// Values a bin.
    pub counts: Vec<f64>,
}

/// A line of `events.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The program starts to train, from the beginning or from a checkpoint.
    Start {
        /// The first step it will do.
        step: u64,
        /// Seconds since 1970.
        time: f64,
        /// The command line.
        command: String,
    },
    /// A step was done.
    Step(StepRecord),
    /// The network was measured.
    Evaluation(Evaluation),
    /// A checkpoint was written.
    Checkpoint {
        /// Steps done.
        step: u64,
        /// Its folder, relative to the run folder.
        path: String,
        /// Its size.
        bytes: u64,
        /// Seconds of writing, in the background.
        seconds: f64,
        /// Seconds that training stood still for it.
        stopped: f64,
    },
    /// Something that a person should know, such as a skipped step.
    Note {
        /// Steps done.
        step: u64,
        /// What happened.
        text: String,
    },
    /// The program stops training.
    Stop {
        /// Steps done.
        step: u64,
        /// Why: `finished`, `early stop`, `signal` or an error's message.
        reason: String,
        /// Largest resident memory of the process in bytes, where it can be read.
        peak_memory: Option<u64>,
    },
}

impl Event {
    /// Steps that are done once this event has happened.
    pub fn done(&self) -> u64 {
        match self {
            Self::Step(record) => record.step + 1,
            Self::Evaluation(evaluation) => evaluation.step,
            Self::Start { step, .. }
            | Self::Checkpoint { step, .. }
            | Self::Note { step, .. }
            | Self::Stop { step, .. } => *step,
        }
    }
}

/// JSON has no NaN: such a scalar is written as `null`.
mod finite_or_null {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Scalars;

    pub(super) fn serialize<S: Serializer>(scalars: &Scalars, to: S) -> Result<S::Ok, S::Error> {
        let finite = |value: &f64| value.is_finite().then_some(*value);
        let values: BTreeMap<&String, Option<f64>> =
            scalars.iter().map(|(n, v)| (n, finite(v))).collect();
        values.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Scalars, D::Error> {
        let values = BTreeMap::<String, Option<f64>>::deserialize(from)?;
        let value = |v: Option<f64>| v.unwrap_or(f64::NAN);
        Ok(values.into_iter().map(|(n, v)| (n, value(v))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scalar_that_is_no_number_becomes_null_and_comes_back() {
        let scalars = [("a".to_owned(), 0.25), ("b".to_owned(), f64::NAN)].into();
        let step = StepRecord {
            step: 3,
            scalars,
            lr: 0.5,
            seconds: 0.125,
        };
        let line = serde_json::to_string(&Event::Step(step)).unwrap();
        let wanted =
            r#"{"event":"step","step":3,"scalars":{"a":0.25,"b":null},"lr":0.5,"seconds":0.125}"#;
        assert_eq!(line, wanted);
        let Event::Step(back) = serde_json::from_str(&line).unwrap() else {
            panic!("another event");
        };
        assert_eq!(back.scalars["a"], 0.25);
        assert!(back.scalars["b"].is_nan());
    }
}
