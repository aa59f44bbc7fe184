//! What the configuration files of all tasks have in common: a TOML file, `--set` on top of it,
//! unknown keys refused with the key that was probably meant, and checks of values.
//!
//! Every error is an [`Error::Usage`](crate::Error::Usage) that names the file or key, what was found
//! and what is allowed.

pub mod check;
mod keys;
mod overrides;
mod read;
mod spelling;

pub use keys::KnownKeys;
pub use read::{read, read_file};
pub use spelling::nearest;
