//! A reproduction spread over a cluster: one element of a SLURM job array a seed.

use std::path::{Path, PathBuf};

use anyhow::Context;
use mic_run::slurm::{ArrayJob, Resources};

use crate::failure::Failure;

/// Options whose values say where and what all elements run together.
const OWN: [&str; 4] = ["--submit", "--slurm", "--seeds", "--out"];

/// The job array of a program: this very command line, with one seed and a folder of its own an element.
///
/// # Errors
/// A resource that SLURM's options do not have.
pub fn job(
    program: &str,
    arguments: &[String],
    seeds: &[u64],
    out: &Path,
    resources: &[String],
) -> Result<ArrayJob, Failure> {
    let name = program.to_owned();
    let program = std::env::current_exe().context("finding this program")?;
    let here = std::env::current_dir().context("finding the current folder")?;
    let common = without_own(arguments);
    let command = |seed: &u64| {
        let out = out.join(format!("seed-{seed}"));
        let own = [
            "--seeds".into(),
            seed.to_string(),
            "--out".into(),
            text(&out),
        ];
        let program = [text(&program)].into_iter();
        program.chain(common.iter().cloned()).chain(own).collect()
    };
    Ok(ArrayJob {
        name,
        commands: seeds.iter().map(command).collect(),
        folder: here,
        logs: out.join("logs"),
        resume: Vec::new(),
        resources: self::resources(resources)?,
    })
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// The arguments without those of [`OWN`] and without `--dry-run`.
fn without_own(arguments: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if OWN.contains(&word.as_str()) {
            words.next();
            continue;
        }
        let joined = OWN.iter().any(|own| word.starts_with(&format!("{own}=")));
        if word != "--dry-run" && !joined {
            kept.push(word.clone());
        }
    }
    kept
}

/// What `--slurm KEY=VALUE` asks for.
///
/// # Errors
/// A key that there is not, or a value that is none.
pub(super) fn resources(pairs: &[String]) -> Result<Resources, Failure> {
    let mut resources = Resources::default();
    for pair in pairs {
        let wrong = |why: &str| {
            Failure::Usage(format!(
                "--slurm {pair}: {why}; expected KEY=VALUE with one of time, partition, account, \
                 gpus, cpus, memory, at-once"
            ))
        };
        let (key, value) = pair.split_once('=').ok_or_else(|| wrong("there is no ="))?;
        let number = || value.parse().map_err(|_| wrong("it is no whole number"));
        let value = || Some(value.to_owned());
        match key {
            "time" => resources.time = value(),
            "partition" => resources.partition = value(),
            "account" => resources.account = value(),
            "gpus" => resources.gpus = value(),
            "memory" => resources.memory = value(),
            "cpus" => resources.cpus = Some(number()?),
            "at-once" => resources.at_once = Some(number()?),
            _ => return Err(wrong("there is no such key")),
        }
    }
    Ok(resources)
}

/// Writes the script into `out` and submits it; gives what `sbatch` said.
///
/// # Errors
/// A file that cannot be written, or no `sbatch`.
pub fn submit(job: &ArrayJob, out: &Path) -> Result<String, Failure> {
    let path: PathBuf = out.join("array.sh");
    std::fs::create_dir_all(out).with_context(|| format!("making {}", out.display()))?;
    // Whatever it is, the arguments were right.
    let failed = |error: mic_run::Error| Failure::Run(error.into());
    job.write(&path).map_err(failed)?;
    mic_run::slurm::submit(&path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn every_seed_is_an_element_with_its_own_folder() {
        let line = "reproduce seg --controls --seeds 4,7 --out=runs/x --submit slurm --slurm \
                    time=2:00:00 --dry-run --set mask.block=8";
        let resources = words("time=2:00:00 cpus=8");
        let job = job(
            "mic-seg",
            &words(line),
            &[4, 7],
            Path::new("runs/x"),
            &resources,
        )
        .unwrap();
        let rest = |command: &[String]| command[1..].join(" ");
        let commands: Vec<String> = job.commands.iter().map(|c| rest(c)).collect();
        assert_eq!(
            commands,
            [4, 7].map(|seed| format!(
                "reproduce seg --controls --set mask.block=8 --seeds {seed} --out \
                 runs/x/seed-{seed}"
            ))
        );
        let script = job.script().unwrap();
        assert!(
            script.contains("--array=0-1") && script.contains("--time=2:00:00"),
            "{script}"
        );
    }

    #[test]
    fn wrong_resources_are_named() {
        for pair in ["time", "cpus=many", "colour=red"] {
            let error = resources(&[pair.to_owned()]).unwrap_err().to_string();
            assert!(
                error.contains(pair) && error.contains("partition"),
                "{error}"
            );
        }
    }
}
