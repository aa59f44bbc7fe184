//! From image files to training batches: data sets, label maps, transforms, samplers, a loader
//! whose output does not depend on its number of threads, and built-in street scenes.
//!
//! What this crate yields is a pure function of (files, configuration, seed, index).

pub mod error;
pub mod rng;
pub mod sample;
pub mod scenes;

pub use error::{Error, Result};
