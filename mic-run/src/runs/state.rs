//! Whether a run goes on.

use std::fmt;

use serde::Serialize;

use crate::lock::Lock;
use crate::report::facts::Facts;
use crate::report::story::Story;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A process trains.
    Running,
    /// All steps are done, or more of them would not help.
    Finished,
    /// It was stopped or killed, and can go on.
    Stopped,
    /// It ended with an error.
    Failed,
}

impl fmt::Display for State {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.pad(match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        })
    }
}

/// The state, and the reason where it is not the usual one.
pub(crate) fn state(facts: &Facts, story: &Story) -> (State, Option<String>) {
    let reason = story.stops.last().map(|(_, reason)| reason.as_str());
    match reason.filter(|_| story.stopped) {
        Some("finished") => (State::Finished, None),
        Some("early stop") => (State::Finished, Some("early stop".into())),
        Some(reason) if reason == "signal" || reason.starts_with("stopped by") => {
            (State::Stopped, Some(reason.into()))
        }
        Some(reason) => (State::Failed, Some(reason.into())),
        None if Lock::is_held(&facts.folder) => (State::Running, None),
        None if facts.metrics.is_some() => (State::Finished, None),
        None => (
            State::Stopped,
            Some("ended without a word, as if killed".into()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Event;

    #[test]
    fn the_last_process_tells_the_state() {
        let folder = tempfile::tempdir().unwrap();
        let facts = Facts::read(folder.path()).unwrap();
        let mut story = Story::default();
        let mut stop = |reason: &str| {
            story.tell(&Event::Stop {
                step: 1,
                reason: reason.into(),
                peak_memory: None,
            });
            state(&facts, &story).0
        };
        assert_eq!(stop("finished"), State::Finished);
        assert_eq!(stop("early stop"), State::Finished);
        assert_eq!(stop("stopped by a signal"), State::Stopped);
        assert_eq!(stop("loss is NaN"), State::Failed);
        story.tell(&Event::Start {
            step: 1,
            time: 0.0,
            command: String::new(),
        });
        assert_eq!(state(&facts, &story).0, State::Stopped, "killed");
    }

    #[test]
    fn a_run_whose_lock_is_held_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let facts = Facts::read(folder.path()).unwrap();
        let story = Story::default();
        let lock = Lock::take(folder.path()).unwrap();
        assert_eq!(state(&facts, &story).0, State::Running);
        drop(lock);
        assert_eq!(state(&facts, &story).0, State::Stopped);
    }
}
