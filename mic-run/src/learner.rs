//! What is trained, as the loop sees it.

use std::collections::HashMap;
use std::fmt;

use candle_core::Tensor;

use crate::checkpoint::Content;
use crate::record::{BadSample, Evaluation, Histogram, Picture, Scalars};

/// What a step tells.
#[derive(Clone, Debug, Default)]
pub struct Stepped {
    /// Named losses and other numbers.
    pub scalars: Scalars,
    /// Base learning rate.
    pub lr: f64,
}

/// A loss or gradient that is not finite: the step must not reach the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct NonFinite {
    /// The loss's name, or `gradient`.
    pub name: String,
    /// Its value, where there is one number.
    pub value: f64,
    /// Tensors that hold such numbers, by name; those that training changes first.
    pub tensors: Vec<String>,
}

impl fmt::Display for NonFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 4;
        write!(f, "{} is {}", self.name, self.value)?;
        let tensors = &self.tensors;
        if tensors.is_empty() {
            return write!(f, " (weights and inputs are finite)");
        }
        write!(
            f,
            " (not finite: {}",
            tensors[..tensors.len().min(SHOWN)].join(", ")
        )?;
        match tensors.len().saturating_sub(SHOWN) {
            0 => write!(f, ")"),
            more => write!(f, " and {more} more)"),
        }
    }
}

impl std::error::Error for NonFinite {}

impl NonFinite {
    /// The names of those of `tensors` that hold a number that is not finite.
    pub fn among<'a>(tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>) -> Vec<String> {
        let bad = |tensor: &Tensor| -> candle_core::Result<bool> {
            if !tensor.dtype().is_float() {
                return Ok(false);
            }
            // A sum of squares is finite only if all of them are (or it overflows, which is no
            // better); zero times infinity is NaN.
            let sum = (tensor.detach().to_dtype(candle_core::DType::F64)? * 0.0)?.sum_all()?;
            Ok(!sum.to_scalar::<f64>()?.is_finite())
        };
        let tensors = tensors.into_iter();
        tensors
            // What cannot be read is not said to be wrong.
            .filter(|(_, tensor)| bad(tensor).unwrap_or(false))
            .map(|(name, _)| name.to_owned())
            .collect()
    }
}

/// Something that is trained step by step.
///
/// A step is a function of its number and of the state: the same state and number give the same
/// new state, bit for bit. Then a run that was killed and resumed ends like one that was not.
pub trait Learner {
    /// The task's error type.
    type Error: From<crate::Error> + fmt::Display;

    /// Whether any process of the run says yes; with one process what it says. The loop asks once
    /// a step whether to stop.
    ///
    /// # Errors
    /// When the processes cannot speak to each other.
    fn any(&mut self, flag: bool) -> Result<bool, Self::Error> {
        Ok(flag)
    }

    /// Does step `step` (counted from 0) wholly: batch, losses, gradients, optimiser. After an
    /// error weights and optimiser are as before the step.
    ///
    /// # Errors
    /// The task's.
    fn step(&mut self, step: u64) -> Result<Stepped, Self::Error>;

    /// The loss or gradient that is not finite, if the error is of that kind.
    fn non_finite(error: &Self::Error) -> Option<&NonFinite>;

    /// Takes back what else a failed step changed (running statistics), so that training can go on
    /// with the next one.
    ///
    /// # Errors
    /// The task's.
    fn undo(&mut self) -> Result<(), Self::Error>;

    /// The training samples that could not be read and were replaced since the last call, each
    /// once in a run.
    fn new_bad_samples(&mut self) -> Vec<BadSample> {
        Vec::new()
    }

    /// Takes back the bad samples that a run had which goes on.
    fn restore_bad_samples(&mut self, _known: &[BadSample]) {}

    /// Measures the network after `done` steps; `None` without test data. Changes nothing that
    /// training depends on.
    ///
    /// # Errors
    /// The task's.
    fn evaluate(&mut self, done: u64) -> Result<Option<Evaluation>, Self::Error>;

    /// Pictures of what the network sees and says after `done` steps, the same ones each time.
    ///
    /// # Errors
    /// The task's.
    fn pictures(&mut self, _done: u64) -> Result<Vec<Picture>, Self::Error> {
        Ok(Vec::new())
    }

    /// Histograms of the weights.
    ///
    /// # Errors
    /// The task's.
    fn histograms(&mut self) -> Result<Vec<Histogram>, Self::Error> {
        Ok(Vec::new())
    }

    /// Everything that steps change. The tensors may share storage with the learner's.
    ///
    /// # Errors
    /// The task's.
    fn content(&self) -> Result<Content, Self::Error>;

    /// Takes back what [`content`](Self::content) gave after `done` steps.
    ///
    /// # Errors
    /// A tensor that is missing, unexpected or of another shape.
    fn restore(&mut self, content: &HashMap<String, Tensor>, done: u64) -> Result<(), Self::Error>;
}
