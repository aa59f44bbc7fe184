//! The method that a configuration names.

use super::Options;
use crate::config::Config;

impl Options {
    /// The method of a checked configuration.
    pub fn of(config: &Config) -> Self {
        Self {
            masked: config.mask.clone(),
            sgd: config.optimizer.clone(),
            recompute: config.train.recompute,
        }
    }
}
