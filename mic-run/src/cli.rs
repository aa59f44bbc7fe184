//! What the command lines of all tasks have in common.

pub mod data;
pub mod train;

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use candle_core::Tensor;
use toml::Table;
use tracing_subscriber::EnvFilter;

use crate::checkpoint::{Progress as Position, newest};
use crate::difference::{Difference, differences};
use crate::distributed::Backend;
use crate::events::EventLog;
use crate::folder::{CHECKPOINTS, CONFIG, EVENTS, METRICS, Opening, RunFolder, TENSORBOARD};
use crate::pictures::PictureFiles;
use crate::progress::Progress;
use crate::record::BadSample;
use crate::report::{self, ReportWriter};
use crate::result::RunResult;
use crate::tensorboard::TensorBoard;
use crate::train::{Ending, Outcome, Plan};
use crate::watch::Watch;
use crate::{Error, Result};

/// Exit code of a run that a signal stopped: it is saved, and `--resume` goes on with it.
pub const STOPPED: u8 = 3;

/// Keys that may differ on a resume: they change nothing of what comes out.
const FREE: [&str; 5] = [
    "run.",
    "data.loader_",
    "data.decode_limit_mb",
    "data.skip_bad",
    "data.cache",
];

/// Where a run is written and how it is shown: options of every task's `train`.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// Run folder; must be new or empty.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Go on with the run in the folder from its newest checkpoint that is whole.
    #[arg(long, conflicts_with = "overwrite")]
    pub resume: bool,
    /// Go on although the configuration differs from the one that the run was started with.
    #[arg(long, requires = "resume")]
    pub accept_changes: bool,
    /// Replace the run in a folder that is not empty. Files of other names stay.
    #[arg(long)]
    pub overwrite: bool,
    /// Go on past up to N training images that cannot be read; the same as --set data.skip_bad=N.
    #[arg(long, value_name = "N")]
    pub skip_bad: Option<u64>,
    /// Steps between progress lines where there is no terminal.
    #[arg(long, value_name = "STEPS", default_value_t = 50)]
    pub log_every: u64,
    /// No progress, only the result.
    #[arg(short, long)]
    pub quiet: bool,
    /// How several processes (torchrun, mpirun, srun) speak to each other.
    #[arg(long, value_enum, default_value_t, value_name = "BACKEND")]
    pub backend: Backend,
    /// Say more: -v what is found, -vv details. RUST_LOG, where it is set, counts instead.
    #[arg(short, long, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
}

/// What a resumed run goes on from.
pub struct Resumed {
    /// Everything that steps change, by name.
    pub content: HashMap<String, Tensor>,
    /// Where the run stood.
    pub position: Position,
}

impl RunArgs {
    /// The run folder, checked but unchanged. Of several processes the `main` one writes it; the
    /// others may find that it has begun.
    ///
    /// # Errors
    /// [`Error::Usage`] for a folder that cannot take the run.
    pub fn folder(&self, main: bool) -> Result<RunFolder> {
        let opening = match (self.resume, self.overwrite || !main) {
            (true, _) => Opening::Resume,
            (_, true) => Opening::Overwrite,
            _ => Opening::New,
        };
        RunFolder::check(&self.out, opening)
    }

    /// Compares the configuration with that of the run to go on with, finds its newest whole
    /// checkpoint and reads it; `None` where the run was killed before its first one (or is new).
    /// Says what it passed over.
    ///
    /// # Errors
    /// A configuration that differs, unless `--accept-changes` is given; checkpoints of which none
    /// is whole.
    pub fn resume(&self, folder: &RunFolder, config: &str) -> Result<Option<Resumed>> {
        if !self.resume {
            return Ok(None);
        }
        let changed = changes(&folder.config()?, config)?;
        if !changed.is_empty() && !self.accept_changes {
            let lines: Vec<String> = changed.iter().map(|d| format!("\n  {d}")).collect();
            return Err(Error::Usage(format!(
                "the configuration differs from that of the run in {} (then -> now):{}\nresume with \
                 the run's own ({CONFIG} in its folder), or add --accept-changes",
                folder.path().display(),
                lines.concat()
            )));
        }
        let Some(found) = newest(&folder.join(CHECKPOINTS))? else {
            self.say("no checkpoint yet: starting from the beginning");
            return Ok(None);
        };
        for reason in &found.skipped {
            self.say(&format!(
                "warning: passing over a newer checkpoint: {reason}"
            ));
        }
        let position = found.checkpoint.manifest().progress.clone();
        let path = found.checkpoint.path().display();
        self.say(&format!("resuming at step {} from {path}", position.step));
        Ok(Some(Resumed {
            content: found.checkpoint.content()?.named(),
            position,
        }))
    }

