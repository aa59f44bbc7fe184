//! `mic-det eval`.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::Config;
use crate::evaluate::evaluate;
use crate::inference::Predictor;
use crate::metrics::Metrics;
use crate::{Error, Result, sets};
use mic_run::cli::data::{bar, write_text};
use mic_run::cli::{json, print};

/// Measure a checkpoint on annotated images: average precision as COCO and Pascal VOC define it.
///
/// The images are those of data.test in the configuration that the checkpoint was trained with,
/// or in another one. Published checkpoints need --config, with data.classes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mic-det eval --checkpoint runs/mine
  mic-det eval --checkpoint runs/a --set train.evaluate=teacher --json a.json
  mic-det eval --checkpoint published.pth --config configs/det/cityscapes2foggy_mic.toml")]
pub(super) struct Args {
    /// A run folder (its last checkpoint counts), or a weights file.
    #[arg(long, value_name = "RUN|FILE")]
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
    #[serde(flatten)]
    metrics: &'a Metrics,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let other = args.config.as_ref();
    let other = other.map(|file| Config::from_file(file, &args.sets));
    let other = other.transpose()?;
    let predictor = Predictor::load_with(&args.checkpoint, other.as_ref(), &args.sets)?;
    let config = other.as_ref().unwrap_or_else(|| predictor.config());
    let test = config.data.test.as_ref().ok_or_else(|| {
        Error::Config("data.test is missing: name the images to evaluate on".into())
    })?;
    let test = sets::test_set(test, ("the checkpoint", predictor.classes()))?;
    let bar = bar(test.len(), args.quiet);
    let metrics = evaluate(
        predictor.model(),
        &predictor.config().data.transform,
        &test,
        config.data.loading.loader_threads.max(1),
        &|images| bar.set_position(images as u64),
    );
    bar.finish_and_clear();
    let metrics = metrics?;
    if let Some(path) = &args.json {
        let report = Report {
            checkpoint: &args.checkpoint,
            metrics: &metrics,
        };
        write_text(path, &json(&report)?)?;
    }
    Ok(print(&metrics.table())?)
}
