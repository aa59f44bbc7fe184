//! The loop: steps, evaluations, checkpoints, and every way to stop.

use std::time::Instant;

use crate::Error;
use crate::checkpoint::{Best, Manifest, Progress, Writer, Written};
use crate::folder::{CHECKPOINTS, RunFolder};
use crate::learner::Learner;
use crate::memory;
use crate::options::RunOptions;
use crate::provenance::seconds_now;
use crate::record::{Evaluation, Event, StepRecord};
use crate::signals::StopRequest;
use crate::watch::Watch;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program's name, such as `mic-seg`.
    pub program: String,
    /// The resolved configuration (TOML).
    pub config: String,
    /// The run's seed.
    pub seed: u64,
    /// Steps of the whole run.
    pub iterations: u64,
    /// Steps between evaluations; 0 evaluates at the end only.
    pub eval_every: u64,
    /// What is written and when the run stops.
    pub options: RunOptions,
}

/// Around a run; the default writes nothing and nobody watches.
#[derive(Default)]
pub struct Session<'a> {
    /// Where checkpoints go; without a folder none are written.
    pub folder: Option<&'a RunFolder>,
    /// Those who watch.
    pub watchers: Vec<&'a mut (dyn Watch + 'a)>,
    /// Asks the run to stop early.
    pub stop: StopRequest,
    /// Where the run stands; the learner has been restored accordingly.
    pub progress: Progress,
}

impl Session<'_> {
    /// Tells those who watch something about the run, before its first step.
    pub fn note(&mut self, text: &str) {
        let event = Event::Note {
            step: self.progress.step,
            text: text.into(),
        };
        for watcher in &mut self.watchers {
            watcher.event(&event);
        }
    }
}

/// How a run ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All steps are done.
    Finished,
    /// No better evaluation for as long as [`RunOptions::early_stop`] allows.
    EarlyStop,
    /// It was asked to stop; a checkpoint of the last step has been written.
    Stopped,
}

/// What a run tells at its end.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// Where it stands.
    pub progress: Progress,
    /// The steps of this process.
    pub steps: Vec<StepRecord>,
    /// Median wall-clock seconds of a step.
    pub seconds_per_step: f64,
    /// Wall-clock seconds of this process's part of the run, evaluation included.
    pub seconds: f64,
    /// Largest resident memory in bytes, where it can be read.
    pub peak_memory: Option<u64>,
}

/// Trains until the plan is done, a signal comes, or something fails. In every case the watchers
/// are told, and what could be saved is.
///
/// # Errors
/// The learner's, a loss that is not finite (a checkpoint of the state without that step is written
/// first), and, by option, a checkpoint that cannot be written.
pub fn train<L: Learner>(
    learner: &mut L,
    plan: &Plan,
    session: Session<'_>,
) -> Result<Outcome, L::Error> {
    plan.options.check()?;
    memory::reset_peak();
    let checkpoints = session.folder.map(|folder| folder.join(CHECKPOINTS));
    let writer = checkpoints.map(|path| Writer::new(&path, plan.options.keep()));
    let mut run = Run {
        learner,
        plan,
        folder: session.folder,
        watchers: session.watchers,
        stop: session.stop,
        writer: writer.transpose()?,
        saved: (session.progress.step > 0).then_some(session.progress.step),
        progress: session.progress,
        steps: Vec::new(),
    };
    run.learner.restore_bad_samples(&run.progress.bad_samples);
    let began = Instant::now();
    let ended = run.whole();
    let reason = match &ended {
        Ok(Ending::Finished) => "finished".to_owned(),
        Ok(Ending::EarlyStop) => "early stop".to_owned(),
        Ok(Ending::Stopped) => "stopped by a signal".to_owned(),
        Err(error) => error.to_string(),
    };
    run.tell(&Event::Stop {
        step: run.progress.step,
        reason,
        peak_memory: memory::peak(),
    });
    // Watchers first: after a failed run, too, the losses that led there should be on disk.
    let watched = run.watchers.iter_mut().map(|watcher| watcher.finish());
    let watched = watched.collect::<Vec<_>>();
    let ending = ended?;
    for result in watched {
        result?;
    }
    let mut seconds: Vec<f64> = run.steps.iter().map(|step| step.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    Ok(Outcome {
        ending,
        seconds_per_step: seconds.get(seconds.len() / 2).copied().unwrap_or(0.0),
        seconds: began.elapsed().as_secs_f64(),
        peak_memory: memory::peak(),
        progress: run.progress,
        steps: run.steps,
    })
}

struct Run<'a, 'b, L: Learner> {
    learner: &'b mut L,
    plan: &'b Plan,
    folder: Option<&'a RunFolder>,
    watchers: Vec<&'a mut (dyn Watch + 'a)>,
    stop: StopRequest,
    writer: Option<Writer>,
    progress: Progress,
    /// Steps done at the newest checkpoint.
    saved: Option<u64>,
    steps: Vec<StepRecord>,
}

