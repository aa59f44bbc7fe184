//! `cargo xtask fetch`: the `mic-hub` program, which is compiled when it is first asked for. What
//! talks to the Hub takes longer to compile than all the rest, so nothing else depends on it.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Context;
use mic_run::cli::note;

/// Arguments for `mic-hub`.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// What mic-hub is to do; `fetch --help` tells.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// Runs `mic-hub` in this folder and returns its exit code.
///
/// # Errors
/// Cargo that cannot be started.
pub fn fetch(args: Args) -> anyhow::Result<i32> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../mic-hub/Cargo.toml");
    if !is_compiled() {
        note("compiling mic-hub: some minutes, this once");
    }
    let status = Command::new(cargo)
        .args(["run", "--quiet", "--manifest-path", manifest, "--"])
        .args(args.args)
        .status()
        .context("cannot start cargo")?;
    // A process that a signal ended has none.
    Ok(status.code().unwrap_or(1))
}

/// Whether the program lies beside this one.
fn is_compiled() -> bool {
    let name = format!("mic-hub{}", std::env::consts::EXE_SUFFIX);
    std::env::current_exe().is_ok_and(|this| this.with_file_name(name).is_file())
}
