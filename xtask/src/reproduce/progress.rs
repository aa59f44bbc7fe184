//! Progress on the error stream: bars with the time left on a terminal, else plain lines.

use std::io::{IsTerminal, Write, stderr};
use std::time::Instant;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use mic_run::record::{Evaluation, Event, StepRecord};
use mic_run::watch::Watch;

/// Progress of all runs together.
pub(super) struct Progress {
    bars: Option<(MultiProgress, ProgressBar)>,
    total: u64,
    done: u64,
    started: Instant,
    /// The scalar that is shown.
    loss: &'static str,
    /// What the score is called.
    measure: String,
}

impl Progress {
    /// Progress over `total` iterations that shows the scalar `loss` and a score called `measure`.
    pub(super) fn new(total: u64, loss: &'static str, measure: &str) -> Self {
        let bars = stderr().is_terminal().then(|| {
            let all = MultiProgress::new();
            let overall = all.add(bar(total, "all runs"));
            (all, overall)
        });
        Self {
            bars,
            total,
            done: 0,
            started: Instant::now(),
            loss,
            measure: measure.to_owned(),
        }
    }

    /// The observer of one run.
    pub(super) fn run<'a>(&'a mut self, name: &str, iterations: u64) -> RunProgress<'a> {
        let bar = self.bars.as_ref().map(|(all, overall)| {
            let bar = all.insert_before(overall, bar(iterations, name));
            bar.tick();
            bar
        });
        let progress = RunProgress {
            all: self,
            name: name.to_owned(),
            iterations,
            bar,
            score: None,
        };
        progress.line("starts");
        progress
    }

    /// Ends the bars.
    pub(super) fn finish(&self) {
        if let Some((_, overall)) = &self.bars {
            overall.finish();
        }
    }
}

fn bar(length: u64, name: &str) -> ProgressBar {
    let template = "{prefix:32!} [{bar:24}] {pos}/{len} {elapsed_precise} ETA {eta_precise} {msg}";
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length)
        .with_style(style.progress_chars("=> "))
        .with_prefix(name.to_owned())
}

/// Progress of one run.
pub(super) struct RunProgress<'a> {
    all: &'a mut Progress,
    name: String,
    iterations: u64,
    bar: Option<ProgressBar>,
    score: Option<f64>,
}

impl RunProgress<'_> {
    fn line(&self, text: &str) {
        if self.bar.is_none() {
            // Nothing is left to say if the error stream is closed.
            let _ = writeln!(stderr(), "{}: {text}", self.name);
        }
    }

    /// Whole seconds until all runs are done, at the pace so far.
    fn seconds_left(&self) -> u64 {
        let pace = self.all.started.elapsed().as_secs_f64() / self.all.done.max(1) as f64;
        (pace * (self.all.total.saturating_sub(self.all.done)) as f64).round() as u64
    }

    /// Ends the run's bar.
    pub(super) fn finish(self) {
        if let Some(bar) = &self.bar {
            bar.finish();
        }
    }
}

impl RunProgress<'_> {
    fn step(&mut self, record: &StepRecord) {
        self.all.done += 1;
        let loss = record.scalars.get(self.all.loss);
        let loss = loss.map_or(String::new(), |loss| format!("loss {loss:.3}"));
        if let (Some(bar), Some((_, overall))) = (&self.bar, &self.all.bars) {
            let score = self.score.map_or(String::new(), |score| {
                format!(" {} {:.2}", self.all.measure, 100.0 * score)
            });
            bar.set_message(loss + &score);
            bar.inc(1);
            overall.inc(1);
            return;
        }
        let done = record.step + 1;
        if done.is_multiple_of((self.iterations / 5).max(1)) {
            let (all, left) = (self.iterations, self.seconds_left());
            self.line(&format!(
                "{done} of {all} iterations, {loss}; {left} s left for all runs"
            ));
        }
    }

    fn evaluated(&mut self, evaluation: &Evaluation) {
        self.score = evaluation.main_score();
        if let Some(score) = self.score {
            let (score, step) = (100.0 * score, evaluation.step);
            let measure = &self.all.measure;
            self.line(&format!("{measure} {score:.2} after {step} iterations"));
        }
    }
}

impl Watch for RunProgress<'_> {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Step(record) => self.step(record),
            Event::Evaluation(evaluation) => self.evaluated(evaluation),
            _ => {}
        }
    }
}
