//! `mic-seg predict`.

use std::path::PathBuf;

use crate::config::Config;
use crate::inference::Predictor;
use crate::predict::{plan, predict_file};
use crate::weights::Unmatched;
use crate::{Error, Result};
use mic_run::cli::print;

/// Segment images of any size.
///
/// For every image: STEM_overlay.png (the image under class colours), STEM_id.png (train ids, grey)
/// and a line of JSON on standard output with the share of pixels of each class. Images of a folder
/// keep their inner folders. Earlier predictions of the same name are replaced.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mic-seg predict --checkpoint runs/a --out out photo.jpg
  mic-seg predict --checkpoint runs/a --out out --opacity 1 frames/
  mic-seg predict --checkpoint mic_hrda.pth --config gta2cs_mic_hrda.toml --out out frames/")]
pub(super) struct Args {
    /// A run folder (its last checkpoint counts), one of its checkpoints, or a weights file.
    #[arg(long, value_name = "RUN|FILE")]
    checkpoint: PathBuf,
    /// The TOML file that says which network and classes a checkpoint of another program has.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Replace one value of that configuration; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "config")]
    sets: Vec<String>,
    /// Folder for the predictions; made if need be.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Share of the class colours in the overlay, 0 to 1.
    #[arg(long, default_value_t = 0.5, value_parser = opacity)]
    opacity: f32,
    /// PNG or JPEG files, and folders of them.
    #[arg(value_name = "IMAGE|FOLDER", required = true)]
    inputs: Vec<PathBuf>,
}

fn opacity(text: &str) -> std::result::Result<f32, String> {
    match text.parse() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("expected a number from 0 to 1".into()),
    }
}

pub(super) fn run(args: &Args) -> Result<()> {
    let jobs = plan(&args.inputs, &args.out)?;
    let given = match &args.config {
        Some(file) => Some(Config::from_file(file, &args.sets)?),
        None => None,
    };
    let (predictor, _) = Predictor::load_any(&args.checkpoint, given.as_ref(), Unmatched::Refuse)?;
    let classes = &predictor.config().classes;
    std::fs::create_dir_all(&args.out).map_err(|error| {
        Error::Config(format!(
            "cannot write output folder {}: {error}",
            args.out.display()
        ))
    })?;
    for job in &jobs {
        let prediction = predict_file(job, classes, args.opacity, |i| predictor.predict(i))?;
        let line = serde_json::to_string(&prediction);
        let line = line.map_err(|error| Error::Run(format!("cannot write JSON: {error}")))?;
        print(&format!("{line}\n"))?;
    }
    Ok(())
}