    /// What the options mean as `--set` of the configuration.
    pub fn sets(&self) -> Vec<String> {
        let skip_bad = self.skip_bad.map(|count| format!("data.skip_bad={count}"));
        skip_bad.into_iter().collect()
    }

    /// Lists the training samples that were replaced.
    fn say_bad_samples(&self, bad: &[BadSample]) {
        if !bad.is_empty() {
            let lines: String = bad.iter().map(|bad| format!("\n  {bad}")).collect();
            let count = bad.len();
            let samples = if count == 1 { "sample" } else { "samples" };
            self.say(&format!(
                "left out {count} training {samples} that cannot be used:{lines}"
            ));
        }
    }

    /// A line for people on standard error, unless `--quiet` was given.
    pub fn say(&self, line: &str) {
        if !self.quiet {
            note(line);
        }
    }
}

/// What differs between the configuration that a run was started `then` with and that of `now`, apart
/// from the keys that change nothing of what comes out.
///
/// # Errors
/// A text that is no TOML.
pub fn changes(then: &str, now: &str) -> Result<Vec<Difference>> {
    let table = |text: &str| -> Result<Table> {
        text.parse().map_err(|error| {
            Error::Usage(format!("{CONFIG} of the run folder is damaged: {error}"))
        })
    };
    let mut all = differences(&table(then)?, &table(now)?);
    all.retain(|difference| !is_free(&difference.key));
    Ok(all)
}

/// Whether a key of a configuration changes nothing of what comes out.
pub fn is_free(key: &str) -> bool {
    FREE.iter().any(|free| key.starts_with(free))
}

/// Everything that records and shows a run; the default nothing.
#[derive(Default)]
pub struct Recorders {
    watchers: Vec<Box<dyn Watch>>,
}

