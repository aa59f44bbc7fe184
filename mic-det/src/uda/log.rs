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

    /// Notes the sum of all losses as `loss`.
    pub(super) fn sum(&mut self) {
        let losses = self.scalars.iter();
        let losses = losses.filter(|(name, _)| name.starts_with("loss_"));
        let sum = losses.map(|(_, value)| value).sum();
        self.note("loss", sum);
    }

    pub(super) fn note(&mut self, key: &str, value: f64) {
        self.scalars.insert(key.to_owned(), value);
    }
}
