//! Segmentation: source-only, self-training, self-training with MIC, target-supervised.

pub mod benchmark;
mod methods;
mod pictures;
pub mod study;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use mic_data::datasets::Subset;
use mic_data::{Classes, LabelledSet};
use mic_run::record::Evaluation;
use mic_run::train::{Outcome, Session};
use mic_seg::config::{Config, SetConfig};
use mic_seg::metrics::Metrics;
use mic_seg::sets;
use mic_seg::train::{self, Setup, Trained};

use super::gate::Gate;
use super::method::Method;
use super::results::{ClassEntry, Measure, PairRuns, Results};
use super::task::{self, Against, Pair, Scored, Start, Summary, Task};
use crate::failure::Failure;
use benchmark::Benchmark;
use pictures::Pictures;
use study::Study;

/// Target training images that the teacher's accuracy is measured on.
const TEACHER_IMAGES: usize = 200;

/// The comparison of segmentation.
#[derive(Clone, Debug)]
pub struct Seg {
    /// The data.
    pub benchmark: Benchmark,
    /// Overrides of every run; the mask mode among them decides which controls there are.
    pub sets: Vec<String>,
    /// What is varied.
    pub study: Study,
}

/// The failure that an error of the task crate amounts to.
fn failure(error: mic_seg::Error) -> Failure {
    match error {
        mic_seg::Error::Config(message) => Failure::Usage(message),
        other => Failure::Run(other.into()),
    }
}

impl Seg {
    /// The mask mode of the configuration file with the overrides of every run.
    fn mode(&self) -> String {
        // A configuration that is wrong is told when it is checked.
        let config = self.config(&[self.benchmark.overrides(), self.sets.clone()].concat());
        let mask = config.ok().and_then(|config| config.raw.mask);
        mask.map_or(String::new(), |mask| mask.mode)
    }

    /// The teacher's labels of target training images against the ground truth, which is opened here
    /// for this number alone, after training.
    fn teacher_accuracy(&self, config: &Config, trained: &Trained) -> Result<Option<f64>> {
        let Some(target) = &config.data.target else {
            return Ok(None);
        };
        let target: Arc<dyn LabelledSet> = sets::labelled(target, &config.classes)?;
        let count = TEACHER_IMAGES.min(target.len());
        let metrics = trained.pseudo_label_metrics(&Subset::labelled(target, 0..count)?)?;
        Ok(metrics.and_then(|metrics| metrics.aacc))
    }
}

impl Task for Seg {
    type Config = Config;
    type Trained = Trained;

