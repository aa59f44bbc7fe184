//! The binary `mic-cls`, which has nothing to run yet and says so.

use std::process::ExitCode;

/// Image classification across domains: not available yet.
#[derive(clap::Parser)]
#[command(version, after_help = mic_cls::NOT_YET)]
struct Arguments {}

#[allow(clippy::print_stderr)] // The message is all this program does.
fn main() -> ExitCode {
    let Arguments {} = clap::Parser::parse();
    eprintln!("error: {}", mic_cls::NOT_YET);
    ExitCode::from(1)
}
