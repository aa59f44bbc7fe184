//! Reading run folders, and the results of miniatures.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use mic_run::folder::{CONFIG, EVENTS, METRICS, RUN};
use mic_run::lock::Lock;
use mic_run::record::Evaluation;
use serde::Deserialize;
use toml::Table;

use crate::reproduce::results::Results;

/// Folders inside each other that are looked through.
const DEPTH: usize = 5;

/// A run folder.
#[derive(Clone, Debug)]
pub(super) struct FoundRun {
    /// Its folder as it was found.
    pub(super) folder: PathBuf,
    /// The folder's name.
    pub(super) name: String,
    /// `mic-seg`, `mic-cls` or `mic-det`.
    pub(super) program: String,
    pub(super) seed: u64,
    pub(super) config: Table,
    /// The result; `None` of a run that is not finished.
    pub(super) result: Option<Measured>,
    /// What is to be known of a run without result.
    pub(super) state: String,
}

/// The result of a finished run.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Measured {
    pub(super) test: Option<Evaluation>,
    #[serde(default)]
    pub(super) evaluations: Vec<Evaluation>,
    pub(super) seconds_per_step: Option<f64>,
    pub(super) peak_memory_bytes: Option<u64>,
}

/// The results of a miniature.
#[derive(Clone, Debug)]
pub(super) struct Miniature {
    pub(super) path: PathBuf,
    pub(super) results: Results,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Everything {
    pub(super) runs: Vec<FoundRun>,
    pub(super) miniatures: Vec<Miniature>,
    /// Files that could not be read.
    pub(super) problems: Vec<String>,
}

#[derive(Deserialize)]
struct Start {
    program: Option<String>,
    seed: Option<u64>,
}

impl Everything {
    /// Adds what is in `root` and below, apart from `own`; nothing is looked for inside a run.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub(super) fn search(&mut self, root: &Path, own: &Path) -> Result<()> {
        self.search_below(root, own, DEPTH)
    }

    fn search_below(&mut self, folder: &Path, own: &Path, depth: usize) -> Result<()> {
        if folder == own || self.runs.iter().any(|run| run.folder == folder) {
            return Ok(());
        }
        if [RUN, EVENTS].iter().any(|file| folder.join(file).is_file()) {
            match read_run(folder) {
                Ok(run) => self.runs.push(run),
                Err(error) => self.problems.push(format!("{error:#}")),
            }
            return Ok(());
        }
        let path = folder.join("results.json");
        if path.is_file() && !self.miniatures.iter().any(|m| m.path == path) {
            match read_results(&path) {
                Ok(results) => self.miniatures.push(Miniature { path, results }),
                Err(error) => self.problems.push(format!("{error:#}")),
            }
        }
        if depth == 0 {
            return Ok(());
        }
        let failed = || format!("cannot read {}", folder.display());
        let mut below = Vec::new();
        for entry in fs::read_dir(folder).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            // Links are not followed: they may lead in circles.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                below.push(entry.path());
            }
        }
        below.sort();
        below
            .iter()
            .try_for_each(|folder| self.search_below(folder, own, depth - 1))
    }
}

fn read_run(folder: &Path) -> Result<FoundRun> {
    let text = |file: &str| -> Result<String> {
        let path = folder.join(file);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let damaged = |file: &str| format!("{} is damaged", folder.join(file).display());
    let config: Table = text(CONFIG)?.parse().with_context(|| damaged(CONFIG))?;
    let start: Start = serde_json::from_str(&text(RUN)?).with_context(|| damaged(RUN))?;
    let result = match folder.join(METRICS).is_file() {
        true => Some(serde_json::from_str(&text(METRICS)?).with_context(|| damaged(METRICS))?),
        false => None,
    };
    let own = config.get("seed").and_then(toml::Value::as_integer);
    let own = own.and_then(|seed| u64::try_from(seed).ok());
    let state = match Lock::is_held(folder) {
        _ if result.is_some() => "finished",
        true => "being trained",
        false => "not finished",
    };
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let name = whole
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    Ok(FoundRun {
        folder: folder.to_owned(),
        name: name.unwrap_or_default(),
        program: start.program.unwrap_or_else(|| "unknown".into()),
        seed: start.seed.or(own).unwrap_or(0),
        config,
        result,
        state: state.into(),
    })
}

fn read_results(path: &Path) -> Result<Results> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| {
        format!(
            "{} is damaged, or of a version whose results look otherwise",
            path.display()
        )
    })
}