    fn name(&self) -> &'static str {
        "seg"
    }

    fn title(&self) -> String {
        self.benchmark.title().into()
    }

    fn file(&self) -> (&'static str, &'static str) {
        self.benchmark.config()
    }

    fn pairs(&self) -> Vec<Pair> {
        self.study.pairs(&self.benchmark)
    }

    fn warmup(&self) -> Option<Method> {
        Some(methods::warmup())
    }

    fn methods(&self) -> Vec<Method> {
        let own = self.study.methods();
        own.unwrap_or_else(|| methods::all(&self.benchmark, &self.mode()))
    }

    fn comparisons(&self) -> &'static [Against] {
        self.study.comparisons()
    }

    /// What masking adds to self-training is not gated: at this size it is within noise.
    fn gate(&self) -> Gate {
        Gate {
            order: &[
                ("source-only", 0.0),
                ("self-training", 0.02),
                ("target-supervised", 0.05),
            ],
            every_seed: true,
        }
    }

    fn measures(&self) -> Vec<Measure> {
        vec![
            Measure::new("miou", "mIoU"),
            Measure::new("pixel_accuracy", "pixel acc."),
            Measure::new("teacher_accuracy", "teacher acc."),
        ]
    }

    fn class_measure(&self) -> &'static str {
        "IoU"
    }

    fn loss(&self) -> &'static str {
        "decode.loss_seg"
    }

    fn is_clock(&self, name: &str) -> bool {
        name == train::WAITED
    }

    fn scalar_title(&self, name: &str) -> Option<&'static str> {
        Some(match name {
            "decode.loss_seg" => "loss on labelled images",
            "mix.decode.loss_seg" => "loss on mixed images",
            "masked.decode.loss_seg" => "loss on masked images",
            "pseudo.weight" => "weight of the pseudo-labels",
            _ => return None,
        })
    }

    fn reading(&self, results: &Results) -> Vec<String> {
        let mut lines = vec![
            "IoU and accuracies are percentages on held-out target images; a dash is a class in \
             neither labels nor predictions, or a method without a teacher. Teacher acc. is the \
             teacher's pseudo-labels against hidden labels of target training images, read for \
             this number alone."
                .to_owned(),
        ];
        lines.extend(results.pairs.iter().filter_map(mask));
        lines
    }

    fn paper_scale(&self) -> String {
        "The paper's segmentation runs need data that must be requested from its owners (GTA5 or \
         SYNTHIA as the source, Cityscapes as the target; Cityscapes, ACDC and Dark Zurich for the \
         adverse-weather pairs), ImageNet weights of MiT-B5, and 40,000 iterations at batch size 2 \
         for each of three seeds. Known costs: DAFormer without MIC 16 h on one RTX 2080 Ti (9.7 \
         GB), HRDA without MIC 32 h on one Titan RTX (22.5 GB). MIC adds one more pass in every \
         step; its own hours were not published, only that MIC(DAFormer) fits one GPU of 11 GB and \
         MIC(HRDA) one of 24 GB. Published for GTA to Cityscapes: DAFormer 68.3 mIoU, with MIC \
         70.6; HRDA 73.8, with MIC 75.9."
            .into()
    }

    fn config(&self, overrides: &[String]) -> Result<Config, Failure> {
        let (file, text) = self.benchmark.config();
        Config::from_toml_str(text, file, overrides).map_err(failure)
    }

    fn check(&self, config: &Config) -> Result<(), Failure> {
        Setup::new(config).map(|_| ()).map_err(failure)
    }

    fn summary(&self, config: &Config) -> Result<Summary, Failure> {
        let data = &config.data;
        let count = |set: Option<&SetConfig>| match set {
            Some(set) => sets::labelled(set, &config.classes)
                .map(|opened| opened.len())
                .map_err(failure),
            None => Ok(0),
        };
        let (source, target) = (count(Some(&data.source))?, count(data.target.as_ref())?);
        let test = count(data.test.as_ref())?;
        let table = toml::Table::try_from(&config.raw);
        Ok(Summary {
            iterations: config.train.iterations,
            classes: classes(&config.classes),
            data: self.benchmark.data(source, target, test),
            table: table.context("writing the configuration")?,
        })
    }

    fn train(
        &self,
        config: &Config,
        start: Option<Start<'_, Trained>>,
        session: Session<'_>,
    ) -> Result<Trained, Failure> {
        let setup = Setup::new(config).map_err(failure)?;
        let weights = start.map(|start| start.trained.weights());
        let start = train::Start {
            weights: weights.as_ref(),
            ..train::Start::default()
        };
        train::run(config, &setup, start, session).map_err(failure)
    }

    fn outcome<'a>(&self, trained: &'a Trained) -> &'a Outcome {
        &trained.outcome
    }

    fn save(&self, trained: &Trained, path: &Path) -> Result<(), Failure> {
        trained.save(path).map_err(failure)
    }

    fn scored(&self, evaluation: &Evaluation) -> Result<Scored> {
        let metrics = Metrics::of(evaluation);
        let unlabelled = || anyhow!("the test images have no labelled pixel");
        let scores = [
            ("miou".to_owned(), metrics.miou.ok_or_else(unlabelled)?),
            (
                "pixel_accuracy".to_owned(),
                metrics.aacc.ok_or_else(unlabelled)?,
            ),
        ];
        Ok(Scored {
            scores: scores.into(),
            classes: metrics.iou,
        })
    }

    fn further(&self, config: &Config, trained: &Trained) -> Result<BTreeMap<String, f64>> {
        let accuracy = self.teacher_accuracy(config, trained)?;
        let named = accuracy.map(|accuracy| ("teacher_accuracy".to_owned(), accuracy));
        Ok(named.into_iter().collect())
    }

    fn pictures(&self, config: &Config) -> Result<Box<dyn task::Pictures<Trained> + '_>> {
        let setup = Setup::new(config)?;
        let test = setup
            .test()
            .context("the configuration has no test images")?;
        let classes = classes(&config.classes);
        let pictures = Pictures::new(test.as_ref(), classes, config.train.batch)?;
        Ok(Box::new(pictures))
    }
}

fn classes(classes: &Classes) -> Vec<ClassEntry> {
    let pairs = classes.names().iter().zip(classes.palette());
    let entry = |(name, colour): (&String, &[u8; 3])| ClassEntry {
        name: name.clone(),
        colour: *colour,
    };
    pairs.map(entry).collect()
}

/// The masks of MIC on a pair, of which there are several forms.
fn mask(pair: &PairRuns) -> Option<String> {
    let method = pair.methods.iter().find(|method| method.key == "mic")?;
    let mask = method.config.get("mask")?;
    let mut label = method.label.clone();
    if !pair.label.is_empty() {
        label = format!("{}, {label}", pair.label);
    }
    Some(format!(
        "{label}: mask.mode = {}, mask.block = {}, mask.ratio = {}; rows that name another form differ \
         in that alone.",
        mask.get("mode")?,
        mask.get("block")?,
        mask.get("ratio")?
    ))
}
