//! The scalars of a step.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use mic_run::NonFinite;

use crate::Result;

#[derive(Default)]
pub(super) struct Log {
    pub(super) scalars: BTreeMap<String, f64>,
}

impl Log {
    /// Notes a loss times `factor`; a loss that is not finite is an error.
    pub(super) fn loss(&mut self, key: &str, loss: &Tensor, factor: f64) -> Result<()> {
        let value = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        if !value.is_finite() {
            return Err(NonFinite {
                name: key.to_owned(),
                value,
                tensors: Vec::new(),
            }
            .into());
        }
        self.note(key, value * factor);
        Ok(())
    }

    pub(super) fn note(&mut self, key: &str, value: f64) {
        self.scalars.insert(key.to_owned(), value);
    }
}
