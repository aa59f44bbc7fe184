//! Training the chosen runs one after another.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use mic_run::StopRequest;
use mic_run::cli::{STOPPED, note, print};
use mic_run::folder::METRICS;
use mic_run::report::Table;

use super::child::{self, Ended};
use super::folder::{self, State};
use super::needs;
use super::published::{MARKS, score};
use super::select::{Chosen, PaperRun};
use crate::failure::Failure;

/// How a run came out.
enum Came {
    /// It is done, now or before.
    Finished(&'static str),
    /// It failed.
    Failed(String),
}

/// Trains the runs in their order, each in a process and a folder of its own: finished ones are left
/// alone, with `--resume` unfinished ones go on, and one that is killed goes on from its newest
/// checkpoint as long as it gets further each time. A run that fails does not keep the others from
/// running.
///
/// # Errors
/// [`Failure::Usage`] before the first step for folders that hold something else, and for what is
/// missing; [`Failure::Stopped`] on a signal; [`Failure::Run`] names the runs that failed.
pub(super) fn run(chosen: &Chosen) -> Result<(), Failure> {
    let states = check(chosen)?;
    if states.iter().any(|state| *state != State::Finished) {
        let missing = needs::missing_for(chosen);
        if !missing.is_empty() {
            return Err(Failure::Usage(format!(
                "these runs cannot start: there is no\n{}",
                needs::lines(&missing)
            )));
        }
    }
    let stop = StopRequest::on_signals();
    let stop = stop.map_err(|error| Failure::Run(anyhow!("cannot catch signals: {error}")))?;
    let mut table = Table::new(["run", "came out", "score"]);
    table.headings[2] = chosen.metric.clone();
    table.headings.push("published".into());
    let mut failed = Vec::new();
    for (number, (run, state)) in chosen.runs.iter().zip(&states).enumerate() {
        let head = format!("run {} of {}: {}", number + 1, chosen.runs.len(), run.name);
        let folder = chosen.out.join(&run.name);
        let came = one(chosen, run, state, &folder, &stop, &head)?;
        let said = match came {
            Came::Finished(how) => how.to_owned(),
            Came::Failed(why) => {
                note(&format!("{head}: {why}"));
                failed.push(run.name.clone());
                why
            }
        };
        let came = main_score(&folder);
        table.rows.push(vec![
            run.name.clone(),
            said,
            came.map_or_else(|| "-".into(), |score| format!("{:.2}", 100.0 * score)),
            score(&run.configuration),
        ]);
    }
    print(&format!(
        "{}{MARKS}\ncargo xtask report {} compares them with the paper\n",
        table.to_text(),
        chosen.out.display()
    ))?;
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::Run(anyhow!(
        "{} of {} runs failed: {}; --resume goes on with them",
        failed.len(),
        chosen.runs.len(),
        failed.join(", ")
    )))
}

/// The states of the folders, which must take the runs.
fn check(chosen: &Chosen) -> Result<Vec<State>, Failure> {
    let mut states = Vec::new();
    for run in &chosen.runs {
        let folder = chosen.out.join(&run.name);
        let shown = folder.display();
        let state = match folder::state(&folder, run) {
            State::Other(_) if chosen.accept_changes => folder::state_as_it_is(&folder),
            State::Other(reasons) => {
                let reasons: Vec<String> = reasons.iter().map(|r| format!("\n  {r}")).collect();
                return Err(Failure::Usage(format!(
                    "{shown} holds another run (then -> now):{}\nname another folder with --out, move \
                     it away, or add --resume --accept-changes",
                    reasons.concat()
                )));
            }
            State::Running => {
                return Err(Failure::Usage(format!(
                    "{shown}: another process trains this run"
                )));
            }
            State::Unfinished(_) if !chosen.resume => {
                return Err(Failure::Usage(format!(
                    "{shown} holds a run that is not finished; go on with --resume, name another \
                     folder with --out, or move it away"
                )));
            }
            other => other,
        };
        states.push(state);
    }
    Ok(states)
}

fn one(
    chosen: &Chosen,
    run: &PaperRun,
    state: &State,
    folder: &Path,
    stop: &StopRequest,
    head: &str,
) -> Result<Came, Failure> {
    if *state == State::Finished {
        note(&format!("{head}: finished before"));
        return Ok(Came::Finished("finished before"));
    }
    let mut resume = matches!(state, State::Unfinished(_));
    loop {
        let before = folder::steps(folder);
        let how = if resume { "goes on" } else { "starts" };
        note(&format!("{head}: {how}"));
        let words = words(chosen, run, folder, resume);
        match child::run(chosen.program, &words, stop, true)? {
            Ended::Code(0) => return Ok(Came::Finished("finished")),
            Ended::Code(code) if code == i32::from(STOPPED) => {
                return Err(Failure::Stopped(format!(
                    "{head}: stopped and saved; the same command with --resume goes on"
                )));
            }
            Ended::Code(2) => {
                return Err(Failure::Usage(format!("{head}: it was refused")));
            }
            _ if stop.requested() => {
                return Err(Failure::Stopped(format!(
                    "{head}: stopped; the same command with --resume goes on"
                )));
            }
            Ended::Code(code) => {
                return Ok(Came::Failed(format!("failed with exit code {code}")));
            }
            Ended::Killed(signal) if folder::steps(folder) > before => {
                note(&format!(
                    "{head}: ended by signal {signal}, goes on from step {}",
                    folder::steps(folder)
                ));
                resume = true;
            }
            Ended::Killed(signal) => {
                return Ok(Came::Failed(format!(
                    "ended by signal {signal} before a further checkpoint"
                )));
            }
        }
    }
}

/// The command line that trains a run, or goes on with it.
pub(super) fn words(chosen: &Chosen, run: &PaperRun, folder: &Path, resume: bool) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["train".into(), "--out".into(), folder.into()];
    if resume && !chosen.accept_changes {
        // With the configuration that it was started with; what may differ has been checked.
        words.push("--resume".into());
        return words;
    }
    words.extend(["--config".into(), run.file.name.into()]);
    for set in &run.sets {
        words.extend(["--set".into(), set.into()]);
    }
    if resume {
        words.extend(["--resume".into(), "--accept-changes".into()]);
    }
    words
}

/// The main score of a finished run, as a fraction.
pub(super) fn main_score(folder: &Path) -> Option<f64> {
    let metrics = folder::json(&PathBuf::from(folder).join(METRICS))?;
    let test = metrics.get("test")?;
    test.get("scores")?
        .get(test.get("main")?.as_str()?)?
        .as_f64()
}
