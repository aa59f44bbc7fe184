//! `mic-cls features`.

use std::path::{Path, PathBuf};

use image::RgbImage;
use mic_data::classification::EvaluationSet;
use mic_data::files::write_rgb;
use mic_run::cli::data::write_text;
use mic_run::cli::{json, print};
use mic_run::folder::WEIGHTS;
use serde::Serialize;

use crate::config::Config;
use crate::evaluate::{batches, evaluate};
use crate::features::{
    DomainDistance, Dot, Embedding, Features, class_colour, collect, domain_distance, embed,
    scatter,
};
use crate::inference::Predictor;
use crate::metrics::Metrics;
use crate::pictures::confusion_matrix;
use crate::sets::{self, Sets};
use crate::{Error, Result};

/// Side of a picture in pixels, and radius of a point.
const SIDE: u32 = 800;
const RADIUS: f64 = 4.0;
/// Colours of the two domains.
const SOURCE: [u8; 3] = [210, 50, 40];
const TARGET: [u8; 3] = [40, 80, 200];

/// Show how the network sees the two domains, and how well they can be told apart.
///
/// Writes to --out: domains.png (source red, target blue), classes.png (a colour a class: the true
/// one of source images, drawn as squares, the predicted one of target images, drawn as discs),
/// points.csv, confusion.png (of data.test, if there is one) and features.json with the A-distance
/// and the accuracies. Images are seen as in evaluation; classes of the target are never read.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mic-cls features --checkpoint runs/mine --out runs/mine/features
  mic-cls features --checkpoint runs/mine --out pca --embedding pca --count 200")]
pub(super) struct Args {
    /// A run folder, or a checkpoint that `mic-cls train` wrote, or a published one.
    #[arg(long, value_name = "RUN|FILE")]
    checkpoint: PathBuf,
    /// Folder of the results.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Another TOML file whose images count; needed for a published checkpoint.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Replace one value of the configuration; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Images of each domain, spread evenly over it.
    #[arg(long, value_name = "NUMBER", default_value_t = 500)]
    count: usize,
    /// How features become points.
    #[arg(long, value_enum, default_value_t = Kind::Tsne)]
    embedding: Kind,
    /// t-SNE: how many neighbours count, about.
    #[arg(long, value_name = "NUMBER", default_value_t = 30.0)]
    perplexity: f64,
    /// Seed of the split that the A-distance is measured with.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// t-SNE, started from the principal components.
    Tsne,
    /// The two largest principal components.
    Pca,
}

/// `features.json`.
#[derive(Serialize)]
struct Report<'a> {
    checkpoint: &'a Path,
    embedding: &'a str,
    features: usize,
    source: usize,
    target: usize,
    domain_distance: &'a DomainDistance,
    protocol: &'a str,
    classes: &'a [String],
    /// On data.test.
    metrics: Option<&'a Metrics>,
}

const PROTOCOL: &str = "logistic regression on raw features, source 1 and target 0; 80 % to train \
    on, 20 % to measure on; stochastic gradient descent, learning rate 0.01, batch 2, 10 epochs; \
    A-distance = 2 (1 - 2 error) after the last epoch";

pub(super) fn run(args: &Args) -> Result<()> {
    let file = match args.checkpoint.is_dir() {
        true => args.checkpoint.join(WEIGHTS),
        false => args.checkpoint.clone(),
    };
    let other = args.config.as_ref();
    let other = other.map(|path| Config::from_file(path, &args.sets));
    let other = other.transpose()?;
    let predictor = Predictor::load(&file, other.as_ref())?;
    let config = match other {
        Some(config) => config,
        None => {
            let name = format!("configuration in {}", file.display());
            Config::from_toml_str(&predictor.config().to_toml()?, &name, &args.sets)?
        }
    };
    let (source, truth, target) = domains(&predictor, &config, args.count)?;
    let both = [source.values.clone(), target.values.clone()].concat();
    let embedding = match args.embedding {
        Kind::Tsne => Embedding::TSne {
            perplexity: args.perplexity,
            iterations: 1000,
        },
        Kind::Pca => Embedding::Principal,
    };
    let points = embed(&both, embedding)?;
    let distance = domain_distance(&source.values, &target.values, args.seed)?;
    std::fs::create_dir_all(&args.out)
        .map_err(|error| Error::Run(format!("cannot make {}: {error}", args.out.display())))?;
    let drawn = Drawn {
        predictor: &predictor,
        source: &source,
        truth: &truth,
        target: &target,
        points: &points,
    };
    write_rgb(&args.out.join("domains.png"), &drawn.domains())?;
    write_rgb(&args.out.join("classes.png"), &drawn.classes())?;
    write_text(&args.out.join("points.csv"), &drawn.csv())?;
    let metrics = measure(&predictor, &config, &args.out)?;
    let report = Report {
        checkpoint: &file,
        embedding: match args.embedding {
            Kind::Tsne => "t-SNE",
            Kind::Pca => "principal components",
        },
        features: source.values.first().map_or(0, Vec::len),
        source: source.names.len(),
        target: target.names.len(),
        domain_distance: &distance,
        protocol: PROTOCOL,
        classes: predictor.classes(),
        metrics: metrics.as_ref(),
    };
    write_text(&args.out.join("features.json"), &json(&report)?)?;
    let mut text = format!(
        "A-distance {:.4} (domain error {:.2} % on {} of {} features)\n",
        distance.a_distance,
        100.0 * distance.error,
        distance.measured_on,
        distance.measured_on + distance.trained_on
    );
    if let Some(metrics) = &metrics {
        text += &metrics.table(predictor.classes());
    }
    Ok(print(&text)?)
}

