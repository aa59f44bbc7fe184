//! Faster R-CNN on a feature pyramid.

mod config;
mod network;

pub use config::DetectorConfig;
pub use network::{Detector, Losses, PassOptions};
