//! From image files to training batches: data sets, label maps, transforms, samplers, a loader
//! whose output does not depend on its number of threads, and built-in street scenes.
//!
//! What this crate yields is a pure function of (files, configuration, seed, index).
//!
//! - [`files`] reads and writes images and label maps; [`label_map`] turns raw ids into train ids.
//! - [`datasets`] are random-access sets of samples ([`sample`]).
//! - [`transform`] holds the augmentations, each as sampled parameters and their application.
//! - [`class_stats`] and [`rare_class_sampling`] count and favour rare classes.
//! - [`classification`] and [`detection`] hold what is particular to images with a class or boxes.
//! - [`samplers`] draw the samples of a step.
//! - [`uda`] makes the batch of a step; [`loader`] makes the batches of coming steps ahead of time;
//!   [`bad_samples`] lets a run go on past unreadable files; [`feed`] is all of that together, as a
//!   configuration asks for it.
//! - [`cache`] keeps decoded samples on disk.
//! - [`overlay`] shows label maps in colour.

pub mod bad_samples;
pub mod batch;
pub mod cache;
pub mod check;
pub mod class_stats;
pub mod classes;
pub mod classification;
pub mod contact_sheet;
pub mod datasets;
pub mod detection;
pub mod error;
pub mod feed;
pub mod files;
pub mod findings;
mod joined;
pub mod label_map;
pub mod loader;
pub mod overlay;
mod parallel;
pub mod permutation;
pub mod prepare;
pub mod rare_class_sampling;
pub mod reading;
pub mod rng;
pub mod sample;
pub mod samplers;
pub mod scenes;
pub mod transform;
pub mod uda;

pub use bad_samples::{BadSample, BadSamples, Checked};
pub use batch::{SourceBatch, TargetBatch, UdaBatch};
pub use class_stats::ClassStats;
pub use classes::Classes;
pub use error::{Error, Result};
pub use feed::{Feed, LoadingOptions};
pub use label_map::LabelMap;
pub use loader::{LoaderConfig, LoaderStats, MemorySize, OrderedLoader};
pub use rare_class_sampling::{RareClassSampler, RcsConfig};
pub use reading::{BatchPipeline, Reading};
pub use sample::{IGNORE, Labelled, LabelledSet, Unlabelled, UnlabelledSet, WithoutLabels};
pub use uda::{PipelineConfig, UdaPipeline};
