//! `--only-eval`: measuring a checkpoint as a run of the paper is measured.

use std::ffi::OsString;
use std::path::Path;

use anyhow::anyhow;
use mic_run::StopRequest;
use mic_run::cli::{note, print};

use super::child::{self, Ended};
use super::needs::{self, class_names};
use super::program::{Program, value};
use super::published::{MARKS, score};
use super::select::{Chosen, PaperRun};
use crate::failure::Failure;

/// Measures `checkpoint` on the test images of the chosen run and shows the published score beside it.
///
/// # Errors
/// [`Failure::Usage`] for several runs, a missing checkpoint and missing images; [`Failure::Run`]
/// where the measurement fails.
pub(super) fn run(chosen: &Chosen, checkpoint: &Path) -> Result<(), Failure> {
    let run = single(chosen)?;
    if !checkpoint.exists() {
        return Err(Failure::Usage(format!(
            "--only-eval {}: there is no such run folder or file",
            checkpoint.display()
        )));
    }
    let missing = needs::missing_test(chosen.program, run);
    if !missing.is_empty() {
        return Err(Failure::Usage(format!(
            "{} cannot be measured: there is no\n{}",
            run.file.name,
            needs::lines(&missing)
        )));
    }
    note(&format!("measuring as {}", run.file.name));
    let words = words(chosen.program, run, checkpoint);
    let stop = StopRequest::default();
    match child::run(chosen.program, &words, &stop, true)? {
        Ended::Code(0) => {}
        Ended::Code(2) => return Err(Failure::Usage("the checkpoint was refused".into())),
        other => return Err(Failure::Run(anyhow!("the measurement failed: {other:?}"))),
    }
    let published = score(&run.configuration);
    Ok(print(&format!(
        "published {}: {published}\n{MARKS}\n",
        chosen.metric
    ))?)
}

fn single(chosen: &Chosen) -> Result<&PaperRun, Failure> {
    let one = chosen.only();
    let same = |run: &PaperRun| run.file.name == one.file.name;
    if chosen.seeds.len() > 1 || !chosen.runs.iter().all(same) {
        let mut names: Vec<&str> = chosen.runs.iter().map(|run| run.file.name).collect();
        names.dedup();
        return Err(Failure::Usage(format!(
            "--only-eval measures one checkpoint, and {} runs are chosen ({}); choose one with --run, \
             and give at most one of --seeds",
            chosen.runs.len(),
            names.join(", ")
        )));
    }
    Ok(one)
}

fn words(program: Program, run: &PaperRun, checkpoint: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["eval".into(), "--checkpoint".into(), checkpoint.into()];
    words.extend(["--config".into(), run.file.name.into()]);
    for set in run.sets.iter().chain(&classes(program, run)) {
        words.extend(["--set".into(), set.into()]);
    }
    words
}

/// Published checkpoints do not name their classes.
fn classes(program: Program, run: &PaperRun) -> Option<String> {
    let kind = value(&run.config, "data.test.kind")?.as_str()?;
    let names = match program {
        Program::Seg => return None,
        Program::Cls => class_names(kind),
        Program::Det => mic_data::detection::CITYSCAPES_CATEGORIES
            .map(|(_, name)| name.to_owned())
            .to_vec(),
    };
    (!names.is_empty()).then(|| format!("data.classes={}", toml::Value::from(names)))
}
