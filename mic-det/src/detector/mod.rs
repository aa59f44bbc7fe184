//! Faster R-CNN on a feature pyramid.

mod config;
mod model;
mod network;

pub use config::DetectorConfig;
pub use model::Model;
pub use network::{Detector, Losses, PassOptions};
