//! `mic-det config`.

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
    let command = &args.command;
    command.print(&catalogue()?, Config::from_file, Config::to_toml)
}
