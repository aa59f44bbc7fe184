//! From a TOML file to a [`Config`].

use std::path::Path;

use toml::Table;

use super::raw::RawConfig;
use super::{Config, keys, overrides};
use crate::{Error, Result};

impl Config {
    /// Reads a TOML file, applies `sets` (`key.path=value`, later ones win) and checks the result.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] names the file or key, what was found and what is allowed.
    pub fn from_file(path: &Path, sets: &[String]) -> Result<Self> {
        let name = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::Config(format!("cannot read configuration {name}: {error}")))?;
        Self::from_toml_str(&text, &name.to_string(), sets)
    }

    /// As [`Config::from_file`] from text; `source_name` stands for the file in messages.
    ///
    /// # Errors
    ///
    /// Those of [`Config::from_file`].
    pub fn from_toml_str(text: &str, source_name: &str, sets: &[String]) -> Result<Self> {
        let failed = |error: &dyn std::fmt::Display| {
            let error = error.to_string();
            Error::Config(format!("{source_name}: {}", error.trim_end()))
        };
        let mut table: Table = text.parse().map_err(|e| failed(&e))?;
        keys::check(&table, source_name)?;
        // The text alone first: its errors point to a line.
        toml::from_str::<RawConfig>(text).map_err(|e| failed(&e))?;
        for set in sets {
            overrides::apply(&mut table, set)?;
            let origin = format!("--set {set}");
            keys::check(&table, &origin)?;
            let checked: std::result::Result<RawConfig, _> = table.clone().try_into();
            checked.map_err(|error| {
                let error = error.to_string();
                Error::Config(format!("{origin}: {}", error.trim_end()))
            })?;
        }
        let raw: RawConfig = table.try_into().map_err(|e| failed(&e))?;
        raw.check().map_err(|error| match error {
            Error::Config(message) => Error::Config(format!("{source_name}: {message}")),
            other => other,
        })
    }
}
