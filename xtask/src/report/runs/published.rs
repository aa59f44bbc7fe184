//! What others published, besides the means in the catalogues.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use mic_run::config::Evidence;
use serde::Deserialize;

const SCORES: &str = include_str!("../../../published/scores.toml");

/// All of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Published {
    order: BTreeMap<String, Vec<String>>,
    score: Vec<Score>,
}

/// Of one configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Score {
    task: String,
    configuration: String,
    order: String,
    classes: Vec<f64>,
    /// Where the scores of the classes were found.
    pub(super) evidence: Evidence,
    /// Scores of single runs.
    #[serde(default)]
    pub(super) seeds: Vec<Seeds>,
}

/// Scores of single runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Seeds {
    /// Whose they are.
    pub(super) who: String,
    /// In per cent.
    pub(super) values: Vec<f64>,
    /// Where they were read.
    pub(super) from: String,
}

impl Published {
    /// What the program carries.
    ///
    /// # Errors
    /// None, if the tests pass.
    pub(super) fn read() -> Result<Self> {
        toml::from_str(SCORES).context("the published scores")
    }

    /// Of a configuration of a task.
    pub(super) fn of(&self, task: &str, configuration: &str) -> Option<&Score> {
        let mut all = self.score.iter();
        all.find(|s| s.task == task && s.configuration == configuration)
    }

    /// The score of a class by its name, in per cent.
    pub(super) fn class(&self, score: &Score, class: &str) -> Option<f64> {
        let place = self
            .order
            .get(&score.order)?
            .iter()
            .position(|c| c == class)?;
        score.classes.get(place).copied()
    }

    /// The classes over which SYNTHIA's mean is taken.
    pub(super) fn synthia(&self) -> &[String] {
        self.order.get("synthia").map_or(&[], Vec::as_slice)
    }
}

/// What a column of published scores is called.
pub(super) fn evidence(evidence: Option<Evidence>) -> &'static str {
    match evidence {
        Some(Evidence::Source) => "published",
        Some(Evidence::Transcription) => "paper (unverified transcription)",
        None => "published (source not recorded)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reproduce::paper::Program;

    #[test]
    fn every_row_belongs_to_a_configuration_and_has_its_mean() {
        let published = Published::read().unwrap();
        for score in &published.score {
            let program = Program::ALL.into_iter().find(|p| p.task() == score.task);
            let catalogue = program.unwrap().catalogue().unwrap();
            let mut all = catalogue
                .experiments()
                .iter()
                .flat_map(|e| &e.configurations);
            let found = all.find(|c| c.file == score.configuration);
            let mean = found.unwrap().published.unwrap();
            let names = &published.order[&score.order];
            assert_eq!(names.len(), score.classes.len(), "{}", score.configuration);
            let ours = score.classes.iter().sum::<f64>() / names.len() as f64;
            assert!(
                (ours - mean).abs() < 0.1,
                "{}: {ours} and {mean}",
                score.configuration
            );
        }
    }
}
