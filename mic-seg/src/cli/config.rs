//! `mic-seg config`.

use mic_run::config::cli::ConfigCommand;

use crate::Result;
use crate::config::{Config, catalogue};

/// Look at the configurations that the program carries.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mic-seg config list
  mic-seg config list --experiment 80 --runs
  mic-seg config show gta2cs_mic_hrda --set train.batch=1
  mic-seg train --config gta2cs_mic_hrda --out runs/hrda")]
pub(super) struct Args {
    #[command(subcommand)]
    command: ConfigCommand,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let command = &args.command;
    command.print(&catalogue()?, Config::from_file, Config::to_toml)
}
