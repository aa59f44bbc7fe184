//! The `mic-seg` program; all of it is in [`mic_seg::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    mic_seg::cli::main()
}
