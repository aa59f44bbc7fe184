//! The chosen runs as a job array of a cluster: one element a run.

use anyhow::Context;
use mic_run::slurm::ArrayJob;

use super::select::{Chosen, PaperRun};
use crate::failure::Failure;
use crate::reproduce::command::CommonArgs;
use crate::reproduce::submit::{resources, submit};

/// Submits the array, or gives its script.
///
/// # Errors
/// A resource that SLURM's options do not have, a file that cannot be written, or no `sbatch`.
pub(super) fn run(chosen: &Chosen, args: &CommonArgs) -> Result<String, Failure> {
    let job = job(chosen, args)?;
    if args.dry_run {
        return Ok(job.script()?);
    }
    submit(&job, &chosen.out)
}

fn job(chosen: &Chosen, args: &CommonArgs) -> Result<ArrayJob, Failure> {
    let program = std::env::current_exe().context("finding this program")?;
    let program = program.display().to_string();
    let command = |run: &PaperRun| {
        let mut words = vec![
            program.clone(),
            "reproduce".into(),
            chosen.program.task().into(),
            "--run".into(),
            run.configuration.file.clone(),
        ];
        if let Some(seed) = run.seed {
            words.extend(["--seeds".into(), seed.to_string()]);
        }
        words.extend(["--out".into(), chosen.out.display().to_string()]);
        for set in &chosen.given_sets {
            words.extend(["--set".into(), set.clone()]);
        }
        words
    };
    Ok(ArrayJob {
        name: format!("mic-{}", chosen.program.task()),
        commands: chosen.runs.iter().map(command).collect(),
        folder: std::env::current_dir().context("finding the current folder")?,
        logs: chosen.out.join("logs"),
        resume: vec!["--resume".into()],
        resources: resources(&args.slurm)?,
    })
}
