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
    /// Notes a loss under `key` and hands it on.
    pub(super) fn loss(&mut self, key: &str, loss: Tensor) -> Result<Tensor> {
        let value = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        if !value.is_finite() {
            let found = NonFinite {
                name: key.to_owned(),
                value,
                tensors: Vec::new(),
            };
            return Err(found.into());
        }
        self.note(key, value);
        Ok(loss)
    }

    pub(super) fn note(&mut self, key: &str, value: f64) {
        self.scalars.insert(key.to_string(), value);
    }

    /// The value of `key`, 0 where it was not noted.
    pub(super) fn get(&self, key: &str) -> f64 {
        self.scalars.get(key).copied().unwrap_or(0.0)
    }
}
