//! The command line of `mic-cls`.

mod config;
mod data;
mod eval;
mod features;
mod predict;
mod train;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use mic_run::cli::exit;
use mic_run::runs::cli::RunsArgs;

use crate::Error;

/// Train image classifiers across a domain gap with Masked Image Consistency, measure them,
/// and use them on images.
///
/// Exit codes: 0 done, 1 a run that failed, 2 wrong usage or configuration, 3 a training run that a
/// signal stopped (it is saved).
#[derive(Debug, Parser)]
#[command(name = "mic-cls", version, propagate_version = true)]
enum Cli {
    Train(train::Args),
    Eval(eval::Args),
    Predict(predict::Args),
    Config(config::Args),
    Data(data::Args),
    Features(features::Args),
    Runs(RunsArgs),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

/// Runs a command line, whose first word is the name of the program. Ends the process where the words
/// are wrong, or ask for help.
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let done = match Cli::parse_from(words) {
        Cli::Train(args) => train::run(&args),
        Cli::Eval(args) => eval::run(&args).map(|()| ExitCode::SUCCESS),
        Cli::Predict(args) => predict::run(&args).map(|()| ExitCode::SUCCESS),
        Cli::Config(args) => config::run(&args).map(|()| ExitCode::SUCCESS),
        Cli::Data(args) => data::run(&args).map(|()| ExitCode::SUCCESS),
        Cli::Features(args) => features::run(&args).map(|()| ExitCode::SUCCESS),
        Cli::Runs(args) => args.print().map(|()| ExitCode::SUCCESS),
    };
    exit(done, |error| matches!(error, Error::Config(_)))
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
