//! `--smoke`: every stage of a real configuration, for a few iterations.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, anyhow};
use mic_run::StopRequest;
use mic_run::cli::{note, print};
use mic_run::folder::{CHECKPOINTS, METRICS, WEIGHTS};

use super::child::{self, Ended};
use super::layout::{self, Written};
use super::program::{Program, value};
use super::select::{Chosen, PaperRun};
use crate::failure::Failure;

/// Iterations, half of which are done again after a resume.
const ITERATIONS: u64 = 4;

/// Trains the first chosen run for a few iterations on generated files in the layout and the sizes of
/// its sets, from random weights; takes its last checkpoint away and goes on from the one before, which
/// must end in the same weights bit for bit; measures and predicts. Nothing of it stays.
///
/// # Errors
/// [`Failure::Usage`] for a configuration that is wrong, [`Failure::Run`] names the stage that failed.
pub(super) fn run(chosen: &Chosen) -> Result<(), Failure> {
    let run = chosen.only();
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let started = Instant::now();
    note(&format!(
        "trying {} on generated files in {}",
        run.file.name,
        folder.path().display()
    ));
    let written = layout::write(chosen.program, &run.config, &folder.path().join("data"))?;
    let stages = Stages {
        program: chosen.program,
        stop: StopRequest::on_signals()
            .map_err(|error| Failure::Run(anyhow!("cannot catch signals: {error}")))?,
        out: folder.path().join("run"),
        started,
    };
    stages.told("files");
    let sets = sets(chosen, run, &written);
    // What is wrong with a set is told before anything else.
    chosen.program.expand(run.file, &sets)?;
    stages.train(run, &sets)?;
    stages.resume()?;
    stages.measure()?;
    stages.predict(&written.sample, &folder.path().join("predictions"))?;
    let only = match chosen.runs.len() {
        1 => String::new(),
        n => format!(" (the first of {n} chosen runs)"),
    };
    Ok(print(&format!(
        "{}{only}: files, training, checkpoint, resume, measurement and prediction work; the numbers \
         mean nothing\n",
        run.file.name
    ))?)
}

/// What is set for the trial; the command line's own sets come last.
fn sets(chosen: &Chosen, run: &PaperRun, written: &Written) -> Vec<String> {
    let mut sets = run.sets.clone();
    sets.extend(written.sets.iter().cloned());
    if value(&run.config, "model.pretrained").is_some() {
        sets.push("model.pretrained=".into());
    }
    sets.extend([
        format!("train.iterations={ITERATIONS}"),
        format!("train.eval_every={ITERATIONS}"),
        format!("run.checkpoint_every={}", ITERATIONS / 2),
        "run.keep_last=3".into(),
    ]);
    sets.extend(chosen.given_sets.iter().cloned());
    sets
}

struct Stages {
    program: Program,
    stop: StopRequest,
    out: PathBuf,
    started: Instant,
}

impl Stages {
    fn told(&self, stage: &str) {
        let seconds = self.started.elapsed().as_secs_f64();
        note(&format!("{stage}: done after {seconds:.0} s"));
    }

    fn program(&self, stage: &str, words: &[OsString]) -> Result<(), Failure> {
        match child::run(self.program, words, &self.stop, false)? {
            _ if self.stop.requested() => {
                Err(Failure::Stopped(format!("stopped in the stage {stage}")))
            }
            Ended::Code(0) => {
                self.told(stage);
                Ok(())
            }
            Ended::Code(2) => Err(Failure::Usage(format!("{stage}: it was refused"))),
            Ended::Code(code) => Err(Failure::Run(anyhow!(
                "{stage}: failed with exit code {code}"
            ))),
            Ended::Killed(signal) => {
                Err(Failure::Run(anyhow!("{stage}: ended by signal {signal}")))
            }
        }
    }

    fn train(&self, run: &PaperRun, sets: &[String]) -> Result<(), Failure> {
        let mut words: Vec<OsString> = ["train", "--config", run.file.name, "--out"]
            .map(OsString::from)
            .to_vec();
        words.push(self.out.clone().into());
        for set in sets {
            words.extend(["--set".into(), set.into()]);
        }
        self.program("training", &words)
    }

    /// As if the process had been killed after half of the iterations.
    fn resume(&self) -> Result<(), Failure> {
        let last = self
            .out
            .join(CHECKPOINTS)
            .join(format!("step-{ITERATIONS:08}"));
        let before = read(&self.out.join(WEIGHTS))?;
        fs::remove_dir_all(&last).with_context(|| format!("cannot remove {}", last.display()))?;
        for file in [METRICS, WEIGHTS] {
            let path = self.out.join(file);
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        let words = [
            "train".into(),
            "--out".into(),
            self.out.clone().into(),
            "--resume".into(),
        ];
        self.program("resume", &words)?;
        if read(&self.out.join(WEIGHTS))? != before {
            return Err(Failure::Run(anyhow!(
                "resume: the run that went on from step {} ended in other weights than the one that \
                 was not interrupted",
                ITERATIONS / 2
            )));
        }
        Ok(())
    }

    fn measure(&self) -> Result<(), Failure> {
        let words = ["eval".into(), "--checkpoint".into(), self.weights()];
        self.program("measurement", &words)
    }

    fn predict(&self, image: &Path, out: &Path) -> Result<(), Failure> {
        let mut words: Vec<OsString> =
            vec!["predict".into(), "--checkpoint".into(), self.weights()];
        if self.program != Program::Cls {
            words.extend(["--out".into(), out.into()]);
        }
        words.push(image.into());
        self.program("prediction", &words)
    }

    fn weights(&self) -> OsString {
        self.out.join(WEIGHTS).into()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = fs::read(path);
    Ok(bytes.with_context(|| format!("cannot read {}", path.display()))?)
}
