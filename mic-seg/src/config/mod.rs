//! A run's configuration: the TOML file as written ([`raw`]), and what it means once checked
//! ([`Config`]). Nothing that holds a [`Config`] checks it again.

mod check;
mod checked;
mod data;
mod distance;
mod keys;
mod label_map;
mod mask;
mod method;
mod model;
mod optimizer;
mod overrides;
pub mod raw;
mod read;
mod set;

pub use checked::{Config, TrainConfig};
pub use data::DataConfig;
pub use mask::{Images, MaskMode, MaskOptions, Threshold};
pub use method::{ColourOptions, DacsOptions, FeatureDistance, Method};
pub use model::{Backbone, CustomMit, ModelConfig, Stem};
pub use optimizer::{OptimizerConfig, OptimizerKind, Schedule};
pub use set::{FolderSource, SetConfig, SetKind};
