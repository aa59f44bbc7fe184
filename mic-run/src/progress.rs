//! Telling a person how a run goes: a bar on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{FormattedDuration, ProgressBar, ProgressStyle};

use crate::memory;
use crate::record::{Evaluation, Event, StepRecord};
use crate::watch::Watch;

/// Progress of a run, on standard error.
#[derive(Debug)]
pub struct Progress {
    total: u64,
    window: Window,
    /// Steps of this process and the seconds that they took, evaluations apart.
    rate: (u64, f64),
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Nothing,
    Bar(ProgressBar),
    /// A line every so many steps.
    Lines(u64),
}

/// Steps since the last line.
#[derive(Debug)]
struct Window {
    began: Instant,
    steps: u64,
    sums: BTreeMap<String, (f64, u64)>,
}

impl Window {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            steps: 0,
            sums: BTreeMap::new(),
        }
    }

    fn add(&mut self, record: &StepRecord) {
        self.steps += 1;
        for (name, value) in &record.scalars {
            // A scalar that a step does not have says nothing about the others.
            if value.is_finite() {
                let (sum, count) = self.sums.entry(name.clone()).or_default();
                *sum += value;
                *count += 1;
            }
        }
    }

    fn means(&self) -> String {
        let mean = |(name, (sum, count)): (&String, &(f64, u64))| {
            format!("{name} {:.4}", sum / *count as f64)
        };
        self.sums.iter().map(mean).collect::<Vec<_>>().join("  ")
    }
}

impl Progress {
    /// Progress of `total` steps: a bar if standard error is a terminal, else a line every `every`
    /// steps; nothing if `quiet`.
    pub fn new(total: u64, every: u64, quiet: bool) -> Self {
        let shown = if quiet {
            Shown::Nothing
        } else if std::io::stderr().is_terminal() {
            Shown::Bar(bar(total))
        } else {
            Shown::Lines(every.max(1))
        };
        Self {
            total,
            window: Window::new(),
            rate: (0, 0.0),
            shown,
        }
    }

    fn say(&self, line: &str) {
        match &self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => bar.println(line),
            Shown::Lines(_) => {
                // Progress that cannot be told is no reason to stop a run.
                let _ = writeln!(std::io::stderr(), "{line}");
            }
        }
    }

    fn step(&mut self, record: &StepRecord) {
        let done = record.step + 1;
        self.window.add(record);
        self.rate.0 += 1;
        self.rate.1 += record.seconds;
        match &self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                bar.set_position(done);
                // Ten times a second is more than can be read.
                if self.window.began.elapsed() > Duration::from_millis(100) {
                    let memory = memory::resident().map(memory::readable);
                    let memory = memory.map_or(String::new(), |m| format!("{m}  "));
                    bar.set_message(format!("{memory}{}", self.window.means()));
                    self.window = Window::new();
                }
            }
            Shown::Lines(every) if done.is_multiple_of(*every) || done == self.total => {
                let steps = self.window.steps as f64;
                let rate = steps / self.window.began.elapsed().as_secs_f64().max(1e-9);
                let left = self.total.saturating_sub(done) as f64;
                let eta = left * self.rate.1 / self.rate.0 as f64;
                let memory = memory::resident().map(memory::readable);
                let memory = memory.map_or(String::new(), |m| format!("  memory {m}"));
                self.say(&format!(
                    "step {done}/{}  {rate:.2} steps/s  eta {}{memory}  lr {:.3e}  {}",
                    self.total,
                    FormattedDuration(Duration::from_secs_f64(eta)),
                    record.lr,
                    self.window.means(),
                ));
                self.window = Window::new();
            }
            Shown::Lines(_) => {}
        }
    }

    fn evaluated(&mut self, evaluation: &Evaluation) {
        let score = |(name, value): (&String, &Option<f64>)| match value {
            Some(value) => format!("{name} {:.2}", 100.0 * value),
            None => format!("{name} -"),
        };
        let scores: Vec<String> = evaluation.scores.iter().map(score).collect();
        self.say(&format!(
            "evaluation at step {}: {}",
            evaluation.step,
            scores.join("  ")
        ));
        // The time of the evaluation is none of the next steps'.
        self.window = Window::new();
    }
}

fn bar(total: u64) -> ProgressBar {
    let layout = "{bar:28} {pos}/{len}  {per_sec}  eta {eta_precise}  {wide_msg}";
    let bar = ProgressBar::new(total);
    match ProgressStyle::with_template(layout) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

impl Watch for Progress {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Start { step, .. } => {
                if let Shown::Bar(bar) = &self.shown {
                    bar.set_position(*step);
                    bar.reset_eta();
                }
            }
            Event::Step(record) => self.step(record),
            Event::Evaluation(evaluation) => self.evaluated(evaluation),
            Event::Note { text, .. } => self.say(text),
            Event::Checkpoint { .. } | Event::Stop { .. } => {}
        }
    }

    fn finish(&mut self) -> crate::Result<()> {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
        Ok(())
    }
}
