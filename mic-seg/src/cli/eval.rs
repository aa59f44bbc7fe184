//! `mic-seg eval`.

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use serde::Serialize;

use crate::config::Config;
use crate::evaluate::evaluate_each;
use crate::inference::Predictor;
use crate::metrics::Metrics;
use crate::subset::Subset;
use crate::weights::Unmatched;
use crate::{Error, Result, sets};
use mic_run::cli::{json, note, print};

/// Measure a checkpoint on labelled images.
///
/// The images are those of data.test in the configuration that the checkpoint was trained with,
/// or in another one. Checkpoints of other programs (MIC, HRDA, DAFormer, SegFormer of the Hugging
/// Face hub, ...) need that other one, which says what their network is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mic-seg eval --checkpoint runs/scenes
  mic-seg eval --checkpoint runs/a --set data.test.split=val --json a.json
  mic-seg eval --checkpoint runs/a --config other.toml
  mic-seg eval --checkpoint mic_hrda.pth --config gta2cs_mic_hrda")]
pub(super) struct Args {
    /// A run folder (its last checkpoint counts), one of its checkpoints, or a weights file.
    #[arg(long, value_name = "RUN|FILE")]
    checkpoint: PathBuf,
    /// Another configuration whose data.test and inference count; its classes must be those of the
    /// checkpoint.
    #[arg(long, value_name = "FILE|NAME")]
    config: Option<PathBuf>,
    /// Go on although some tensors of the network are not in the file, or have another shape there.
    #[arg(long)]
    allow_unmatched: bool,
    /// Replace one value of the configuration; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Write the metrics to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print the means over SYNTHIA's 16 and 13 classes, too; where SYNTHIA is the source, they are
    /// printed anyway.
    #[arg(long)]
    synthia: bool,
    /// Take this constant share of HRDA's detail in place of its attention: 0 is the context alone, 1
    /// the detail alone.
    #[arg(long, value_name = "SHARE", value_parser = super::predict::share)]
    detail_share: Option<f32>,
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
    subsets: Vec<Means>,
}

/// Means over some of the classes.
#[derive(Serialize)]
struct Means {
    name: String,
    miou: Option<f64>,
    macc: Option<f64>,
}

impl Means {
    fn of(subset: &Subset, metrics: &Metrics) -> Self {
        let (miou, macc) = subset.means(metrics);
        Self {
            name: subset.name.clone(),
            miou,
            macc,
        }
    }
}

pub(super) fn run(args: &Args) -> Result<()> {
    let given = match &args.config {
        Some(file) => Some(Config::from_file(file, &args.sets)?),
        None => None,
    };
    let unmatched = match args.allow_unmatched {
        true => Unmatched::Allow,
        false => Unmatched::Refuse,
    };
    let (predictor, loaded) = Predictor::load_any(&args.checkpoint, given.as_ref(), unmatched)?;
    if !args.quiet {
        note(&loaded.to_string());
    }
    let trained = predictor.config();
    let config = match given {
        Some(config) => config,
        None => predictor.configured(&args.checkpoint, &args.sets)?,
    };
    if config.classes.names() != trained.classes.names() {
        return Err(Error::Config(format!(
            "the checkpoint has the classes {}; the configuration has {}; evaluate on images with \
             the checkpoint's classes",
            trained.classes.names().join(", "),
            config.classes.names().join(", ")
        )));
    }
    let test = config.data.test.as_ref().ok_or_else(|| {
        Error::Config("data.test is missing: name the images to evaluate on".into())
    })?;
    let resize = test.resize;
    let test = sets::labelled(test, &config.classes)?;
    let subsets = match args.synthia {
        true => synthia(&config)?,
        false => [Subset::of(&config), Subset::of(trained)]
            .into_iter()
            .find(|subsets| !subsets.is_empty())
            .unwrap_or_default(),
    };
    let mut predictor = predictor
        .with_resize(resize)
        .with_inference(config.inference);
    if let Some(share) = args.detail_share {
        predictor = predictor.with_detail_share(f64::from(share));
    }
    let bar = if args.quiet {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(test.len() as u64)
    };
    let metrics = evaluate_each(
        test.as_ref(),
        &config.classes,
        |image| predictor.predict(image),
        |images| bar.set_position(images as u64),
    );
    bar.finish_and_clear();
    let metrics = metrics?;
    if let Some(path) = &args.json {
        let report = Report {
            checkpoint: &args.checkpoint,
            classes: config.classes.names(),
            images: test.len(),
            metrics: &metrics,
            subsets: subsets
                .iter()
                .map(|subset| Means::of(subset, &metrics))
                .collect(),
        };
        std::fs::write(path, json(&report)?)
            .map_err(|error| Error::Run(format!("cannot write {}: {error}", path.display())))?;
    }
    Ok(print(
        &metrics.table_with(config.classes.names(), &subsets),
    )?)
}

fn synthia(config: &Config) -> Result<Vec<Subset>> {
    let subsets = Subset::synthia(&config.classes);
    if subsets.is_empty() {
        return Err(Error::Config(
            "--synthia: the means over 16 and 13 classes are of Cityscapes' 19, and the checkpoint has \
             other classes"
                .into(),
        ));
    }
    Ok(subsets)
}