impl Recorders {
    /// Opens the records of a run that goes on after `done` steps.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn open(args: &RunArgs, folder: &RunFolder, plan: &Plan, done: u64) -> Result<Self> {
        let events = folder.join(EVENTS);
        let log = if folder.opening() == Opening::Resume {
            EventLog::resume(&events, done)?
        } else {
            EventLog::create(&events)?
        };
        let mut watchers: Vec<Box<dyn Watch>> = vec![
            Box::new(Progress::new(plan.iterations, args.log_every, args.quiet)),
            Box::new(log),
        ];
        if plan.options.tensorboard {
            let board = TensorBoard::open(&folder.join(TENSORBOARD))?;
            watchers.push(Box::new(board.every(plan.options.log_every)));
        }
        watchers.push(Box::new(PictureFiles::new(folder.path())));
        watchers.push(Box::new(ReportWriter::open(folder.path())?));
        Ok(Self { watchers })
    }

    /// Those who watch.
    pub fn watchers<'a>(&'a mut self) -> Vec<&'a mut (dyn Watch + 'a)> {
        let watchers = self.watchers.iter_mut();
        watchers
            .map(|watcher| watcher.as_mut() as &mut (dyn Watch + 'a))
            .collect()
    }
}

/// Writes the result of a run that ended and draws its page for the last time; a run that was
/// stopped by a signal has no result yet.
///
/// # Errors
/// A file that cannot be written.
pub fn conclude(args: &RunArgs, folder: &RunFolder, plan: &Plan, outcome: &Outcome) -> Result<()> {
    let place = folder.path().display();
    let done = outcome.progress.step;
    args.say_bad_samples(&outcome.progress.bad_samples);
    if outcome.ending == Ending::Stopped {
        args.say(&format!(
            "stopped by a signal after step {done} of {}, saved; go on with --out {place} --resume",
            plan.iterations
        ));
        return Ok(());
    }
    folder.put_json(METRICS, &RunResult::new(plan, outcome))?;
    report::write(folder.path())?;
    let memory = outcome.peak_memory.map(crate::memory::readable);
    args.say(&format!(
        "{} steps in {:.1} s, {:.3} s a step{}, run folder {place}",
        outcome.steps.len(),
        outcome.seconds,
        outcome.seconds_per_step,
        memory.map_or(String::new(), |memory| format!(", peak memory {memory}"))
    ));
    Ok(())
}

/// The exit code of a run that did not fail.
pub fn code_of(outcome: &Outcome) -> ExitCode {
    match outcome.ending {
        Ending::Finished | Ending::EarlyStop => ExitCode::SUCCESS,
        Ending::Stopped => ExitCode::from(STOPPED),
    }
}

/// The exit code of a program that did something, after telling its error: 1, or 2 where `usage` says
/// that it was asked for what cannot be done.
pub fn exit<E: std::error::Error>(
    done: std::result::Result<ExitCode, E>,
    usage: impl FnOnce(&E) -> bool,
) -> ExitCode {
    let error = match done {
        Ok(code) => return code,
        Err(error) => error,
    };
    note(&format!("error: {}", message(&error)));
    if usage(&error) {
        ExitCode::from(2)
    } else {
        ExitCode::FAILURE
    }
}

/// The error with those of its causes that it does not already tell, without the stack frames that
/// candle appends to its messages under `RUST_BACKTRACE`.
pub fn message(error: &dyn std::error::Error) -> String {
    let told = |error: &dyn std::error::Error| {
        let text = error.to_string();
        let end = text.find("\n   0: ").unwrap_or(text.len());
        text[..end].trim_end().to_owned()
    };
    let mut text = told(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        let reason = told(error);
        if !text.contains(&reason) {
            text = format!("{text}: {reason}");
        }
        cause = error.source();
    }
    text
}

/// `value` as indented JSON with a line end.
///
/// # Errors
/// A value that JSON cannot express.
pub fn json(value: &impl serde::Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n")
        .map_err(|error| Error::Run(format!("cannot write the results as JSON: {error}")))
}

/// Writes results, which are what standard output is for.
///
/// # Errors
/// A standard output that is closed or full.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Error::Run(format!("cannot write to standard output: {error}")))
}

/// A line for people, on standard error.
pub fn note(text: &str) {
    // Nothing is left to do if standard error is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Sends the program's own messages to standard error: warnings, with `verbose` more, or what
/// `RUST_LOG` asks for.
pub fn init_logging(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    // A second call, in tests, changes nothing.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        let error = Error::Io {
            path: "a.png".into(),
            source: std::io::Error::other("disk on fire"),
        };
        assert_eq!(message(&error), "cannot access a.png: disk on fire");
    }

    #[test]
    fn stack_frames_are_left_out() {
        let error = Error::Run("no such tensor\n   0: candle_core::bt\n   1: main\n".into());
        assert_eq!(message(&error), "no such tensor");
    }

    #[test]
    fn only_changes_that_matter_count() {
        let then =
            "seed = 1\n[data]\nloader_threads = 2\n[run]\nkeep_last = 2\n[train]\nbatch = 2\n";
        let now = then.replace("keep_last = 2", "keep_last = 9");
        let now = now.replace(
            "loader_threads = 2",
            "loader_threads = 0\nskip_bad = 3\ncache = \"c\"\nloader_memory_mb = 9",
        );
        assert_eq!(changes(then, &now).unwrap(), []);
        let now = now.replace("batch = 2", "batch = 4");
        let found = changes(then, &now).unwrap();
        assert_eq!(found[0].to_string(), "train.batch: 2 -> 4");
    }
}
