//! `mic-cls eval`.

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use mic_data::classification::EvaluationSet;
use serde::Serialize;

use crate::config::Config;
use crate::evaluate::{batches, evaluate};
use crate::inference::Predictor;
use crate::metrics::Metrics;
use crate::{Error, Result, sets};
use mic_run::cli::{json, print};

/// Measure a checkpoint on labelled images.
///
/// The images are those of data.test in the configuration that the checkpoint was trained with,
/// or in another one. Published checkpoints (a bare state dict, .pth) need --config, with
/// data.classes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mic-cls eval --checkpoint runs/mine/checkpoint.safetensors
  mic-cls eval --checkpoint runs/a/checkpoint.safetensors --config other.toml --json a.json
  mic-cls eval --checkpoint published.pth --config configs/cls/visda_vit/mic.toml")]
pub(super) struct Args {
    /// A checkpoint that `mic-cls train` wrote, or a published one.
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    /// Another TOML file whose data.test counts; its classes must be those of the checkpoint.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Replace one value of the configuration; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Write the metrics to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// No progress, only the result.
    #[arg(short, long)]
    quiet: bool,
}

/// What `--json` writes.
#[derive(Serialize)]
struct Report<'a> {
    checkpoint: &'a Path,
    classes: &'a [String],
    images: usize,
    metrics: &'a Metrics,
    /// Share of images whose class is among the five most probable ones.
    top5: Option<f64>,
    /// Mean cross-entropy.
    loss: Option<f64>,
    /// Images by true class, then by predicted class.
    confusion: Vec<Vec<u64>>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let other = args.config.as_ref();
    let other = other.map(|file| Config::from_file(file, &args.sets));
    let other = other.transpose()?;
    let predictor = Predictor::load(&args.checkpoint, other.as_ref())?;
    let config = match other {
        Some(config) => config,
        None => {
            let name = format!("configuration in {}", args.checkpoint.display());
            Config::from_toml_str(&predictor.config().to_toml()?, &name, &args.sets)?
        }
    };
    let test = config.data.test.as_ref().ok_or_else(|| {
        Error::Config("data.test is missing: name the images to evaluate on".into())
    })?;
    let test = sets::test_set(test, ("the checkpoint", predictor.classes()))?;
    let images = test.len();
    let transform = config.data.transform.clone();
    let test = EvaluationSet::new(test, config.train.batch, transform)?;
    let bar = match args.quiet {
        true => ProgressBar::hidden(),
        false => ProgressBar::new(test.batches()),
    };
    let batches = batches(&test).inspect(|_| bar.inc(1));
    let tally = evaluate(predictor.network(), 5, batches);
    bar.finish_and_clear();
    let tally = tally?;
    let metrics = tally.confusion.metrics();
    if let Some(path) = &args.json {
        let rows = 0..tally.confusion.classes();
        let report = Report {
            checkpoint: &args.checkpoint,
            classes: predictor.classes(),
            images,
            metrics: &metrics,
            top5: tally.top_k(),
            loss: tally.loss(),
            confusion: rows.map(|row| tally.confusion.row(row).to_vec()).collect(),
        };
        std::fs::write(path, json(&report)?)
            .map_err(|error| Error::Run(format!("cannot write {}: {error}", path.display())))?;
    }
    Ok(print(&metrics.table(predictor.classes()))?)
}
