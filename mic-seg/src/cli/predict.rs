//! `mic-seg predict`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::ValueEnum;

use crate::config::Config;
use crate::inference::Predictor;
use crate::predict::{Ids, Output, Plan, Summary, plan, predict_file};
use crate::weights::Unmatched;
use crate::{Error, Result, sets};
use mic_run::cli::{json, note, print};

/// Segment images of any size.
///
/// For every image the files that --write names and a line of JSON on standard output (the share of
/// pixels of each class, the mean confidence); for all of them summary.json. Images of a folder keep
/// their inner folders and come in the order of the numbers in their names, so that a folder of
/// frames is a video. Earlier predictions of the same name are replaced.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mic-seg predict --checkpoint runs/a --out out photo.jpg
  mic-seg predict --checkpoint runs/a --out out --write overlay --opacity 1 frames/
  mic-seg predict --checkpoint mic_hrda.pth --config gta2cs_mic_hrda --out out frames/

For a benchmark's server (zip the folder and upload it):
  mic-seg predict --checkpoint runs/a --out submit --submission label-ids --test-set
  mic-seg predict --checkpoint runs/acdc --out submit --submission train-ids data/acdc/rgb_anon/test")]
pub(super) struct Args {
    /// A run folder (its last checkpoint counts), one of its checkpoints, or a weights file.
    #[arg(long, value_name = "RUN|FILE")]
    checkpoint: PathBuf,
    /// The configuration that says which network and classes a checkpoint of another program has.
    #[arg(long, value_name = "FILE|NAME")]
    config: Option<PathBuf>,
    /// Replace one value of the configuration, such as inference.mode=slide; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Folder for the predictions; made if need be.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What is written of each image, as NAME_overlay.png and so on.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "OUTPUT,...",
          default_values_t = [Write::Overlay, Write::Id, Write::Color, Write::Confidence])]
    write: Vec<Write>,
    /// Write PNGs for a benchmark's server in place of these: ids in a palette, at the image's size,
    /// under the image's own name, all in one folder.
    #[arg(long, value_enum, value_name = "IDS", conflicts_with = "write")]
    submission: Option<Submission>,
    /// Predict the images of data.test, of a published set those of its split "test".
    #[arg(long)]
    test_set: bool,
    /// Share of the class colours in the overlay, 0 to 1.
    #[arg(long, default_value_t = 0.5, value_parser = share)]
    opacity: f32,
    /// PNG or JPEG files, and folders of them; of a video its extracted frames.
    #[arg(
        value_name = "IMAGE|FOLDER",
        required_unless_present = "test_set",
        conflicts_with = "test_set"
    )]
    inputs: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Write {
    /// The image under the colours of its classes.
    Overlay,
    /// Train ids, grey.
    Id,
    /// The colours of the classes.
    Color,
    /// The probability of each pixel's class, 0 to 255, grey.
    Confidence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Submission {
    /// Cityscapes' label ids, 0 to 33: what its server wants.
    LabelIds,
    /// Train ids, 0 to 18: what the servers of ACDC and Dark Zurich want.
    TrainIds,
}

impl From<Write> for Output {
    fn from(write: Write) -> Self {
        match write {
            Write::Overlay => Self::Overlay,
            Write::Id => Self::Id,
            Write::Color => Self::Color,
            Write::Confidence => Self::Confidence,
        }
    }
}

impl From<Submission> for Output {
    fn from(submission: Submission) -> Self {
        Self::Submission(match submission {
            Submission::LabelIds => Ids::Label,
            Submission::TrainIds => Ids::Train,
        })
    }
}

pub(super) fn share(text: &str) -> std::result::Result<f32, String> {
    match text.parse() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("expected a number from 0 to 1".into()),
    }
}

pub(super) fn run(args: &Args) -> Result<()> {
    let outputs: Vec<Output> = match args.submission {
        Some(submission) => vec![submission.into()],
        None => args.write.iter().map(|write| (*write).into()).collect(),
    };
    // What is wrong with the inputs is told before the network is read.
    let given = plan(&args.inputs, &args.out, &outputs)?;
    let (predictor, config) = predictor(args)?;
    let classes = &predictor.config().classes;
    outputs
        .iter()
        .try_for_each(|output| output.check(classes))?;
    let Plan { jobs, left_out } = match args.test_set {
        true => plan(&test_images(&config)?, &args.out, &outputs)?,
        false => given,
    };
    if left_out > 0 {
        note(&format!(
            "left out, as they are no .png, .jpg or .jpeg: {left_out} of the folders' files"
        ));
    }
    std::fs::create_dir_all(&args.out).map_err(|error| {
        Error::Config(format!(
            "cannot write output folder {}: {error}",
            args.out.display()
        ))
    })?;
    let start = Instant::now();
    let mut predictions = Vec::new();
    for job in &jobs {
        let prediction = predict_file(job, classes, args.opacity, |i| predictor.segment(i))?;
        let line = serde_json::to_string(&prediction);
        let line = line.map_err(|error| Error::Run(format!("cannot write JSON: {error}")))?;
        print(&format!("{line}\n"))?;
        predictions.push(prediction);
    }
    let seconds = start.elapsed().as_secs_f64();
    let summary = Summary::of(&args.checkpoint, classes, &predictions, seconds);
    write_summary(args, &summary)?;
    note(&format!(
        "{} images in {seconds:.1} s, {:.2} a second",
        predictions.len(),
        summary.images_per_second
    ));
    Ok(())
}

/// The network, and the configuration with what is set.
fn predictor(args: &Args) -> Result<(Predictor, Config)> {
    let given = match &args.config {
        Some(file) => Some(Config::from_file(file, &args.sets)?),
        None => None,
    };
    let (predictor, _) = Predictor::load_any(&args.checkpoint, given.as_ref(), Unmatched::Refuse)?;
    let config = match given {
        Some(config) => config,
        None => predictor.configured(&args.checkpoint, &args.sets)?,
    };
    let resize = config.data.test.as_ref().and_then(|set| set.resize);
    let predictor = predictor
        .with_inference(config.inference)
        .with_resize(resize);
    Ok((predictor, config))
}

/// The files of data.test; those of the split "test" where the set has one.
fn test_images(config: &Config) -> Result<Vec<PathBuf>> {
    let mut raw = config.raw.clone();
    let missing = || Error::Config("data.test is missing: name the images to predict".into());
    let set = raw.data.test.as_mut().ok_or_else(missing)?;
    if ["cityscapes", "acdc", "dark_zurich"].contains(&set.kind.as_str()) {
        set.split = Some("test".into());
    }
    let config = raw.check()?;
    let set = config.data.test.as_ref().ok_or_else(missing)?;
    let files = sets::files(set, &config.classes, false)?.ok_or_else(|| {
        Error::Config("data.test are built-in images; --test-set wants images in files".into())
    })?;
    Ok(files
        .samples()
        .iter()
        .map(|sample| sample.image.clone())
        .collect())
}

fn write_summary(args: &Args, summary: &Summary) -> Result<()> {
    // A server's folder has pictures only.
    let path: PathBuf = match args.submission {
        Some(_) => beside(&args.out),
        None => args.out.join("summary.json"),
    };
    std::fs::write(&path, json(summary)?)
        .map_err(|error| Error::Run(format!("cannot write {}: {error}", path.display())))
}

/// `DIR_summary.json` beside a folder.
fn beside(folder: &Path) -> PathBuf {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    folder.with_file_name(format!("{name}_summary.json"))
}
