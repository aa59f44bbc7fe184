//! The configuration of a run: one TOML file, read, checked, and used as it is from then on.
//!
//! [`RawConfig`] mirrors the file; [`RawConfig::check`] turns it into a [`Config`] or names the key
//! that is wrong. Nothing downstream checks again.

mod catalogue;
mod checked;
mod data;
mod keys;
mod mask;
mod method;
mod model;
mod optimizer;
pub(crate) mod partial;
mod raw;
mod read;

pub use catalogue::catalogue;
pub use checked::{Config, Selection, TrainConfig};
pub use data::{DataConfig, SetConfig, SetKind};
pub use method::Method;
pub use mic_run::config::Evaluated;
pub use model::ModelConfig;
pub use raw::{
    RawConfig, RawData, RawInference, RawMask, RawMethod, RawModel, RawOptimizer, RawResNet,
    RawRoi, RawSet, RawTrain,
};
