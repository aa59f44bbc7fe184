//! `cargo xtask`.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use xtask::cli::{Cli, run};

#[global_allocator]
static ALLOCATOR: mic_nn::memory::TensorAllocator = mic_nn::memory::TensorAllocator;

fn main() -> ExitCode {
    // SAFETY: nothing has run before this line, so there is one thread.
    unsafe { mic_nn::threads::stop_candle_spinning() };
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(failure) => {
            // The exit code tells it, too, if the error stream is closed.
            let _ = writeln!(std::io::stderr(), "error: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
