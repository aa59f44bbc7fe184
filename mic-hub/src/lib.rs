//! Pretrained weights from the Hugging Face Hub, and what data sets a run needs.
//!
//! The weights that the paper's runs start from are listed in a [`Manifest`]: repository, commit,
//! file, SHA-256, licence. [`Fetcher`] brings them into the cache that Python's `huggingface_hub`
//! uses as well, each file whole and verified or not at all; [`convert()`](convert::convert) writes
//! them under the names that our networks load, and reports what matched. [`data`] says where data
//! sets come from and checks what is there.
//!
//! The `mic-hub` program (`cargo xtask fetch`) is [`cli`].

mod cache;
pub mod cli;
pub mod convert;
pub mod data;
mod digest;
mod disk;
mod download;
pub mod error;
mod fetch;
mod glob;
mod hub;
mod ledger;
pub mod manifest;
mod partial;
mod progress;
pub mod settings;
mod text;

pub use download::{Event, Watch};
pub use error::{Error, Result};
pub use fetch::{Fetched, Fetcher, How};
pub use manifest::Manifest;
pub use settings::Settings;
