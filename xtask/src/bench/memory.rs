//! Peak memory of training: every number comes from a process of its own.

use std::process::Command;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::Options;
use super::networks::{Network, Training};
use super::peer::Peer;
use super::report::Report;
use super::steps::Layouts;

/// Steps after which the memory of a training no longer grows.
const STEPS: usize = 3;

/// Bytes of resident memory.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Memory {
    /// Before there was a network, with everything loaded.
    before: u64,
    /// The most while it trained.
    peak: u64,
}

impl Memory {
    fn growth(&self) -> u64 {
        self.peak.saturating_sub(self.before)
    }
}

/// Trains for a few steps in this process and tells its memory.
///
/// # Errors
/// When training fails, or the system does not tell (it is not Linux).
pub(super) fn of_this_process(
    network: &Network,
    recompute: bool,
    threads: usize,
) -> anyhow::Result<Memory> {
    mic_nn::threads::train_in_pool(Some(threads), || {
        let before = resident("VmRSS")?;
        let mut training = Training::new(network)?;
        mic_run::memory::reset_peak();
        for _ in 0..STEPS {
            training.step(recompute)?;
        }
        let peak = resident("VmHWM")?;
        Ok(Memory { before, peak })
    })?
}

pub(super) fn resident(key: &str) -> anyhow::Result<u64> {
    let found = std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find(|line| line.starts_with(key))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        });
    let kib =
        found.with_context(|| format!("no {key} in /proc/self/status (only Linux has it)"))?;
    Ok(1024 * kib)
}

/// Measures every network, plain and recomputed, and writes a line for each.
///
/// # Errors
/// When a process of ours fails or the report cannot be written.
pub(super) fn table(
    networks: &[Network],
    options: &Options,
    mut peer: Option<&mut Peer>,
    layouts: &Layouts,
    report: &mut Report,
) -> anyhow::Result<()> {
    report.line("\n## Peak memory\n")?;
    report.line(format_args!(
        "MiB of resident memory, the most of {STEPS} training steps in a process of its own, and \
         of that what came on top of the loaded program or Python with its packages.\n"
    ))?;
    report.line(
        "| network | mic MiB | PyTorch MiB | ratio | mic growth | PyTorch growth | ratio |",
    )?;
    report.line("| --- | --- | --- | --- | --- | --- | --- |")?;
    for network in networks {
        let layout = match layouts.get(network.name) {
            Some(layout) => Some(layout.clone()),
            // Without one a table of steps has found that PyTorch cannot do it.
            None if options.networks => None,
            None => ask_layout(network, peer.as_deref_mut(), report)?,
        };
        for recompute in [false, true] {
            let ours = in_a_process(network, recompute, options)?;
            let theirs = match &layout {
                Some(layout) => of_pytorch(network, layout, recompute, options, report)?,
                None => None,
            };
            report.line(row(&network.row(recompute), ours, theirs))?;
        }
    }
    Ok(())
}

fn ask_layout(
    network: &Network,
    peer: Option<&mut Peer>,
    report: &mut Report,
) -> anyhow::Result<Option<String>> {
    let Some(peer) = peer.filter(|peer| peer.missing(network.needs).is_empty()) else {
        return Ok(None);
    };
    match peer.network(network)? {
        Ok(trained) => Ok(Some(trained.layout)),
        Err(reason) => {
            report.failed(format!("{}, PyTorch: {reason}", network.title));
            Ok(None)
        }
    }
}

fn row(title: &str, ours: Memory, theirs: Option<Memory>) -> String {
    let mib = |bytes: u64| format!("{:.0}", bytes as f64 / f64::from(1 << 20));
    let cells = |number: fn(&Memory) -> u64| {
        let (ours, theirs) = (number(&ours), theirs.as_ref().map(number));
        let ratio = theirs.map(|theirs| format!("{:.2}", ours as f64 / theirs as f64));
        [
            mib(ours),
            theirs.map(mib).unwrap_or_default(),
            ratio.unwrap_or_default(),
        ]
        .join(" | ")
    };
    format!(
        "| {title} | {} | {} |",
        cells(|m| m.peak),
        cells(Memory::growth)
    )
}

/// Our memory, measured by this program in another process.
fn in_a_process(network: &Network, recompute: bool, options: &Options) -> anyhow::Result<Memory> {
    let program = std::env::current_exe().context("this program's file is unknown")?;
    let mut command = Command::new(program);
    command.args(["bench", "cpu-memory", "--network", network.name]);
    command.args(["--threads", &options.threads.to_string()]);
    command.args(recompute.then_some("--recompute"));
    command.args(options.tiny.then_some("--tiny"));
    let output = command
        .output()
        .context("the process for memory cannot be started")?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        bail!("memory of {}: {}", network.title, reason.trim())
    }
    serde_json::from_slice(&output.stdout).context("the process for memory told no numbers")
}

/// PyTorch's memory, unless it fails.
fn of_pytorch(
    network: &Network,
    layout: &str,
    recompute: bool,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<Option<Memory>> {
    let mut peer = Peer::start(&options.python, "peer.py", options.threads)?;
    match peer.memory(network, layout, recompute, STEPS)? {
        Ok(memory) => Ok(Some(memory)),
        Err(reason) => {
            report.failed(format!("memory of {}, PyTorch: {reason}", network.title));
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_both_ratios() {
        let memory = |before: u64, peak: u64| Memory {
            before: before << 20,
            peak: peak << 20,
        };
        assert_eq!(
            row("net", memory(10, 110), Some(memory(300, 500))),
            "| net | 110 | 500 | 0.22 | 100 | 200 | 0.50 |"
        );
        assert_eq!(
            row("net", memory(10, 110), None),
            "| net | 110 |  |  | 100 |  |  |"
        );
    }
}
