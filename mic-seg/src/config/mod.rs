//! A run's configuration: the TOML file as written ([`raw`]), and what it means once checked
//! ([`Config`]). Nothing that holds a [`Config`] checks it again.

mod catalogue;
mod checked;
mod data;
mod inference;
mod keys;
mod label_map;
mod layer;
mod mask;
mod method;
mod model;
mod optimizer;
pub mod raw;
mod raw_model;
mod read;
mod set;

pub use catalogue::catalogue;
pub use checked::{Config, TrainConfig};
pub use data::DataConfig;
pub use inference::Inference;
pub use mask::{Images, MaskMode, MaskOptions, Threshold};
pub use method::{
    AdvsegOptions, ColourOptions, DacsOptions, FeatureDistance, Method, PseudoOptions,
};
pub use model::{Backbone, CustomMit, CustomResnet, CustomVit, Head, ModelConfig, Stem};
pub use optimizer::{OptimizerConfig, OptimizerKind, Schedule};
pub use set::{FolderSource, SetConfig, SetKind};
