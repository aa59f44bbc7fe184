//! `runs list` and `runs compare` on a command line.

use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;

use super::{compare, list, table};
use crate::cli::print;
use crate::{Error, Result};

/// Look at runs.
#[derive(Clone, Debug, clap::Args)]
pub struct RunsArgs {
    #[command(subcommand)]
    command: RunsCommand,
}

impl RunsArgs {
    /// Prints what was asked for.
    ///
    /// # Errors
    /// Those of [`RunsCommand::run`], and a standard output that is closed or full.
    pub fn print<E: From<Error>>(&self) -> std::result::Result<(), E> {
        Ok(print(&self.command.run()?)?)
    }
}

/// Look at runs.
#[derive(Clone, Debug, Subcommand)]
pub enum RunsCommand {
    /// List the runs below a folder: state, steps, scores, time and memory
    List {
        /// The folder
        #[arg(default_value = "runs")]
        folder: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Compare two runs: scores, classes, time and memory, configuration
    Compare {
        /// Folder of the first run
        a: PathBuf,
        /// Folder of the second run
        b: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl RunsCommand {
    /// The text to print.
    ///
    /// # Errors
    /// A folder that is none, or a run that cannot be read.
    pub fn run(&self) -> Result<String> {
        match self {
            Self::List { folder, json } => {
                let runs = list(folder)?;
                match (json, runs.is_empty()) {
                    (true, _) => to_json(&runs),
                    (false, true) => Ok(format!("There is no run in {}.\n", folder.display())),
                    (false, false) => Ok(table(&runs).to_text()),
                }
            }
            Self::Compare { a, b, json } => {
                let comparison = compare(a, b)?;
                match json {
                    true => to_json(&comparison),
                    false => Ok(comparison.to_text()),
                }
            }
        }
    }
}

fn to_json(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n")
        .map_err(|error| Error::Run(format!("cannot write JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::runs::sample;

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        command: RunsCommand,
    }

    fn run(words: &[&str]) -> Result<String> {
        let words = std::iter::once("runs").chain(words.iter().copied());
        Cli::try_parse_from(words).unwrap().command.run()
    }

    #[test]
    fn tables_and_json_are_printed() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().to_str().unwrap();
        assert!(
            run(&["list", folder])
                .unwrap()
                .starts_with("There is no run")
        );
        let (a, b) = (root.path().join("a"), root.path().join("b"));
        sample::run(&a, 0.5);
        sample::run(&b, 0.25);
        assert_eq!(run(&["list", folder]).unwrap().lines().count(), 4);
        let json = run(&["list", folder, "--json"]).unwrap();
        let runs: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(runs[1]["last"]["value"], 0.25);
        let (a, b) = (a.to_str().unwrap(), b.to_str().unwrap());
        assert!(run(&["compare", a, b]).unwrap().contains("-25.00"));
        let json = run(&["compare", a, b, "--json"]).unwrap();
        let pairs: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(pairs["scores"][0]["difference"], -0.25);
        assert!(run(&["compare", a, "none"]).is_err());
    }
}
