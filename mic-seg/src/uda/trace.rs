//! What a step reports: scalars for the log, and tensors for whoever watches.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use mic_run::NonFinite;

use crate::{Error, Result};

/// Sees named intermediate tensors of a step, such as `mix.img` or `masked.logits`.
pub type Tap<'a> = dyn FnMut(&str, &Tensor) + 'a;

/// The report of one step.
pub(super) struct Trace<'a, 'b> {
    scalars: BTreeMap<String, f64>,
    tap: Option<&'a mut Tap<'b>>,
}

impl<'a, 'b> Trace<'a, 'b> {
    pub(super) fn new(tap: Option<&'a mut Tap<'b>>) -> Self {
        Self {
            scalars: BTreeMap::new(),
            tap,
        }
    }

    /// Whether somebody sees tensors; accuracies are computed only then.
    pub(super) fn watched(&self) -> bool {
        self.tap.is_some()
    }

    pub(super) fn show(&mut self, name: &str, tensor: &Tensor) {
        if let Some(tap) = &mut self.tap {
            tap(name, tensor);
        }
    }

    pub(super) fn scalar(&mut self, key: impl Into<String>, value: f64) {
        self.scalars.insert(key.into(), value);
    }

    /// Logs a loss.
    ///
    /// # Errors
    /// A loss that is not finite.
    pub(super) fn loss(&mut self, key: &str, loss: &Tensor) -> Result<()> {
        let value = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        if !value.is_finite() {
            return Err(NonFinite {
                name: format!("loss {key}"),
                value,
                tensors: Vec::new(),
            }
            .into());
        }
        self.scalar(key, value);
        Ok(())
    }

    /// The scalars so far.
    pub(super) fn take(&mut self) -> BTreeMap<String, f64> {
        std::mem::take(&mut self.scalars)
    }
}

pub(super) fn missing(what: &str) -> Error {
    Error::Run(format!("the step needs {what}, and there are none"))
}
