//! A run in one line.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::state::{State, state};
use crate::Result;
use crate::folder::EVENTS;
use crate::record::Evaluation;
use crate::report::facts::Facts;
use crate::report::story::Story;

/// A run in one line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunSummary {
    /// The folder's name, or its path below the folder that was listed.
    pub name: String,
    /// The run folder.
    pub folder: PathBuf,
    /// The program that trains, such as `mic-seg`.
    pub program: Option<String>,
    /// When its first process started, in UTC.
    pub started: Option<String>,
    /// Where it stands.
    pub state: State,
    /// Why it ended, where that is not simply its end.
    pub reason: Option<String>,
    /// Steps done.
    pub done: u64,
    /// Steps of the whole run.
    pub total: Option<u64>,
    /// Name of the main score.
    pub main: Option<String>,
    /// The largest main score.
    pub best: Option<ScoreAt>,
    /// The last main score.
    pub last: Option<ScoreAt>,
    /// Median seconds of a step; in a long run, of means over windows.
    pub seconds_per_step: Option<f64>,
    /// Seconds of all steps, without those that were done again.
    pub training_seconds: f64,
    /// Seconds of all evaluations.
    pub evaluation_seconds: f64,
    /// Largest resident memory in bytes.
    pub peak_memory: Option<u64>,
}

/// A score and when it was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ScoreAt {
    /// Steps done.
    pub step: u64,
    /// The score.
    pub value: f64,
}

impl RunSummary {
    /// Reads a run folder.
    ///
    /// # Errors
    /// A folder that is none, or whose events cannot be read.
    pub fn read(folder: &Path) -> Result<Self> {
        let facts = Facts::read(folder)?;
        let story = Story::read(&folder.join(EVENTS))?;
        Ok(Self::of(&facts, &story))
    }

    pub(crate) fn of(facts: &Facts, story: &Story) -> Self {
        let (state, reason) = state(facts, story);
        let scored = |evaluation: &Evaluation| {
            let value = evaluation.main_score()?;
            let step = evaluation.step;
            Some(ScoreAt { step, value })
        };
        let recorded = facts.metrics.as_ref();
        let recorded = recorded.and_then(|metrics| metrics.get("peak_memory")?.as_u64());
        let seconds = story
            .evaluations
            .iter()
            .map(|evaluation| evaluation.seconds);
        Self {
            name: facts.name.clone(),
            folder: facts.folder.clone(),
            program: facts.run_value("program"),
            started: story.started(facts),
            state,
            reason,
            done: story.done,
            total: facts.total(),
            main: story.last().map(|evaluation| evaluation.main.clone()),
            best: story.best().and_then(scored),
            last: story.last().and_then(scored),
            seconds_per_step: story.seconds.median(),
            training_seconds: story.seconds.sum(),
            evaluation_seconds: seconds.sum(),
            peak_memory: story.peak_memory.or(recorded),
        }
    }
}
