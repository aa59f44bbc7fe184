//! `mic-cls predict`.

use std::path::PathBuf;

use crate::config::Config;
use crate::inference::Predictor;
use crate::predict::{Prediction, files, predict};
use crate::{Error, Result};
use mic_run::cli::print;

/// Images that are classified at a time.
const BATCH: usize = 16;

/// Classify images.
///
/// One line an image on standard output: the most probable class, its probability, and the
/// probabilities of all classes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mic-cls predict --checkpoint runs/a/checkpoint.safetensors photo.jpg
  mic-cls predict --checkpoint runs/a/checkpoint.safetensors --format csv photos/ > classes.csv")]
pub(super) struct Args {
    /// A checkpoint that `mic-cls train` wrote, or a published one.
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    /// The configuration of a published checkpoint, with data.classes.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How the lines are written.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    /// PNG or JPEG files, and folders of them.
    #[arg(value_name = "IMAGE|FOLDER", required = true)]
    inputs: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One JSON object a line.
    Json,
    /// Comma-separated values under a line of names.
    Csv,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let files = files(&args.inputs)?;
    let config = args.config.as_ref();
    let config = config
        .map(|file| Config::from_file(file, &[]))
        .transpose()?;
    let predictor = Predictor::load(&args.checkpoint, config.as_ref())?;
    if args.format == Format::Csv {
        let names = predictor.classes().iter().map(|name| quoted(name));
        let names = names.collect::<Vec<_>>().join(",");
        print(&format!("image,class,probability,{names}\n"))?;
    }
    for files in files.chunks(BATCH) {
        for prediction in predict(&predictor, files)? {
            print(&match args.format {
                Format::Json => json(&predictor, &prediction)?,
                Format::Csv => csv(&prediction),
            })?;
        }
    }
    Ok(())
}

/// With the probabilities by class name.
fn json(predictor: &Predictor, prediction: &Prediction) -> Result<String> {
    let names = predictor.classes().iter();
    let shares = names.zip(&prediction.probabilities);
    let shares: serde_json::Map<_, _> = shares
        .map(|(name, p)| (name.clone(), serde_json::Value::from(*p)))
        .collect();
    let line = serde_json::json!({
        "image": prediction.image,
        "class": prediction.class,
        "probability": prediction.probability,
        "probabilities": shares,
    });
    let line = serde_json::to_string(&line);
    let line = line.map_err(|error| Error::Run(format!("cannot write JSON: {error}")))?;
    Ok(line + "\n")
}

fn csv(prediction: &Prediction) -> String {
    let image = quoted(&prediction.image.display().to_string());
    let class = quoted(&prediction.class);
    let shares = prediction.probabilities.iter().map(f32::to_string);
    let shares = shares.collect::<Vec<_>>().join(",");
    format!("{image},{class},{},{shares}\n", prediction.probability)
}

/// As RFC 4180 wants it.
pub(super) fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_need_quotes_get_them() {
        assert_eq!(quoted("plain name"), "plain name");
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
