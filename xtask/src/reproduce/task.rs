//! What a task brings to a comparison of its methods.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use mic_run::record::Evaluation;
use mic_run::train::{Outcome, Session};
use serde::Serialize;

use super::gate::Gate;
use super::method::Method;
use super::results::{ClassEntry, Measure, Results};
use crate::failure::Failure;
use crate::report::Gallery;

/// A pair of domains, or one direction of it. All methods are run on each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// Short name for files; empty where there is but one pair.
    pub key: String,
    /// Heading; empty where there is but one pair.
    pub label: String,
    /// Overrides that choose it.
    pub overrides: Vec<String>,
}

/// A method against another.
#[derive(Clone, Copy, Debug)]
pub struct Against {
    /// Its key; `None`: every other method.
    pub method: Option<&'static str>,
    /// Key of what it is compared with.
    pub baseline: &'static str,
}

/// What a configuration amounts to.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Iterations.
    pub iterations: u64,
    /// The classes.
    pub classes: Vec<ClassEntry>,
    /// What the images are.
    pub data: String,
    /// The whole of it.
    pub table: toml::Table,
}

/// What a run scored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scored {
    /// By [`Measure::key`], as fractions.
    pub scores: BTreeMap<String, f64>,
    /// The measure of each class; `None` for a class that does not occur.
    pub classes: Vec<Option<f64>>,
}

/// What a run starts from: the warm-up of its seed.
#[derive(Clone, Copy)]
pub struct Start<'a, T> {
    /// The trained network.
    pub trained: &'a T,
    /// Its file.
    pub path: &'a Path,
}

impl<T> Start<'_, T> {
    /// Makes its file, where there is one, the one whose weights a run starts from.
    pub fn set(start: Option<Self>, init_from: &mut Option<PathBuf>) {
        if let Some(start) = start {
            *init_from = Some(start.path.to_owned());
        }
    }
}

/// The whole of a configuration.
///
/// # Errors
/// A number that does not fit into TOML.
pub fn table(raw: &impl Serialize) -> Result<toml::Table> {
    toml::Table::try_from(raw).context("writing the configuration")
}

/// The masks of MIC, where they have but one form.
pub fn block_masks(results: &Results) -> Option<String> {
    let methods = &results.pairs.first()?.methods;
    let method = methods.iter().find(|method| method.key == "mic")?;
    let mask = method.config.get("mask")?;
    Some(format!(
        "{}: mask.block = {}, mask.ratio = {}; ratio 0 differs in that alone.",
        method.label,
        mask.get("block")?,
        mask.get("ratio")?
    ))
}

/// Collects pictures of trained methods.
pub trait Pictures<T> {
    /// Adds those of a method.
    ///
    /// # Errors
    /// A prediction that fails.
    fn add(&mut self, label: &str, trained: &T) -> Result<()>;

    /// The pictures so far, of networks trained with `seed`.
    fn gallery(&self, seed: u64) -> Gallery;
}

/// A task: data and methods, and how to train and measure them.
pub trait Task {
    /// A checked configuration.
    type Config;
    /// A trained network.
    type Trained;

    /// `seg`, `cls` or `det`.
    fn name(&self) -> &'static str;
    /// A heading.
    fn title(&self) -> String;
    /// Name and text of the configuration file.
    fn file(&self) -> (&'static str, &'static str);
    /// The pairs of domains, at least one.
    fn pairs(&self) -> Vec<Pair>;
    /// What all methods of a seed start from; `None`: from the configuration's own start.
    fn warmup(&self) -> Option<Method>;
    /// All methods in the order of the table, controls last.
    fn methods(&self) -> Vec<Method>;
    /// What is compared with what.
    fn comparisons(&self) -> &'static [Against];
    /// The order that `--gate` asks for.
    fn gate(&self) -> Gate;
    /// The measures, the one that counts first.
    fn measures(&self) -> Vec<Measure>;
    /// What the measure of each class is called.
    fn class_measure(&self) -> &'static str;
    /// The scalar that progress shows.
    fn loss(&self) -> &'static str;
    /// Whether a scalar is what a clock measured.
    fn is_clock(&self, name: &str) -> bool {
        name == "data.seconds"
    }
    /// What a scalar is, where more can be said than its name.
    fn scalar_title(&self, name: &str) -> Option<&'static str>;
    /// How to read the table, besides what is true of every task.
    fn reading(&self, results: &Results) -> Vec<String>;
    /// What the paper's own runs need.
    fn paper_scale(&self) -> String;

    /// The configuration of the file with overrides, checked.
    ///
    /// # Errors
    /// [`Failure::Usage`] names the key.
    fn config(&self, overrides: &[String]) -> Result<Self::Config, Failure>;
    /// Opens the sets of a configuration.
    ///
    /// # Errors
    /// What is missing or does not fit.
    fn check(&self, config: &Self::Config) -> Result<(), Failure>;
    /// What a configuration amounts to.
    ///
    /// # Errors
    /// Sets that cannot be opened.
    fn summary(&self, config: &Self::Config) -> Result<Summary, Failure>;
    /// Trains.
    ///
    /// # Errors
    /// A run that fails.
    fn train(
        &self,
        config: &Self::Config,
        start: Option<Start<'_, Self::Trained>>,
        session: Session<'_>,
    ) -> Result<Self::Trained, Failure>;
    /// What the training loop reports.
    fn outcome<'a>(&self, trained: &'a Self::Trained) -> &'a Outcome;
    /// Writes the network.
    ///
    /// # Errors
    /// A file that cannot be written.
    fn save(&self, trained: &Self::Trained, path: &Path) -> Result<(), Failure>;
    /// The scores of an evaluation.
    ///
    /// # Errors
    /// An evaluation without scores.
    fn scored(&self, evaluation: &Evaluation) -> Result<Scored>;
    /// Further scores of a trained network.
    ///
    /// # Errors
    /// Images that cannot be read.
    fn further(
        &self,
        config: &Self::Config,
        trained: &Self::Trained,
    ) -> Result<BTreeMap<String, f64>>;
    /// A collector of pictures of the test images of a configuration.
    ///
    /// # Errors
    /// Images that cannot be read.
    fn pictures(&self, config: &Self::Config) -> Result<Box<dyn Pictures<Self::Trained> + '_>>;
}
