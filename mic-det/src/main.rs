//! The binary `mic-det`, which has nothing to run yet and says so.

use std::process::ExitCode;

/// Object detection across domains: not available yet.
#[derive(clap::Parser)]
#[command(version, after_help = mic_det::NOT_YET)]
struct Arguments {}

#[allow(clippy::print_stderr)] // The message is all this program does.
fn main() -> ExitCode {
    let Arguments {} = clap::Parser::parse();
    eprintln!("error: {}", mic_det::NOT_YET);
    ExitCode::from(1)
}
