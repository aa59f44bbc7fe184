//! Telling a person how a run goes: a bar on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{FormattedDuration, ProgressBar, ProgressStyle};

use crate::metrics::Metrics;
use crate::record::{Observer, StepRecord};

/// Progress of a run, on standard error.
#[derive(Debug)]
pub struct Progress {
    total: u64,
    started: Instant,
    window: Window,
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
    sums: BTreeMap<String, f64>,
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
            *self.sums.entry(name.clone()).or_default() += value;
        }
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
            started: Instant::now(),
            window: Window::new(),
            shown,
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
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
}

fn bar(total: u64) -> ProgressBar {
    let layout = "{bar:28} {pos}/{len}  {per_sec}  eta {eta_precise}  {wide_msg}";
    let bar = ProgressBar::new(total);
    match ProgressStyle::with_template(layout) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn scalars<'a>(values: impl IntoIterator<Item = (&'a String, f64)>) -> String {
    let named = values.into_iter();
    let parts: Vec<String> = named.map(|(n, v)| format!("{n} {v:.4}")).collect();
    parts.join("  ")
}

impl Observer for Progress {
    fn step(&mut self, record: &StepRecord) {
        let done = record.step + 1;
        self.window.add(record);
        match &self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                bar.set_message(scalars(record.scalars.iter().map(|(n, v)| (n, *v))));
                bar.set_position(done);
            }
            Shown::Lines(every) if done.is_multiple_of(*every) || done == self.total => {
                let steps = self.window.steps as f64;
                let rate = steps / self.window.began.elapsed().as_secs_f64().max(1e-9);
                let left = self.total.saturating_sub(done) as f64 / done as f64;
                let eta = self.started.elapsed().as_secs_f64() * left;
                let means = self.window.sums.iter().map(|(n, sum)| (n, sum / steps));
                self.say(&format!(
                    "step {done}/{}  {rate:.2} steps/s  eta {}  lr {:.3e}  {}",
                    self.total,
                    FormattedDuration(Duration::from_secs_f64(eta)),
                    record.lr,
                    scalars(means),
                ));
                self.window = Window::new();
            }
            Shown::Lines(_) => {}
        }
    }

    fn evaluated(&mut self, step: u64, metrics: &Metrics) {
        let percent = |value: Option<f64>| match value {
            Some(value) => format!("{:.2}", 100.0 * value),
            None => "-".to_owned(),
        };
        self.say(&format!(
            "evaluation at step {step}: mIoU {}  mAcc {}  pixels {}",
            percent(metrics.miou),
            percent(metrics.macc),
            percent(metrics.aacc)
        ));
    }
}
