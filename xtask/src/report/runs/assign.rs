//! Which configuration of a catalogue a run is of.

use anyhow::{Result, anyhow};
use mic_run::cli::is_free;
use mic_run::config::{Catalogue, Configuration};
use mic_run::difference::{Difference, differences};
use toml::Table;

use super::found::FoundRun;
use crate::reproduce::paper::{Program, weights_name};

/// The configurations of a program with their defaults.
pub(super) struct Known {
    pub(super) program: Program,
    pub(super) catalogue: Catalogue,
    /// File, and the configuration in it.
    expanded: Vec<(String, Table)>,
}

/// What a run is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Place {
    /// A run of this file.
    Of(String),
    /// It is called like a run of this file, and differs from it.
    Like(String, Vec<String>),
    /// None of the catalogue's.
    Other,
}

impl Known {
    /// # Errors
    /// A catalogue that does not hold together.
    pub(super) fn read(program: Program) -> Result<Self> {
        let failed = |failure: crate::failure::Failure| anyhow!("{}: {failure}", program.name());
        let catalogue = program.catalogue().map_err(failed)?;
        let mut expanded = Vec::new();
        for configuration in catalogue
            .experiments()
            .iter()
            .flat_map(|e| &e.configurations)
        {
            let file = catalogue
                .files()
                .iter()
                .find(|f| f.name == configuration.file);
            let Some(file) = file else { continue };
            let text = program.expand(file, &[]).map_err(failed)?;
            expanded.push((configuration.file.clone(), text.parse()?));
        }
        Ok(Self {
            program,
            catalogue,
            expanded,
        })
    }

    /// The seed in a configuration file.
    pub(super) fn own_seed(&self, file: &str) -> Option<u64> {
        let (_, config) = self.expanded.iter().find(|(name, _)| name == file)?;
        config.get("seed")?.as_integer()?.try_into().ok()
    }

    /// Where a run belongs.
    pub(super) fn place(&self, run: &FoundRun) -> Place {
        for (file, config) in &self.expanded {
            if matter(config, &run.config).is_empty() {
                return Place::Of(file.clone());
            }
        }
        let mut all = self.catalogue.experiments().iter();
        let called = all.find_map(|e| e.configurations.iter().find(|c| is_called(run, c)));
        let like = called.and_then(|c| self.expanded.iter().find(|(file, _)| *file == c.file));
        like.map_or(Place::Other, |(file, config)| {
            let all = matter(config, &run.config);
            Place::Like(file.clone(), all.iter().map(ToString::to_string).collect())
        })
    }
}

fn is_called(run: &FoundRun, configuration: &Configuration) -> bool {
    let rest = run.name.strip_prefix(configuration.name.as_str());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("_s"))
}

/// Differences that make it another run: neither the seed nor where files are.
fn matter(configuration: &Table, run: &Table) -> Vec<Difference> {
    let mut all = differences(configuration, run);
    let same_weights = weights_name(configuration) == weights_name(run);
    all.retain(|difference| {
        let key = difference.key.as_str();
        !(is_incidental(key) || (key == "model.pretrained" && same_weights))
    });
    all
}

/// Keys that say nothing about what is trained how.
pub(super) fn is_incidental(key: &str) -> bool {
    is_free(key)
        || matches!(
            key,
            "seed" | "data.classes" | "data.stats_cache" | "train.eval_every"
        )
        || key.ends_with(".root")
}
