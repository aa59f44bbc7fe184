//! From a TOML file to a [`Config`].

use std::path::Path;

use mic_run::config::read;

use super::raw::RawConfig;
use super::{Config, catalogue, keys};
use crate::{Error, Result};

impl Config {
    /// Reads a TOML file, applies `sets` (`key.path=value`, later ones win) and checks the result.
    /// Where there is no such file, a configuration or a run of the [`catalogue`] may have that name.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] names the file or key, what was found and what is allowed.
    pub fn from_file(path: &Path, sets: &[String]) -> Result<Self> {
        let opened = catalogue()?.open(path)?;
        let sets = [&opened.sets, sets].concat();
        Self::from_toml_str(&opened.text, &opened.origin, &sets)
    }

    /// As [`Config::from_file`] from text; `source_name` stands for the file in messages. The limit
    /// on decoding holds for the whole process from then on.
    ///
    /// # Errors
    ///
    /// Those of [`Config::from_file`].
    pub fn from_toml_str(text: &str, source_name: &str, sets: &[String]) -> Result<Self> {
        let raw: RawConfig = read(text, source_name, sets, &keys::known()?)?;
        let config = raw.check().map_err(|error| match error {
            Error::Config(message) => Error::Config(format!("{source_name}: {message}")),
            other => other,
        })?;
        config.data.loading.limit_decoding();
        Ok(config)
    }
}
