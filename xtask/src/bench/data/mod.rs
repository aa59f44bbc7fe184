//! `cargo xtask bench data`: our loader and PyTorch's `DataLoader` in turn, on the same files.

mod cases;
mod files;
mod start;

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use super::peer::Peer;
use super::report::Report;
use super::timing::alternate;
use cases::{Case, Sums};
use files::{Files, Sizes};

/// Turns of each side unless the user wants others.
const TURNS: usize = 7;

/// What to measure.
#[derive(Debug)]
pub struct Options {
    /// Only pipelines with this in their title, in whatever case.
    pub filter: Option<String>,
    /// Worker threads of ours, worker processes of PyTorch's.
    pub threads: usize,
    /// Measured turns of each side.
    pub repetitions: Option<usize>,
    /// Images of the set whose first batch is timed; 0 leaves that out.
    pub large: usize,
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
/// When something fails, or the sides make different inputs of one image.
pub fn bench(options: &Options, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut report = Report::new(out);
    let sizes = if options.tiny {
        Sizes::TINY
    } else {
        Sizes::FULL
    };
    let files = Files::write(&sizes, options.threads)?;
    let mut peer = match Peer::start(&options.python, "peer_data.py", options.threads) {
        Ok(peer) => Some(peer),
        Err(reason) => {
            report.line(format_args!("PyTorch is not measured: {reason:#}.\n"))?;
            None
        }
    };
    report.line(super::setting(options.threads, options.tiny, peer.as_ref()))?;
    report.line(described(&files, &sizes)?)?;
    speed(&files, &sizes, options, peer.as_mut(), &mut report)?;
    if options.large > 0 {
        let (large, threads) = (options.large, options.threads);
        start::table(&files, &sizes, large, threads, options.tiny, &mut report)?;
    }
    report.finish(options.markdown.as_deref())
}

/// Prints seconds and memory of the first batch of a set, as JSON.
///
/// # Errors
/// When the set cannot be opened.
pub fn start(
    images: PathBuf,
    labels: Option<PathBuf>,
    list: Option<PathBuf>,
    threads: usize,
    tiny: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let start = start::of_this_process(images, labels, list, threads, tiny)?;
    Ok(writeln!(out, "{}", serde_json::to_string(&start)?)?)
}

fn described(files: &Files, sizes: &Sizes) -> anyhow::Result<String> {
    let mean = |folder: PathBuf| Files::mean_size(&folder).map(|bytes| bytes as f64 / 1000.0);
    Ok(format!(
        "Files: {} drawn scenes of {} x {} as PNG ({:.0} kB on average) with labels ({:.0} kB), {} of \
         {} x {} as JPEG ({:.0} kB).\n",
        sizes.frames,
        sizes.frame.0,
        sizes.frame.1,
        mean(files.frames())?,
        mean(files.labels())?,
        sizes.photos,
        sizes.photo.0,
        sizes.photo.1,
        mean(files.photos())?,
    ))
}

/// The table of images a second.
fn speed(
    files: &Files,
    sizes: &Sizes,
    options: &Options,
    mut peer: Option<&mut Peer>,
    report: &mut Report,
) -> anyhow::Result<()> {
    report.line("| pipeline | mic images/s | PyTorch images/s | times as fast (quartiles) |")?;
    report.line("| --- | --- | --- | --- |")?;
    let filter = options.filter.as_ref().map(|filter| filter.to_lowercase());
    for case in cases::all(files, options.tiny, options.threads) {
        let title = case.title.to_lowercase();
        if filter
            .as_ref()
            .is_some_and(|filter| !title.contains(filter))
        {
            continue;
        }
        row(&case, files, sizes, options, peer.as_deref_mut(), report)?;
    }
    Ok(())
}

fn row(
    case: &Case,
    files: &Files,
    sizes: &Sizes,
    options: &Options,
    peer: Option<&mut Peer>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let ours = case.open(files, sizes)?;
    let peer = match peer {
        Some(peer) => prepared(case, peer, report)?,
        None => None,
    };
    let turns = options.repetitions.unwrap_or(TURNS);
    let mut turn = 0;
    let own = || {
        turn += 1;
        case.turn(&ours, turn)
    };
    let times = alternate(1, turns, 1, own, peer.map(|peer| (peer, false)))?;
    let rate = |seconds: f64| format!("{:.0}", 1.0 / seconds);
    report.line(format_args!(
        "| {} | {} | {} | {} |",
        case.title,
        rate(times.ours()),
        times.theirs().map(rate).unwrap_or_default(),
        times.factor()
    ))?;
    Ok(())
}

/// PyTorch's side of a pipeline, if it can do it and makes the same of an image.
fn prepared<'a>(
    case: &Case,
    peer: &'a mut Peer,
    report: &mut Report,
) -> anyhow::Result<Option<&'a mut Peer>> {
    let missing = peer.missing(case.needs()).join(" and ");
    if !missing.is_empty() {
        let title = case.title;
        report.failed(format!("{title}: Python lacks {missing}"));
        return Ok(None);
    }
    match peer.ask::<Sums>(&json!({"data": case}))? {
        Ok(theirs) => {
            let ours = case.sums()?;
            // Decoders of JPEG may round otherwise, by 0.2 levels of 58 on average.
            let near = |a: f64, b: f64, tolerance: f64| (a - b).abs() <= tolerance;
            let tolerance = if theirs.label == 0.0 { 5e-3 } else { 1e-6 };
            if !near(ours.image, theirs.image, tolerance) || !near(ours.label, theirs.label, 1e-9) {
                report.failed(format!(
                    "{}: the sides make different inputs of one image: {ours:?} and {theirs:?}",
                    case.title
                ));
            }
            Ok(Some(peer))
        }
        Err(reason) => {
            report.failed(format!("{}, PyTorch: {reason}", case.title));
            Ok(None)
        }
    }
}
