//! `mic-det predict`.

use std::path::PathBuf;

use mic_data::files::input_files;
use mic_run::cli::{note, print};

use crate::config::Config;
use crate::inference::Predictor;
use crate::predict::{Telling, coco_document, plan, predict_file};
use crate::{Error, Result};

/// Find objects in images of any size.
///
/// For every image NAME_boxes.png (the image with boxes, class and score in per cent) and a line of
/// JSON on standard output; for all of them detections.json in the shape of a COCO file. Images of a
/// folder keep their inner folders and come in the order of the numbers in their names, so that a
/// folder of frames is a video. Earlier predictions of the same name are replaced.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mic-det predict --checkpoint runs/a --out out photo.jpg
  mic-det predict --checkpoint runs/a --out out --score 0.3 frames/
  mic-det predict --checkpoint published.pth --config configs/det/cityscapes2foggy_mic.toml --out out frames/")]
pub(super) struct Args {
    /// A run folder (its last checkpoint counts), or a weights file.
    #[arg(long, value_name = "RUN|FILE")]
    checkpoint: PathBuf,
    /// The configuration that says which network and classes a checkpoint of another program has.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Replace one value of the configuration, such as inference.nms=0.4; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Folder for the predictions; made if need be.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Least score of what is told and drawn, 0 to 1.
    #[arg(long, default_value_t = 0.5, value_parser = share)]
    score: f32,
    /// PNG or JPEG files, and folders of them; of a video its extracted frames.
    #[arg(value_name = "IMAGE|FOLDER", required = true)]
    inputs: Vec<PathBuf>,
}

fn share(text: &str) -> std::result::Result<f32, String> {
    match text.parse() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("expected a number from 0 to 1".into()),
    }
}

pub(super) fn run(args: &Args) -> Result<()> {
    // What is wrong with the inputs is told before the network is read.
    let inputs = input_files(&args.inputs).map_err(|error| match error {
        mic_data::Error::Invalid(message) => Error::Config(message),
        other => other.into(),
    })?;
    let jobs = plan(inputs.images, &args.out)?;
    let config = args.config.as_ref();
    let config = config.map(|file| Config::from_file(file, &args.sets));
    let config = config.transpose()?;
    let predictor = Predictor::load_with(&args.checkpoint, config.as_ref(), &args.sets)?;
    if inputs.left_out > 0 {
        note(&format!(
            "left out {} files in the folders that are no .png, .jpg or .jpeg",
            inputs.left_out
        ));
    }
    std::fs::create_dir_all(&args.out).map_err(|error| {
        Error::Config(format!(
            "cannot write output folder {}: {error}",
            args.out.display()
        ))
    })?;
    let telling = Telling {
        classes: predictor.classes(),
        conventions: predictor.conventions(),
        least: args.score,
    };
    let mut predictions = Vec::with_capacity(jobs.len());
    for (job, id) in jobs.iter().zip(1..) {
        let detect = |image: &image::RgbImage| {
            let found = predictor.detect(std::slice::from_ref(image))?;
            Ok(found.into_iter().next().unwrap_or_default())
        };
        let prediction = predict_file(id, job, &telling, detect)?;
        let line = serde_json::to_string(&prediction);
        let line = line.map_err(|error| Error::Run(format!("cannot write JSON: {error}")))?;
        print(&format!("{line}\n"))?;
        predictions.push(prediction);
    }
    let path = args.out.join("detections.json");
    std::fs::write(&path, coco_document(&predictions, telling.classes)?)
        .map_err(|error| Error::Run(format!("cannot write {}: {error}", path.display())))
}
