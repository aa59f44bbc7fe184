//! The network that a configuration names.

use super::ClassifierConfig;
use crate::config::Config;

impl ClassifierConfig {
    /// The network of a checked configuration for `classes` classes.
    pub fn of(config: &Config, classes: usize) -> Self {
        Self {
            backbone: config.model.backbone.clone(),
            bottleneck: config.model.bottleneck,
            classes,
        }
    }
}
