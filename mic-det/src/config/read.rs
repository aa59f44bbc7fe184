//! From a TOML file to a [`Config`].

use std::path::Path;

use mic_run::config::read_checked;

use super::raw::RawConfig;
use super::{Config, catalogue, keys};
use crate::Result;

impl Config {
    /// Reads a TOML file, applies `sets` (`key.path=value`, later ones win) and checks the result.
    /// Where there is no such file, a configuration or a run of the [`catalogue`] may have that name.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Config`] names the file or key, what was found and what is allowed.
    pub fn from_file(path: &Path, sets: &[String]) -> Result<Self> {
        catalogue()?.load(path, sets, Self::from_toml_str)
    }

    /// As [`Config::from_file`] from text; `source_name` stands for the file in messages.
    ///
    /// # Errors
    ///
    /// Those of [`Config::from_file`].
    pub fn from_toml_str(text: &str, source_name: &str, sets: &[String]) -> Result<Self> {
        let config = read_checked(text, source_name, sets, &keys::known()?, RawConfig::check)?;
        config.data.loading.limit_decoding();
        Ok(config)
    }
}