/// Features of the source, its classes, and features of the target, or of the test images where the
/// run has no target.
fn domains(
    predictor: &Predictor,
    config: &Config,
    count: usize,
) -> Result<(Features, Vec<u32>, Features)> {
    let opened = Sets::open(config)?;
    let image = |index: usize| -> Result<(String, RgbImage)> {
        Ok((opened.source.name(index), opened.source.pixels(index)?))
    };
    let len = opened.source.len();
    let source = collect(predictor, (len, &image), count)?;
    let taken = count.min(len);
    let truth = (0..taken).map(|place| opened.source.class(place * len / taken));
    let target = match (&opened.target, &opened.test) {
        (Some(target), _) => {
            let image = |index: usize| -> Result<(String, RgbImage)> {
                let sample = target.get(index)?;
                Ok((sample.name, sample.image))
            };
            collect(predictor, (target.len(), &image), count)?
        }
        (None, Some(test)) => {
            let image = |index: usize| -> Result<(String, RgbImage)> {
                Ok((test.name(index), test.pixels(index)?))
            };
            collect(predictor, (test.len(), &image), count)?
        }
        (None, None) => {
            let missing = "data.target is missing: name the images of the other domain";
            return Err(Error::Config(missing.into()));
        }
    };
    Ok((source, truth.collect(), target))
}

/// Accuracies on data.test, and their confusion matrix as a picture.
fn measure(predictor: &Predictor, config: &Config, out: &Path) -> Result<Option<Metrics>> {
    let Some(test) = &config.data.test else {
        return Ok(None);
    };
    let test = sets::test_set(test, ("the checkpoint", predictor.classes()))?;
    let transform = config.data.transform.clone();
    let test = EvaluationSet::new(test, config.train.batch, transform)?;
    let tally = evaluate(predictor.network(), 5, batches(&test))?;
    let picture = confusion_matrix(&tally.confusion);
    if let Some(image) = RgbImage::from_raw(picture.width, picture.height, picture.rgb) {
        write_rgb(&out.join("confusion.png"), &image)?;
    }
    Ok(Some(tally.confusion.metrics()))
}

/// Points of the source, then of the target, with all that is known of them.
struct Drawn<'a> {
    predictor: &'a Predictor,
    source: &'a Features,
    truth: &'a [u32],
    target: &'a Features,
    points: &'a [[f64; 2]],
}

impl Drawn<'_> {
    fn domains(&self) -> RgbImage {
        let sources = self.source.names.len();
        let dot = |(index, at): (usize, &[f64; 2])| Dot {
            at: *at,
            colour: if index < sources { SOURCE } else { TARGET },
            square: false,
        };
        let dots: Vec<Dot> = self.points.iter().enumerate().map(dot).collect();
        scatter(&dots, SIDE, RADIUS)
    }

    fn classes(&self) -> RgbImage {
        let sources = self.source.names.len();
        let classes = self.predictor.classes().len();
        let known = self.truth.iter().chain(&self.target.predicted);
        let dot = |(index, (at, class)): (usize, (&[f64; 2], &u32))| Dot {
            at: *at,
            colour: class_colour(*class, classes),
            square: index < sources,
        };
        let dots: Vec<Dot> = self.points.iter().zip(known).enumerate().map(dot).collect();
        scatter(&dots, SIDE, RADIUS)
    }

    fn csv(&self) -> String {
        let name = |class: u32| {
            let names = self.predictor.classes();
            names.get(class as usize).map_or("", String::as_str)
        };
        let mut text = "domain,image,x,y,class,predicted\n".to_owned();
        let truth = self.truth.iter().map(|class| Some(*class));
        let sources = self.source.names.iter().zip(&self.source.predicted);
        let sources = sources
            .zip(truth)
            .map(|(known, class)| ("source", known, class));
        let targets = self.target.names.iter().zip(&self.target.predicted);
        let targets = targets.map(|known| ("target", known, None));
        for ((domain, (image, predicted), class), [x, y]) in sources.chain(targets).zip(self.points)
        {
            let class = class.map_or(String::new(), |class| super::predict::quoted(name(class)));
            text += &format!(
                "{domain},{},{x},{y},{class},{}\n",
                super::predict::quoted(image),
                super::predict::quoted(name(*predicted))
            );
        }
        text
    }
}
