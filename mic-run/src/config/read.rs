//! From a TOML file to the struct that mirrors it, and back.

use std::fmt::Display;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Table;

use super::{KnownKeys, overrides};
use crate::{Error, Refusal, Result};

/// The text of a configuration file.
///
/// # Errors
/// A file that cannot be read.
pub fn read_file(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        Error::Usage(format!(
            "cannot read configuration {}: {error}",
            path.display()
        ))
    })
}

/// Reads a configuration and applies `sets` (`key.path=value`, later ones win); `source_name` stands
/// for the file in messages.
///
/// # Errors
/// Text that is no TOML, unknown keys, values of another type: names the file or the `--set`, and the
/// line or key.
pub fn read<R: DeserializeOwned>(
    text: &str,
    source_name: &str,
    sets: &[String],
    known: &KnownKeys,
) -> Result<R> {
    let mut table: Table = text.parse().map_err(|e| failed(source_name, &e))?;
    known.check(&table, source_name)?;
    // The text alone first: its errors point to a line.
    toml::from_str::<R>(text).map_err(|e| failed(source_name, &e))?;
    for set in sets {
        overrides::apply(&mut table, set)?;
        let origin = format!("--set {set}");
        known.check(&table, &origin)?;
        let checked: std::result::Result<R, _> = table.clone().try_into();
        checked.map_err(|e| failed(&origin, &e))?;
    }
    table.try_into().map_err(|e| failed(source_name, &e))
}

/// As [`read`], then `check`, before whose refusals stands the file.
///
/// # Errors
/// Those of [`read`] and of `check`.
pub fn read_checked<R: DeserializeOwned, C, E: Refusal>(
    text: &str,
    source_name: &str,
    sets: &[String],
    known: &KnownKeys,
    check: impl FnOnce(R) -> std::result::Result<C, E>,
) -> std::result::Result<C, E> {
    check(read(text, source_name, sets, known)?).map_err(|error| match error.refusal() {
        Ok(message) => Error::Usage(format!("{source_name}: {message}")).into(),
        Err(other) => other,
    })
}

/// A configuration as TOML, with every default filled in.
///
/// # Errors
/// A number that does not fit into TOML (a seed above 2^63 - 1).
pub fn to_toml(raw: &impl Serialize) -> Result<String> {
    toml::to_string(raw)
        .map_err(|error| Error::Usage(format!("cannot write the configuration: {error}")))
}

fn failed(origin: &str, error: &dyn Display) -> Error {
    let error = error.to_string();
    Error::Usage(format!("{origin}: {}", error.trim_end()))
}
