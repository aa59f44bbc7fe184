//! `mic-seg train`.

use std::path::PathBuf;

use serde::Serialize;

use super::run_folder::{CHECKPOINT, CONFIG, EventLog, METRICS, RunFolder, json};
use super::{note, print};
use crate::Result;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::progress::Progress;
use crate::record::{Observer, Outcome, StepRecord};
use crate::train::{self, Setup};

/// Train a network as a TOML file says.
///
/// The run folder gets config.toml (the configuration with all defaults), events.jsonl (losses of
/// every step), checkpoint.safetensors, and at the very end metrics.json.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mic-seg train --config configs/seg/scenes_mic.toml --out runs/scenes
  mic-seg train --config my.toml --out runs/try --set train.iterations=500 --set mask.ratio=0.5
  mic-seg train --config my.toml --out runs/no-mask --set mask=")]
pub(super) struct Args {
    /// The run's TOML file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Replace one value of the configuration (an empty value removes the key); may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Run folder; must be new or empty.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace the run in a folder that is not empty. Files of other names stay.
    #[arg(long)]
    overwrite: bool,
    /// Steps between progress lines where there is no terminal.
    #[arg(long, value_name = "STEPS", default_value_t = 50)]
    log_every: u64,
    /// No progress, only the result.
    #[arg(short, long)]
    quiet: bool,
}

/// `metrics.json`.
#[derive(Serialize)]
struct Report<'a> {
    classes: &'a [String],
    seed: u64,
    iterations: u64,
    /// The last evaluation.
    test: Option<&'a Metrics>,
    evaluations: Vec<Evaluation<'a>>,
    seconds_per_step: f64,
    seconds: f64,
    peak_memory_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Evaluation<'a> {
    step: u64,
    metrics: &'a Metrics,
}

/// Writes and shows what happens.
struct Watch {
    events: EventLog,
    progress: Progress,
}

impl Observer for Watch {
    fn step(&mut self, record: &StepRecord) {
        self.events.step(record);
        self.progress.step(record);
    }

    fn evaluated(&mut self, step: u64, metrics: &Metrics) {
        self.progress.evaluated(step, metrics);
    }
}

pub(super) fn run(args: &Args) -> Result<()> {
    let config = Config::from_file(&args.config, &args.sets)?;
    let folder = RunFolder::check(&args.out, args.overwrite)?;
    let setup = Setup::new(&config)?;
    folder.begin()?;
    folder.put_text(CONFIG, &config.to_toml()?)?;
    let mut watch = Watch {
        events: folder.events()?,
        progress: Progress::new(config.train.iterations, args.log_every, args.quiet),
    };
    let trained = train::run(&config, &setup, None, &mut watch);
    watch.progress.finish();
    // After a failed run, too: the losses that led there should be on disk.
    let logged = watch.events.finish();
    let trained = trained?;
    logged?;
    folder.put(CHECKPOINT, |path| trained.save(path))?;
    let outcome = &trained.outcome;
    folder.put_text(METRICS, &json(&report(&config, outcome))?)?;
    if !args.quiet {
        note(&format!(
            "{} steps in {:.1} s, {:.3} s a step, run folder {}",
            outcome.steps.len(),
            outcome.seconds,
            outcome.seconds_per_step,
            args.out.display()
        ));
    }
    match outcome.evaluations.last() {
        Some((_, metrics)) => print(&metrics.table(config.classes.names())),
        None => Ok(()),
    }
}

fn report<'a>(config: &'a Config, outcome: &'a Outcome) -> Report<'a> {
    let evaluations = outcome.evaluations.iter();
    Report {
        classes: config.classes.names(),
        seed: config.seed,
        iterations: config.train.iterations,
        test: outcome.evaluations.last().map(|(_, metrics)| metrics),
        evaluations: evaluations
            .map(|(step, metrics)| Evaluation {
                step: *step,
                metrics,
            })
            .collect(),
        seconds_per_step: outcome.seconds_per_step,
        seconds: outcome.seconds,
        peak_memory_bytes: outcome.peak_memory,
    }
}
