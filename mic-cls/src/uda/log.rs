//! The scalars of a step.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use crate::{Error, Result};

pub(super) struct Log {
    step: u64,
    pub(super) scalars: BTreeMap<String, f64>,
}

impl Log {
    pub(super) fn new(step: u64) -> Self {
        Self {
            step,
            scalars: BTreeMap::new(),
        }
    }

    /// Notes a loss under `key` and hands it on.
    pub(super) fn loss(&mut self, key: &str, loss: Tensor) -> Result<Tensor> {
        let value = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        if !value.is_finite() {
            return Err(Error::Run(format!(
                "loss {key} is {value} at step {}: the run stops here; a smaller optimizer.lr \
                 usually helps",
                self.step
            )));
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
