//! What the configuration files of all tasks have in common: a TOML file, `--set` on top of it,
//! unknown keys refused with the key that was probably meant, checks of values, and the catalogue of
//! configurations that a program carries.
//!
//! Every error is an [`Error::Usage`](crate::Error::Usage) that names the file or key, what was found
//! and what is allowed.

mod catalogue;
pub mod check;
pub mod cli;
mod keys;
mod overrides;
mod read;
mod spelling;
mod train;

pub use catalogue::{Carried, Catalogue, Configuration, Evidence, Experiment, Opened, Run};
pub use keys::KnownKeys;
pub use read::{read, read_checked, read_file, to_toml};
pub use spelling::nearest;
pub use train::{Evaluated, TrainConfig};
