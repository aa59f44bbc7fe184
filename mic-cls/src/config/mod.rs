//! A run's configuration: the TOML file as written ([`raw`]), and what it means once checked
//! ([`Config`]). Nothing that holds a [`Config`] checks it again.

mod catalogue;
mod checked;
mod data;
mod keys;
mod mask;
mod method;
mod model;
mod optimizer;
pub mod raw;
mod read;

pub use catalogue::catalogue;
pub use checked::{Config, Selection, TrainConfig};
pub use data::{DataConfig, SetConfig};
pub use mask::{Gates, MaskOptions};
pub use method::{Adversarial, Method, Sharpness};
pub use mic_run::config::Evaluated;
pub use model::ModelConfig;
pub use optimizer::OptimizerConfig;
