//! Everything a reproduction found, as plain data: what `results.json` holds and the report shows.
//!
//! Rates (IoU, accuracies) are fractions in `[0, 1]`. What differs between two runs with the same
//! settings is kept apart, in [`Timing`] and [`Provenance`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::statistics::Paired;

/// A finished reproduction.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// What was run, in a sentence.
    pub what: String,
    /// The configuration file that every run starts from.
    pub config_file: String,
    /// The data, in a sentence.
    pub data: String,
    /// The classes by train id.
    pub classes: Vec<ClassEntry>,
    /// Seeds in the order of every method's runs.
    pub seeds: Vec<u64>,
    /// Iterations of the warm-up and of each method after it.
    pub iterations: Iterations,
    /// The warm-up by seed.
    pub warmup: MethodRuns,
    /// The methods, in the order of the table.
    pub methods: Vec<MethodRuns>,
    /// Paired differences between methods.
    pub comparisons: Vec<Comparison>,
    /// Where and when.
    pub provenance: Provenance,
}

/// Lengths of the two phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Iterations {
    /// Iterations on the source alone, shared by the methods of a seed.
    pub warmup: u64,
    /// Iterations of each method, from the warm-up's weights.
    pub adaptation: u64,
}

/// A class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassEntry {
    /// Its full name.
    pub name: String,
    /// Display colour, RGB.
    pub colour: [u8; 3],
}

/// One method and its runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MethodRuns {
    /// The name on the command line.
    pub key: String,
    /// The name in tables.
    pub label: String,
    /// What the method is.
    pub note: String,
    /// Overrides of the configuration file that make this method, without the seed.
    pub overrides: Vec<String>,
    /// The resolved configuration of the first seed.
    pub config: toml::Table,
    /// One run a seed.
    pub runs: Vec<Run>,
}

/// One trained model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Seed of the run.
    pub seed: u64,
    /// The final scores on the test images.
    pub scores: Scores,
    /// Share of labelled pixels of target training images that the teacher predicts correctly.
    /// The labels are read for this number alone.
    pub teacher_accuracy: Option<f64>,
    /// Every evaluation, the last one at the end.
    pub evaluations: Vec<Evaluation>,
    /// Named scalars by iteration (losses, weight of the pseudo-labels); `None` at iterations
    /// that did not report one.
    pub scalars: BTreeMap<String, Vec<Option<f64>>>,
    /// What may differ between equal runs.
    pub timing: Timing,
}

/// Scores on the test images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Mean IoU over the classes that have one.
    pub miou: f64,
    /// Share of labelled pixels predicted correctly.
    pub pixel_accuracy: f64,
    /// IoU by class; `None` for a class in neither labels nor predictions.
    pub iou: Vec<Option<f64>>,
}

/// Scores during training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Iterations done.
    pub step: u64,
    /// The scores then.
    pub scores: Scores,
}

/// Time and memory.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Timing {
    /// Median wall-clock seconds of a step.
    pub seconds_per_step: f64,
    /// Wall-clock seconds of the run, evaluations included.
    pub seconds: f64,
    /// Peak resident memory in bytes, where it can be read.
    pub peak_memory: Option<u64>,
}

/// A measure that methods are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// [`Scores::miou`].
    Miou,
    /// [`Scores::pixel_accuracy`].
    PixelAccuracy,
    /// [`Run::teacher_accuracy`].
    TeacherAccuracy,
}

impl Measure {
    /// All measures.
    pub const ALL: [Self; 3] = [Self::Miou, Self::PixelAccuracy, Self::TeacherAccuracy];

    /// The value of a run, if it has one.
    pub fn of(self, run: &Run) -> Option<f64> {
        match self {
            Self::Miou => Some(run.scores.miou),
            Self::PixelAccuracy => Some(run.scores.pixel_accuracy),
            Self::TeacherAccuracy => run.teacher_accuracy,
        }
    }

    /// The heading of its column.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Miou => "mIoU",
            Self::PixelAccuracy => "pixel acc.",
            Self::TeacherAccuracy => "teacher acc.",
        }
    }
}

/// Seed by seed, one method against another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Comparison {
    /// Label of the method.
    pub method: String,
    /// Label of what it is compared with.
    pub baseline: String,
    /// What is compared.
    pub measure: Measure,
    /// The differences, as fractions.
    pub paired: Paired,
}

/// Where and when the numbers were made.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Provenance {
    /// The command line.
    pub command: String,
    /// Start, UTC.
    pub started: String,
    /// Version of this workspace.
    pub version: String,
    /// Commit of the working tree, where git can tell, with `+` for local changes.
    pub commit: Option<String>,
    /// Processor, cores, memory, operating system.
    pub machine: String,
}

impl MethodRuns {
    /// The values of a measure by seed; `None` unless every run has one.
    pub fn values(&self, measure: Measure) -> Option<Vec<f64>> {
        self.runs.iter().map(|run| measure.of(run)).collect()
    }
}

/// Compares `method` with `baseline` by every measure that both have.
pub fn compare(method: &MethodRuns, baseline: &MethodRuns) -> Vec<Comparison> {
    let paired = |measure| Paired::new(&method.values(measure)?, &baseline.values(measure)?);
    Measure::ALL
        .into_iter()
        .filter_map(|measure| {
            Some(Comparison {
                method: method.label.clone(),
                baseline: baseline.label.clone(),
                measure,
                paired: paired(measure)?,
            })
        })
        .collect()
}
