//! Everything a reproduction found, as plain data: what `results.json` holds and the report shows.
//!
//! Rates (IoU, accuracies, AP) are fractions in `[0, 1]`. What differs between two runs with the same
//! settings is kept apart, in [`Timing`] and [`Provenance`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::statistics::Paired;

/// A whole reproduction.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// The comparison, such as "MIC for segmentation, in miniature".
    pub what: String,
    /// The program that repeats a run, such as `mic-seg`.
    pub program: String,
    /// The configuration file that all methods start from.
    pub config_file: String,
    /// What is measured, the measure that counts first.
    pub measures: Vec<Measure>,
    /// What the measure of each class is called.
    pub class_measure: String,
    /// The classes.
    pub classes: Vec<ClassEntry>,
    /// Seeds that are done.
    pub seeds: Vec<u64>,
    /// Iterations of the warm-up, and of every method after it.
    pub iterations: Iterations,
    /// The runs by pair of domains.
    pub pairs: Vec<PairRuns>,
    /// What a reader must know.
    pub notes: Notes,
    /// Where and when.
    pub provenance: Provenance,
}

/// All runs on a pair of domains.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PairRuns {
    /// Short name; empty where there is but one pair.
    pub key: String,
    /// Heading; empty where there is but one pair.
    pub label: String,
    /// What the images are.
    pub data: String,
    /// The warm-up by seed, where there is one.
    pub warmup: Option<MethodRuns>,
    /// The methods, in the order of the table.
    pub methods: Vec<MethodRuns>,
    /// Paired differences between methods.
    pub comparisons: Vec<Comparison>,
}

/// What a reader must know besides the numbers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Notes {
    /// How to read the table, besides what is true of every task.
    pub reading: Vec<String>,
    /// What the paper's own runs need.
    pub paper_scale: String,
    /// What the scalars are, where more can be said than their names.
    pub scalars: BTreeMap<String, String>,
}

/// Lengths of the two phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Iterations {
    /// Iterations on the source alone, shared by the methods of a seed; 0 without warm-up.
    pub warmup: u64,
    /// Iterations of each method.
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
    /// The final scores on the test images, and further ones, by [`Measure::key`].
    pub scores: BTreeMap<String, f64>,
    /// The final measure of each class; `None` for a class that does not occur.
    pub class_scores: Vec<Option<f64>>,
    /// Every evaluation, the last one at the end.
    pub evaluations: Vec<Evaluation>,
    /// Named scalars by iteration (losses, weight of the pseudo-labels); `None` at iterations
    /// that did not report one.
    pub scalars: BTreeMap<String, Vec<Option<f64>>>,
    /// What may differ between equal runs.
    pub timing: Timing,
}

/// Scores during training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Iterations done.
    pub step: u64,
    /// The scores then, by [`Measure::key`].
    pub scores: BTreeMap<String, f64>,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    /// Its name in [`Run::scores`].
    pub key: String,
    /// The heading of its column.
    pub label: String,
}

impl Measure {
    /// A measure.
    pub fn new(key: &str, label: &str) -> Self {
        Self {
            key: key.into(),
            label: label.into(),
        }
    }

    /// The value of a run, if it has one.
    pub fn of(&self, run: &Run) -> Option<f64> {
        run.scores.get(&self.key).copied()
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
    pub fn values(&self, measure: &str) -> Option<Vec<f64>> {
        let values = self.runs.iter();
        values.map(|run| run.scores.get(measure).copied()).collect()
    }
}

impl PairRuns {
    /// Seeds of the runs that are done.
    pub fn seeds(&self) -> Vec<u64> {
        let first = self.methods.first();
        first.map_or(Vec::new(), |m| m.runs.iter().map(|run| run.seed).collect())
    }
}

impl Results {
    /// The measure that counts.
    pub fn main(&self) -> &Measure {
        // There is one from the beginning.
        &self.measures[0]
    }

    /// Whether there are several pairs of domains, which then have headings.
    pub fn several(&self) -> bool {
        self.pairs.len() > 1
    }

    /// What the images are, where all pairs have the same.
    pub fn data(&self) -> Option<&str> {
        let data = &self.pairs.first()?.data;
        let same = self.pairs.iter().all(|pair| pair.data == *data);
        same.then_some(data)
    }
}

/// Compares `method` with `baseline` by every one of `measures` that both have.
pub fn compare(
    method: &MethodRuns,
    baseline: &MethodRuns,
    measures: &[Measure],
) -> Vec<Comparison> {
    let paired = |key: &str| Paired::new(&method.values(key)?, &baseline.values(key)?);
    measures
        .iter()
        .filter_map(|measure| {
            Some(Comparison {
                method: method.label.clone(),
                baseline: baseline.label.clone(),
                measure: measure.clone(),
                paired: paired(&measure.key)?,
            })
        })
        .collect()
}
