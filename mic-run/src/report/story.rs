//! What a run has told so far, in bounded memory.

use std::sync::Arc;

use super::curve::Curve;
use super::facts::Facts;
use crate::provenance::timestamp;
use crate::record::{Evaluation, Event, StepRecord};

/// Notes that are kept word by word.
const NOTES: usize = 100;

/// Everything that a page or a table says about a run, fed event by event.
#[derive(Clone, Debug, Default)]
pub(crate) struct Story {
    /// Steps done.
    pub(crate) done: u64,
    /// Scalars by name, in the order in which they came first.
    pub(crate) scalars: Vec<(String, Curve)>,
    pub(crate) lr: Curve,
    /// Seconds of a step.
    pub(crate) seconds: Curve,
    pub(crate) evaluations: Vec<Arc<Evaluation>>,
    pub(crate) starts: Vec<Start>,
    /// Stops, by steps done and reason.
    pub(crate) stops: Vec<(u64, String)>,
    pub(crate) checkpoints: Vec<Checkpoint>,
    /// Notes by steps done, the last ones.
    pub(crate) notes: Vec<(u64, String)>,
    /// Notes that were dropped.
    pub(crate) older_notes: u64,
    /// Largest peak of the processes that have stopped.
    pub(crate) peak_memory: Option<u64>,
    /// The process that trains, or trained last, has said that it stops.
    pub(crate) stopped: bool,
    /// Whether the last event of the file was torn or unknown lines were met.
    pub(crate) unread: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) step: u64,
    pub(crate) time: f64,
}

#[derive(Clone, Debug)]
pub(crate) struct Checkpoint {
    pub(crate) step: u64,
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) stopped: f64,
}

impl Story {
    /// Adds an event.
    pub(crate) fn tell(&mut self, event: &Event) {
        match event {
            Event::Start { step, time, .. } => self.start(*step, *time),
            Event::Step(StepRecord {
                step,
                scalars,
                lr,
                seconds,
            }) => {
                self.step(*step, *lr, *seconds);
                let mut expected = 0;
                for (name, value) in scalars {
                    self.scalar(&mut expected, *step, name, *value);
                }
            }
            Event::Evaluation(evaluation) => {
                // A resumed run may measure once more where it was killed.
                let same = |last: &Arc<Evaluation>| last.step == evaluation.step;
                if self.evaluations.last().is_some_and(same) {
                    self.evaluations.pop();
                }
                self.evaluations.push(Arc::new(evaluation.clone()));
            }
            Event::Checkpoint {
                step,
                path,
                bytes,
                seconds,
                stopped,
            } => self.checkpoints.push(Checkpoint {
                step: *step,
                path: path.clone(),
                bytes: *bytes,
                seconds: *seconds,
                stopped: *stopped,
            }),
            Event::Note { step, text } => {
                if self.notes.len() == NOTES {
                    self.notes.remove(0);
                    self.older_notes += 1;
                }
                self.notes.push((*step, text.clone()));
            }
            Event::Stop {
                step,
                reason,
                peak_memory,
            } => {
                self.stops.push((*step, reason.clone()));
                self.peak_memory = self.peak_memory.max(*peak_memory);
                self.stopped = true;
            }
        }
        if !matches!(event, Event::Start { .. }) {
            self.done = self.done.max(event.done());
        }
    }

    /// A process goes on at `step`: what came after it will come again.
    fn start(&mut self, step: u64, time: f64) {
        self.starts.push(Start { step, time });
        self.stopped = false;
        self.done = step;
        let curves = self.scalars.iter_mut().map(|(_, curve)| curve);
        for curve in curves.chain([&mut self.lr, &mut self.seconds]) {
            curve.truncate(step);
        }
        self.evaluations
            .retain(|evaluation| evaluation.step <= step);
        self.checkpoints
            .retain(|checkpoint| checkpoint.step <= step);
        self.notes.retain(|(done, _)| *done <= step);
    }

    /// A step without its scalars.
    pub(super) fn step(&mut self, step: u64, lr: f64, seconds: f64) {
        self.lr.add(step, lr);
        self.seconds.add(step, seconds);
        self.done = self.done.max(step + 1);
    }

