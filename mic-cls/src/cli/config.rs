//! `mic-cls config`.

use mic_run::config::cli::ConfigCommand;

use crate::Result;
use crate::config::{Config, catalogue};

/// Look at the configurations that the program carries.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mic-cls config list
  mic-cls config list --experiment 1 --runs
  mic-cls config show visda_vit/mic --set train.batch=16
  mic-cls train --config visda_vit/mic --out runs/visda")]
pub(super) struct Args {
    #[command(subcommand)]
    command: ConfigCommand,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let command = &args.command;
    command.print(&catalogue()?, Config::from_file, Config::to_toml)
}