impl<L: Learner> Run<'_, '_, L> {
    fn whole(&mut self) -> Result<Ending, L::Error> {
        self.tell(&Event::Start {
            step: self.progress.step,
            time: seconds_now() as f64,
            command: crate::provenance::Start::now(0).command,
        });
        if let Some(folder) = self.folder {
            folder.record_start(&self.plan.program, self.plan.seed, self.progress.step)?;
        }
        let ending = loop {
            let done = self.progress.step;
            // Also for the step that a resumed run begins with: it may have been killed before.
            let better = self.evaluate_if_due(done)?;
            if self.patience_is_over() {
                break Ending::EarlyStop;
            }
            if done >= self.plan.iterations {
                break Ending::Finished;
            }
            let stop = self.learner.any(self.stop.requested())?;
            self.save_if_due(done, better)?;
            if stop {
                break Ending::Stopped;
            }
            self.step(done)?;
            self.progress.step = done + 1;
        };
        self.save()?;
        self.finish_saving()?;
        Ok(ending)
    }

    fn step(&mut self, step: u64) -> Result<(), L::Error> {
        let clock = Instant::now();
        let stepped = self.learner.step(step);
        self.tell_bad_samples(step);
        let stepped = match stepped {
            Ok(stepped) => stepped,
            Err(error) => return self.failed(step, error),
        };
        let record = StepRecord {
            step,
            scalars: stepped.scalars,
            lr: stepped.lr,
            seconds: clock.elapsed().as_secs_f64(),
        };
        let event = Event::Step(record);
        self.tell(&event);
        if let Event::Step(record) = event {
            self.steps.push(record);
        }
        if let Some(written) = self.writer.as_mut().and_then(Writer::poll) {
            self.written(written, false)?;
        }
        Ok(())
    }

    fn tell_bad_samples(&mut self, step: u64) {
        for bad in self.learner.new_bad_samples() {
            self.tell(&Event::Note {
                step: step + 1,
                text: format!("left out, as it cannot be used: {bad}"),
            });
            self.progress.bad_samples.push(bad);
        }
    }

    /// After a step that failed: leaves it out if that is allowed, else saves and gives the error.
    fn failed(&mut self, step: u64, error: L::Error) -> Result<(), L::Error> {
        let Some(found) = L::non_finite(&error) else {
            return Err(error);
        };
        let found = found.to_string();
        self.learner.undo()?;
        let allowed = self.plan.options.skip_non_finite;
        if (self.progress.skipped.len() as u64) < allowed {
            self.progress.skipped.push(step);
            self.tell(&Event::Note {
                step: step + 1,
                text: format!(
                    "step {step} was left out: {found} ({} of at most {allowed} such steps)",
                    self.progress.skipped.len()
                ),
            });
            return Ok(());
        }
        // To look at, or to go on from with another configuration. The first error counts.
        let saved = self.save().and_then(|()| self.finish_saving());
        let place = match (&self.folder, saved) {
            (Some(folder), Ok(())) => format!(
                "; the state is in {}",
                crate::checkpoint::folder(&folder.join(CHECKPOINTS), self.progress.step).display()
            ),
            (Some(_), Err(error)) => format!("; the state could not be saved: {error}"),
            (None, _) => String::new(),
        };
        Err(Error::Run(format!(
            "step {step}: {found}{place}. A smaller optimizer.lr or a longer optimizer.warmup \
             usually helps; run.skip_non_finite = N leaves out up to N such steps"
        ))
        .into())
    }

