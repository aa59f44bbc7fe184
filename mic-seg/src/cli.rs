//! The command line of `mic-seg`.

mod data;
mod eval;
mod predict;
mod train;

use std::error::Error as _;
use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mic_run::runs::cli::RunsCommand;

use crate::{Error, Result};

/// Train segmentation networks across a domain gap with Masked Image Consistency, measure them,
/// and use them on images.
///
/// Exit codes: 0 done, 1 a run that failed, 2 wrong usage or configuration, 3 a training run that a
/// signal stopped (it is saved).
#[derive(Debug, Parser)]
#[command(name = "mic-seg", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(train::Args),
    Eval(eval::Args),
    Predict(predict::Args),
    Data(data::Args),
    /// Look at runs.
    Runs {
        #[command(subcommand)]
        command: RunsCommand,
    },
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Train(args) => train::run(&args),
        Command::Eval(args) => eval::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Predict(args) => predict::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Data(args) => data::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Runs { command } => runs(&command).map(|()| ExitCode::SUCCESS),
    };
    let error = match done {
        Ok(code) => return code,
        Err(error) => error,
    };
    // Nothing is left to do if standard error is closed.
    let _ = writeln!(std::io::stderr(), "error: {}", message(&error));
    match error {
        Error::Config(_) | Error::Harness(mic_run::Error::Usage(_)) => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}

fn runs(command: &RunsCommand) -> Result<()> {
    print(&command.run()?)
}

/// `value` as indented JSON with a line end.
fn json(value: &impl serde::Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n")
        .map_err(|error| Error::Run(format!("cannot write the results as JSON: {error}")))
}

/// The error with those of its causes that it does not already tell, without the stack frames that
/// candle appends to its messages under `RUST_BACKTRACE`.
fn message(error: &Error) -> String {
    let told = |error: &dyn std::error::Error| {
        let text = error.to_string();
        let end = text.find("\n   0: ").unwrap_or(text.len());
        text[..end].trim_end().to_owned()
    };
    let mut text = told(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        let reason = told(error);
        if !text.contains(&reason) {
            text = format!("{text}: {reason}");
        }
        cause = error.source();
    }
    text
}

/// A note for people, on standard error.
fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Writes results, which are what standard output is for.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Error::Run(format!("cannot write to standard output: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn causes_are_told_once() {
        let io = std::io::Error::other("disk on fire");
        let data = mic_data::Error::Io {
            path: "a.png".into(),
            source: io,
        };
        assert_eq!(message(&data.into()), "cannot access a.png: disk on fire");
    }

    #[test]
    fn stack_frames_are_left_out() {
        let error = Error::Run("no such tensor\n   0: candle_core::bt\n   1: main\n".into());
        assert_eq!(message(&error), "no such tensor");
    }
}