    /// A scalar of a step. They come in the same order at every step as a rule: `expected` is where
    /// this one is looked for first, and then where the next one is expected.
    pub(super) fn scalar(&mut self, expected: &mut usize, step: u64, name: &str, value: f64) {
        let here = |(known, _): &(String, Curve)| known == name;
        let place = match self.scalars.get(*expected).is_some_and(here) {
            true => *expected,
            false => self.scalars.iter().position(here).unwrap_or_else(|| {
                self.scalars.push((name.to_owned(), Curve::default()));
                self.scalars.len() - 1
            }),
        };
        *expected = place + 1;
        self.scalars[place].1.add(step, value);
    }

    /// The named scalar.
    pub(crate) fn curve(&self, name: &str) -> Option<&Curve> {
        let found = self.scalars.iter().find(|(known, _)| known == name);
        found.map(|(_, curve)| curve)
    }

    /// When the first process started, in UTC.
    pub(crate) fn started(&self, facts: &Facts) -> Option<String> {
        let told = self
            .starts
            .first()
            .map(|start| timestamp(start.time as u64));
        told.or_else(|| facts.starts().into_iter().next().map(|start| start.1))
    }

    /// The last evaluation.
    pub(crate) fn last(&self) -> Option<&Evaluation> {
        self.evaluations.last().map(Arc::as_ref)
    }

    /// The evaluation with the largest main score; the first of equal ones.
    pub(crate) fn best(&self) -> Option<&Evaluation> {
        let mut best: Option<(&Evaluation, f64)> = None;
        for evaluation in &self.evaluations {
            let score = evaluation.main_score().filter(|score| !score.is_nan());
            if let Some(score) = score
                && best.is_none_or(|(_, most)| score > most)
            {
                best = Some((evaluation, score));
            }
        }
        best.map(|(evaluation, _)| evaluation)
    }

    /// The score by steps done.
    pub(crate) fn score(&self, name: &str) -> Vec<(f64, f64)> {
        let value = |evaluation: &Arc<Evaluation>| {
            let score = evaluation.scores.get(name).copied().flatten()?;
            Some((evaluation.step as f64, score))
        };
        self.evaluations.iter().filter_map(value).collect()
    }

    /// Names of the scores, the main one first.
    pub(crate) fn score_names(&self) -> Vec<String> {
        let Some(last) = self.last() else {
            return Vec::new();
        };
        let others = last.scores.keys().filter(|name| **name != last.main);
        let main = last.scores.contains_key(&last.main).then_some(&last.main);
        main.into_iter().chain(others).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(step: u64) -> Event {
        Event::Start {
            step,
            time: 0.0,
            command: String::new(),
        }
    }

    fn step(step: u64, loss: f64) -> Event {
        Event::Step(StepRecord {
            step,
            scalars: [("loss".to_owned(), loss)].into(),
            lr: 0.1,
            seconds: 0.5,
        })
    }

    fn evaluation(step: u64, score: f64) -> Event {
        Event::Evaluation(Evaluation {
            step,
            main: "mIoU".into(),
            scores: [("mIoU".to_owned(), Some(score))].into(),
            ..Evaluation::default()
        })
    }

    #[test]
    fn a_resumed_run_tells_its_steps_once() {
        let mut story = Story::default();
        let events = [
            start(0),
            step(0, 1.0),
            step(1, 2.0),
            evaluation(2, 0.5),
            step(2, 3.0),
            evaluation(3, 0.9),
            start(2),
            evaluation(2, 0.5),
            step(2, 5.0),
        ];
        events.iter().for_each(|event| story.tell(event));
        let wanted = [(1.0, 1.0), (2.0, 2.0), (3.0, 5.0)];
        assert_eq!(story.curve("loss").unwrap().points(), wanted);
        assert_eq!(story.score("mIoU"), [(2.0, 0.5)]);
        assert_eq!((story.done, story.starts[1].step), (3, 2));
        assert_eq!(story.best().unwrap().step, 2);
    }

    #[test]
    fn scalars_that_come_and_go_find_their_curve() {
        let mut story = Story::default();
        for step in 0..4 {
            let names: &[&str] = if step % 2 == 0 {
                &["b", "d"]
            } else {
                &["a", "b", "c"]
            };
            let scalars = names.iter().map(|n| ((*n).to_owned(), 1.0)).collect();
            story.tell(&Event::Step(StepRecord {
                step,
                scalars,
                ..StepRecord::default()
            }));
        }
        let counts = ["a", "b", "c", "d"].map(|n| story.curve(n).unwrap().count());
        assert_eq!(counts, [2.0, 4.0, 2.0, 2.0]);
    }
}
