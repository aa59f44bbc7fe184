//! `mic-det config`.

use mic_run::cli::print;
use mic_run::config::cli::ConfigCommand;

use crate::Result;
use crate::config::{Config, catalogue};

/// Look at the configurations that the program carries.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mic-det config list
  mic-det config list --runs
  mic-det config show cityscapes2foggy_mic --set train.batch=2
  mic-det train --config miniature --out runs/miniature")]
pub(super) struct Args {
    #[command(subcommand)]
    command: ConfigCommand,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let expand = |what: &std::path::Path, sets: &[String]| Config::from_file(what, sets)?.to_toml();
    Ok(print(&args.command.run(&catalogue()?, expand)?)?)
}
