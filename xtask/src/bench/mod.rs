//! `cargo xtask bench cpu`: our code and PyTorch's in turn, on one machine and in one run.

mod cases;
pub mod data;
mod memory;
mod networks;
mod ops;
mod peer;
mod report;
mod steps;
mod timing;

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};

use cases::Case;
use networks::Network;
use peer::Peer;
use report::Report;

/// Repetitions unless the user wants others.
const OP_REPETITIONS: usize = 30;
const STEP_REPETITIONS: usize = 7;

/// What to measure.
#[derive(Debug)]
pub struct Options {
    /// Only what contains this in its name, in whatever case.
    pub filter: Option<String>,
    /// The table of single ops.
    pub ops: bool,
    /// The table of training steps.
    pub networks: bool,
    /// The table of peak memory.
    pub memory: bool,
    /// Threads of both sides.
    pub threads: usize,
    /// Measured repetitions of everything on each side; `None` for 30 of an op and 7 of a step.
    pub repetitions: Option<usize>,
    /// The Python interpreter that has torch.
    pub python: String,
    /// Where the tables go besides the output.
    pub markdown: Option<PathBuf>,
    /// Sizes that take no time, to try the command.
    pub tiny: bool,
}

/// Measures and prints tables.
///
/// # Errors
/// When nothing is chosen, something fails, or the sides compute different numbers; in the last
/// case everything else has been measured.
pub fn bench(options: &Options, out: &mut dyn Write) -> anyhow::Result<()> {
    let (cases, networks) = chosen(options)?;
    let mut report = Report::new(out);
    let mut peer = match Peer::start(&options.python, "peer.py", options.threads) {
        Ok(peer) => Some(peer),
        Err(reason) => {
            report.line(format_args!("PyTorch is not measured: {reason:#}.\n"))?;
            None
        }
    };
    report.line(setting(options.threads, options.tiny, peer.as_ref()))?;
    for note in peer
        .iter()
        .flat_map(|peer| unavailable(&cases, &networks, peer))
    {
        report.line(note)?;
    }
    if options.ops && !cases.is_empty() {
        let repetitions = options.repetitions.unwrap_or(OP_REPETITIONS);
        let threads = options.threads;
        ops::table(&cases, peer.as_mut(), threads, repetitions, &mut report)?;
    }
    let mut layouts = steps::Layouts::new();
    if options.networks && !networks.is_empty() {
        let repetitions = options.repetitions.unwrap_or(STEP_REPETITIONS);
        layouts = steps::table(&networks, peer.as_mut(), options, repetitions, &mut report)?;
    }
    if let Some(warning) = peer.as_ref().and_then(Peer::disturbance) {
        report.line(format_args!("\n{warning}"))?;
    }
    if options.memory && !networks.is_empty() {
        memory::table(&networks, options, peer.as_mut(), &layouts, &mut report)?;
    }
    report.finish(options.markdown.as_deref())
}

/// Prints the memory of a training in this process, as JSON.
///
/// # Errors
/// When there is no such network, or training fails.
pub fn memory(
    name: &str,
    recompute: bool,
    threads: usize,
    tiny: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let network = networks::all()?.into_iter().find(|n| n.name == name);
    let network = network.with_context(|| format!("there is no network {name}"))?;
    let network = if tiny { network.tiny() } else { network };
    let memory = memory::of_this_process(&network, recompute, threads)?;
    Ok(writeln!(out, "{}", serde_json::to_string(&memory)?)?)
}

/// The ops and networks that the user wants.
fn chosen(options: &Options) -> anyhow::Result<(Vec<Case>, Vec<Network>)> {
    let wanted = |names: &[&str]| {
        let Some(filter) = &options.filter else {
            return true;
        };
        let filter = filter.to_lowercase();
        names
            .iter()
            .any(|name| name.to_lowercase().contains(&filter))
    };
    let (mut cases, mut networks) = (cases::all(), networks::all()?);
    let names: Vec<String> = cases.iter().map(|c| c.name.clone()).collect();
    let titles: Vec<&str> = networks.iter().map(|n| n.title).collect();
    cases.retain(|c| options.ops && wanted(&[&c.name]));
    networks.retain(|n| (options.networks || options.memory) && wanted(&[n.name, n.title]));
    if cases.is_empty() && networks.is_empty() {
        bail!(
            "nothing has that name. Networks:\n  {}\nOps:\n  {}",
            titles.join("\n  "),
            names.join("\n  ")
        )
    }
    if options.tiny {
        cases = cases.iter().map(Case::tiny).collect();
        networks = networks.into_iter().map(Network::tiny).collect();
    }
    Ok((cases, networks))
}

/// What PyTorch's side lacks a package for.
fn unavailable(cases: &[Case], networks: &[Network], peer: &Peer) -> Vec<String> {
    let cases = cases.iter().map(|case| (&case.name[..], case.needs()));
    let networks = networks.iter().map(|n| (n.title, n.needs));
    let note = |(name, needs): (&str, &[&str])| {
        let missing = peer.missing(needs).join(" and ");
        let note = format!("PyTorch is not measured for {name}: Python lacks {missing}.\n");
        (!missing.is_empty()).then_some(note)
    };
    cases.chain(networks).filter_map(note).collect()
}

/// What was measured on what.
fn setting(threads: usize, tiny: bool, peer: Option<&Peer>) -> String {
    let mut parts = vec![format!("{threads} threads")];
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    parts.extend(model.map(|name| name.trim_start_matches([' ', '\t', ':']).to_string()));
    if let Some(peer) = peer {
        parts.push(format!("PyTorch {}", peer.version));
        let installed = peer.packages.iter();
        parts.extend(installed.filter_map(|(name, v)| Some(format!("{name} {}", v.as_ref()?))));
    }
    if tiny {
        parts.push("sizes for trying the command, not for measuring".into());
    }
    format!("{}\n", parts.join(", "))
}

/// Whether candle will use this many threads for its own loops; it asks the environment, once.
fn candle_has(threads: usize) -> bool {
    let told = std::env::var(CANDLE_THREADS).ok();
    told.is_some_and(|told| told == threads.to_string())
}

const CANDLE_THREADS: &str = "CANDLE_NUM_THREADS";

/// Runs this program again if candle would use another number of threads than the rest. Returns
/// the other process's exit code; `None` if there was no need.
///
/// # Errors
/// When the process cannot be started.
pub fn again_with_threads(threads: usize) -> anyhow::Result<Option<i32>> {
    if candle_has(threads) {
        return Ok(None);
    }
    let program = std::env::current_exe().context("this program's file is unknown")?;
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1));
    command.env(CANDLE_THREADS, threads.to_string());
    Ok(Some(command.status()?.code().unwrap_or(1)))
}
