//! The program that trains a task.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use mic_run::config::{Carried, Catalogue};
use toml::Table;

use crate::failure::Failure;

/// A program: `mic-seg`, `mic-cls` or `mic-det`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Program {
    /// Segmentation.
    Seg,
    /// Classification.
    Cls,
    /// Detection.
    Det,
}

/// A program and its own command line.
#[derive(Clone, Debug, Args)]
pub struct ProgramArgs {
    /// Which.
    program: Program,
    /// Its words.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

impl ProgramArgs {
    /// Runs the program in this process.
    pub fn run(self) -> ExitCode {
        let name = OsString::from(self.program.name());
        let words = std::iter::once(name).chain(self.words);
        match self.program {
            Program::Seg => mic_seg::cli::run(words),
            Program::Cls => mic_cls::cli::run(words),
            Program::Det => mic_det::cli::run(words),
        }
    }
}

impl Program {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Seg, Self::Cls, Self::Det];

    /// `seg`, `cls` or `det`.
    pub const fn task(self) -> &'static str {
        match self {
            Self::Seg => "seg",
            Self::Cls => "cls",
            Self::Det => "det",
        }
    }

    /// `mic-seg`, `mic-cls` or `mic-det`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seg => "mic-seg",
            Self::Cls => "mic-cls",
            Self::Det => "mic-det",
        }
    }

    /// The configurations that it carries.
    ///
    /// # Errors
    /// A catalogue that does not hold together.
    pub fn catalogue(self) -> Result<Catalogue, Failure> {
        match self {
            Self::Seg => mic_seg::config::catalogue().map_err(Failure::of),
            Self::Cls => mic_cls::config::catalogue().map_err(Failure::of),
            Self::Det => mic_det::config::catalogue().map_err(Failure::of),
        }
    }

    /// A configuration with `sets` on top and all defaults filled in.
    ///
    /// # Errors
    /// [`Failure::Usage`] names the key.
    pub fn expand(self, file: &Carried, sets: &[String]) -> Result<String, Failure> {
        let (text, name) = (file.text, file.name);
        match self {
            Self::Seg => {
                let config = mic_seg::config::Config::from_toml_str(text, name, sets);
                config.and_then(|c| c.to_toml()).map_err(Failure::of)
            }
            Self::Cls => {
                let config = mic_cls::config::Config::from_toml_str(text, name, sets);
                config.and_then(|c| c.to_toml()).map_err(Failure::of)
            }
            Self::Det => {
                let config = mic_det::config::Config::from_toml_str(text, name, sets);
                config.and_then(|c| c.to_toml()).map_err(Failure::of)
            }
        }
    }

    /// Opens the sets of images of a configuration.
    ///
    /// # Errors
    /// What is missing or does not fit.
    pub fn open_sets(self, file: &Carried, sets: &[String]) -> Result<(), Failure> {
        let (text, name) = (file.text, file.name);
        match self {
            Self::Seg => {
                let config = mic_seg::config::Config::from_toml_str(text, name, sets);
                let opened = config.and_then(|c| mic_seg::train::Setup::new(&c).map(|_| ()));
                opened.map_err(Failure::of)
            }
            Self::Cls => {
                let config = mic_cls::config::Config::from_toml_str(text, name, sets);
                let opened = config.and_then(|c| mic_cls::sets::Sets::open(&c).map(|_| ()));
                opened.map_err(Failure::of)
            }
            Self::Det => {
                let config = mic_det::config::Config::from_toml_str(text, name, sets);
                let opened = config.and_then(|c| mic_det::sets::Sets::open(&c).map(|_| ()));
                opened.map_err(Failure::of)
            }
        }
    }
}

/// The value of `a.b.c`.
pub(super) fn value<'a>(table: &'a Table, path: &str) -> Option<&'a toml::Value> {
    let mut keys = path.split('.');
    let first = table.get(keys.next()?)?;
    keys.try_fold(first, |value, key| value.get(key))
}
