//! A network with its parameters.

use mic_nn::params::Store;

use super::{Detector, DetectorConfig};
use crate::Result;

/// A [`Detector`] and the store that its tensors are in.
pub struct Model {
    /// The network.
    pub net: Detector,
    /// Its parameters and buffers.
    pub store: Store,
}

impl Model {
    /// Declares the network in `store`, which is empty or holds these very tensors.
    ///
    /// # Errors
    /// A configuration that [`DetectorConfig::check`] refuses.
    pub fn new(config: &DetectorConfig, store: Store) -> Result<Self> {
        Ok(Self {
            net: Detector::new(config, &store.root())?,
            store,
        })
    }

    /// The same network over copies of all tensors, which record no graph.
    ///
    /// # Errors
    /// When a tensor cannot be copied.
    pub fn frozen_copy(&self) -> Result<Self> {
        Self::new(self.net.config(), self.store.frozen_copy()?)
    }
}
