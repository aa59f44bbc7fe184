//! A run in a process of its own.

use std::ffi::OsString;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use mic_run::StopRequest;

use super::program::Program;
use crate::failure::Failure;

/// How often the process is looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Killed(i32),
}

/// Runs a command line of the program in a process of its own, so that a run that is killed leaves the
/// others alone, and the memory that it reports is its own. A request to stop is passed on, and the
/// process has the time that it needs to save.
///
/// # Errors
/// A process that cannot be started.
pub(super) fn run(
    program: Program,
    words: &[OsString],
    stop: &StopRequest,
    show: bool,
) -> Result<Ended, Failure> {
    let this = std::env::current_exe().context("finding this program")?;
    let output = || {
        if show {
            Stdio::inherit()
        } else {
            Stdio::null()
        }
    };
    let mut command = Command::new(this);
    end_with_this_process(&mut command);
    let child = command
        .args(["program", program.task()])
        .args(words)
        .stdin(Stdio::null())
        .stdout(output())
        // Out of reach of the terminal's Ctrl-C, which is passed on once.
        .process_group(0)
        .spawn()
        .context("cannot start this program again")?;
    Ok(wait(child, stop)?)
}

/// Lets the process save and end where this one is killed.
#[cfg(target_os = "linux")]
fn end_with_this_process(command: &mut Command) {
    // SAFETY: between fork and exec there is one call to the system.
    unsafe {
        command.pre_exec(
            || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            },
        );
    }
}

#[cfg(not(target_os = "linux"))]
fn end_with_this_process(_: &mut Command) {}

fn wait(mut child: Child, stop: &StopRequest) -> anyhow::Result<Ended> {
    let mut told = false;
    loop {
        if let Some(status) = child.try_wait().context("waiting for a run")? {
            let killed = status.signal().map(Ended::Killed);
            return Ok(killed.unwrap_or(Ended::Code(status.code().unwrap_or(1))));
        }
        if stop.requested() && !told {
            told = true;
            terminate(&child);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Asks a process to save and end.
fn terminate(child: &Child) {
    if let Ok(id) = libc::pid_t::try_from(child.id()) {
        // SAFETY: the child has not been waited for, so that the number is its own.
        let _ = unsafe { libc::kill(id, libc::SIGTERM) };
    }
}