    /// Whether an evaluation was made and is the best so far.
    fn evaluate_if_due(&mut self, done: u64) -> Result<bool, L::Error> {
        let every = self.plan.eval_every;
        let due = every > 0 && done.is_multiple_of(every) || done == self.plan.iterations;
        let evaluations = &self.progress.evaluations;
        if done == 0 || !due || evaluations.last().is_some_and(|last| last.step == done) {
            return Ok(false);
        }
        let clock = Instant::now();
        let Some(mut evaluation) = self.learner.evaluate(done)? else {
            return Ok(false);
        };
        evaluation.step = done;
        evaluation.seconds = clock.elapsed().as_secs_f64();
        let better = self.note_best(&evaluation);
        self.progress.evaluations.push(evaluation.clone());
        self.tell(&Event::Evaluation(evaluation));
        if self.plan.options.pictures && self.folder.is_some() {
            let pictures = self.learner.pictures(done)?;
            for watcher in &mut self.watchers {
                watcher.pictures(done, &pictures);
            }
        }
        if self.plan.options.histograms && self.folder.is_some() {
            let histograms = self.learner.histograms()?;
            for watcher in &mut self.watchers {
                watcher.histograms(done, &histograms);
            }
        }
        Ok(better)
    }

    fn note_best(&mut self, evaluation: &Evaluation) -> bool {
        let Some(score) = evaluation.main_score().filter(|score| score.is_finite()) else {
            return false;
        };
        let best = self.progress.best.as_ref();
        let better = best.is_none_or(|best| score > best.score);
        if better {
            let step = evaluation.step;
            self.progress.best = Some(Best { step, score });
        }
        better
    }

    fn patience_is_over(&self) -> bool {
        let patience = self.plan.options.early_stop;
        let Some(best) = &self.progress.best else {
            return false;
        };
        let later = self.progress.evaluations.iter();
        let later = later.filter(|evaluation| evaluation.step > best.step);
        patience > 0 && later.count() as u64 >= patience
    }

    fn save_if_due(&mut self, done: u64, better: bool) -> Result<(), L::Error> {
        let every = self.plan.options.checkpoint_every;
        let regular = every > 0 && done > 0 && done.is_multiple_of(every);
        let best = better && self.plan.options.keep_best;
        if regular || best {
            self.save()?;
        }
        Ok(())
    }

    /// Begins a checkpoint of where the run stands, unless there is one.
    fn save(&mut self) -> Result<(), L::Error> {
        let done = self.progress.step;
        if self.writer.is_none() || self.saved == Some(done) {
            return Ok(());
        }
        for watcher in &mut self.watchers {
            watcher.flush();
        }
        let content = self.learner.content()?;
        let Plan {
            program,
            seed,
            config,
            ..
        } = self.plan;
        let manifest = Manifest::new(program, *seed, config, self.progress.clone());
        self.saved = Some(done);
        let before = self
            .writer
            .as_mut()
            .and_then(|writer| writer.begin(&content, manifest));
        before.map_or(Ok(()), |written| self.written(written, false))
    }

    fn finish_saving(&mut self) -> Result<(), L::Error> {
        let written = self.writer.as_mut().and_then(Writer::wait);
        written.map_or(Ok(()), |written| self.written(written, true))
    }

    /// Tells what became of a checkpoint. Without the last one the run is not saved.
    fn written(&mut self, written: crate::Result<Written>, is_last: bool) -> Result<(), L::Error> {
        let step = self.progress.step;
        match (written, self.folder) {
            (Ok(written), folder) => {
                if let Some(folder) = folder {
                    folder.publish(&written.path)?;
                }
                let name = written.path.file_name().unwrap_or_default();
                self.tell(&Event::Checkpoint {
                    step: written.step,
                    path: format!("{CHECKPOINTS}/{}", name.to_string_lossy()),
                    bytes: written.bytes,
                    seconds: written.seconds,
                    stopped: written.stopped,
                });
                Ok(())
            }
            (Err(error), _) => {
                if self.plan.options.stops_on_write_error() || is_last {
                    return Err(error.into());
                }
                let text = format!("warning: {error}; training goes on");
                self.tell(&Event::Note { step, text });
                Ok(())
            }
        }
    }

    fn tell(&mut self, event: &Event) {
        for watcher in &mut self.watchers {
            watcher.event(event);
        }
    }
}

#[cfg(test)]
mod tests;
