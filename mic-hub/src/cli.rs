//! The command line of `mic-hub`, which is also `cargo xtask fetch`.

mod data;
mod list;
mod weights;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mic_run::cli::exit;

use crate::Error;

/// Fetch pretrained weights, and see which data sets are there.
///
/// Exit codes: 0 done, 1 something could not be fetched or is not as it should be, 2 wrong usage.
#[derive(Debug, Parser)]
#[command(
    name = "mic-hub",
    bin_name = "cargo xtask fetch",
    version,
    propagate_version = true,
    after_help = "Environment (as Python's huggingface_hub has it):
  HF_HOME, HF_HUB_CACHE    the cache [default: ~/.cache/huggingface]
  HF_TOKEN                 access token, for gated repositories and a higher limit
  HF_ENDPOINT              a mirror of the Hub
  HF_HUB_OFFLINE=1         take everything from the cache
  HF_HUB_DOWNLOAD_TIMEOUT  seconds of silence after which a connection counts as broken
  HTTPS_PROXY, NO_PROXY    a proxy; SSL_CERT_FILE its certificate"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Weights(weights::Args),
    Data(data::Args),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    mic_run::cli::init_logging(0);
    let done = match Cli::parse().command {
        Command::Weights(args) => weights::run(args),
        Command::Data(args) => data::run(&args),
    };
    exit(done.map(|()| ExitCode::SUCCESS), |error| {
        matches!(error, Error::Usage(_))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
