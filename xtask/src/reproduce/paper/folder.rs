//! What is in the folder of a run.

use std::fs;
use std::path::Path;

use mic_run::cli::changes;
use mic_run::difference::Difference;
use mic_run::folder::{CHECKPOINTS, CONFIG, METRICS, RUN};
use mic_run::lock::Lock;
use serde_json::Value;
use toml::Table;

use super::needs::weights_name;
use super::select::PaperRun;

/// Where a run stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// There is nothing.
    New,
    /// It is done.
    Finished,
    /// It began and can go on; steps of its newest checkpoint.
    Unfinished(u64),
    /// Another process trains it.
    Running,
    /// It is another run.
    Other(Vec<String>),
}

/// Looks at the folder of a run.
pub(super) fn state(folder: &Path, run: &PaperRun) -> State {
    let config = match fs::read_to_string(folder.join(CONFIG)) {
        Ok(config) => config,
        Err(_) if is_empty(folder) => return State::New,
        Err(_) => return State::Other(vec![format!("it has files, and no {CONFIG}")]),
    };
    if Lock::is_held(folder) {
        return State::Running;
    }
    let reasons = [version(folder), differences(&config, run)].concat();
    if !reasons.is_empty() {
        return State::Other(reasons);
    }
    if folder.join(METRICS).is_file() {
        return State::Finished;
    }
    State::Unfinished(steps(folder))
}

/// The same, whatever version and configuration it is of.
pub(super) fn state_as_it_is(folder: &Path) -> State {
    match (folder.join(CONFIG).is_file(), Lock::is_held(folder)) {
        (false, _) => State::New,
        (true, true) => State::Running,
        (true, false) if folder.join(METRICS).is_file() => State::Finished,
        (true, false) => State::Unfinished(steps(folder)),
    }
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none())
}

/// Steps of the newest checkpoint; 0 without one.
pub(super) fn steps(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder.join(CHECKPOINTS)).into_iter().flatten();
    let step = |entry: fs::DirEntry| {
        let name = entry.file_name();
        name.to_str()?.strip_prefix("step-")?.parse().ok()
    };
    entries.flatten().filter_map(step).max().unwrap_or(0)
}

/// `run.json` or `metrics.json`.
pub(super) fn json(path: &Path) -> Option<Value> {
    serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
}

fn version(folder: &Path) -> Vec<String> {
    let run = json(&folder.join(RUN));
    let version = run.as_ref().and_then(|run| run.get("version")?.as_str());
    let ours = env!("CARGO_PKG_VERSION");
    let other = version.filter(|version| *version != ours);
    other
        .map(|version| format!("it is of version {version}, this is {ours}"))
        .into_iter()
        .collect()
}

fn differences(then: &str, run: &PaperRun) -> Vec<String> {
    let all = match changes(then, &run.text) {
        Ok(all) => all,
        Err(error) => return vec![error.to_string()],
    };
    let then: Option<Table> = then.parse().ok();
    let same_weights = then.is_some_and(|then| weights_name(&then) == weights_name(&run.config));
    let matters = |change: &&Difference| {
        // The names of the classes come from the images.
        change.key != "data.classes" && !(change.key == "model.pretrained" && same_weights)
    };
    all.iter()
        .filter(matters)
        .map(ToString::to_string)
        .collect()
}
