//! Several runs as one SLURM job array.
//!
//! [`ArrayJob::script`] is the text of a batch script in which every element of the array runs one
//! command. It asks to be told two minutes before the time is up; it then passes SIGTERM on to the
//! command, which saves and ends, and puts the element back into the queue. An element that starts
//! again, for this reason or because the scheduler took its machine away, gets `--resume` added to
//! its command. An element that is cancelled is passed SIGTERM too, and stays out of the queue.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Error, Result};

/// What every element of the array asks for. Absent values are the cluster's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Time limit in SLURM's form, such as `12:00:00` or `2-00`.
    pub time: Option<String>,
    /// Partition.
    pub partition: Option<String>,
    /// Account that pays.
    pub account: Option<String>,
    /// GPUs, with or without their type: `1`, `a100:2`.
    pub gpus: Option<String>,
    /// Processor cores a process.
    pub cpus: Option<u32>,
    /// Memory a machine, such as `64G`.
    pub memory: Option<String>,
    /// Processes of a run; more than one are started by `srun`.
    pub processes: Option<u32>,
    /// Elements that may run at the same time.
    pub at_once: Option<u32>,
}

/// Commands that run independently of each other, such as the seeds of an experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrayJob {
    /// Name in the queue and of the logs.
    pub name: String,
    /// Program and arguments of each element.
    pub commands: Vec<Vec<String>>,
    /// Folder in which the commands start.
    pub folder: PathBuf,
    /// Folder of the logs, one an element: `<name>-<job>_<element>.log`.
    pub logs: PathBuf,
    /// Arguments added when an element starts again, such as `--resume`.
    pub resume: Vec<String>,
    /// What each element asks for.
    pub resources: Resources,
}

impl ArrayJob {
    /// The text of the batch script.
    ///
    /// # Errors
    /// When there is no command, an empty one, or one with a NUL character; when a value of the
    /// header has characters that SLURM would read as something else.
    pub fn script(&self) -> Result<String> {
        if self.commands.is_empty() {
            return Err(Error::Usage("there is no command to submit".to_owned()));
        }
        let mut cases = String::new();
        for (element, words) in self.commands.iter().enumerate() {
            if words.is_empty() {
                return Err(Error::Usage(format!("command {element} is empty")));
            }
            let words = self.launcher().into_iter().chain(words.clone());
            let line = quote_all(words)?;
            // Writing to a string cannot fail.
            let _ = writeln!(cases, "{element}) command=({line}) ;;");
        }
        let again = quote_all(self.resume.iter().cloned())?;
        let folder = quote(&text(&self.folder)?)?;
        Ok([
            self.header()?,
            format!("cd {folder} || exit 1\n\ncase \"${{SLURM_ARRAY_TASK_ID:?}}\" in\n"),
            cases,
            UNKNOWN.to_owned(),
            format!("again=({again})\n"),
            RUN.to_owned(),
        ]
        .concat())
    }

    /// Writes the script and makes the folder of the logs, which SLURM does not.
    ///
    /// # Errors
    /// As [`ArrayJob::script`], and when they cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let script = self.script()?;
        std::fs::create_dir_all(&self.logs).map_err(Error::io(&self.logs))?;
        std::fs::write(path, script).map_err(Error::io(path))
    }

    fn launcher(&self) -> Vec<String> {
        match self.resources.processes {
            None | Some(0 | 1) => Vec::new(),
            Some(_) => vec!["srun".to_owned()],
        }
    }

    fn header(&self) -> Result<String> {
        let wanted = &self.resources;
        let last = self.commands.len() - 1;
        let array = match wanted.at_once {
            Some(n) => format!("0-{last}%{n}"),
            None => format!("0-{last}"),
        };
        let logs = plain("the folder of the logs", &text(&self.logs)?)?;
        let name = plain("the job's name", &self.name)?;
        let number = |n: Option<u32>| n.map(|n| n.to_string());
        let options = [
            ("job-name", Some(name)),
            ("array", Some(array)),
            ("output", Some(format!("{logs}/%x-%A_%a.log"))),
            ("open-mode", Some("append".to_owned())),
            ("requeue", None),
            ("signal", Some("B:USR1@120".to_owned())),
        ];
        let asked = [
            ("time", wanted.time.clone()),
            ("partition", wanted.partition.clone()),
            ("account", wanted.account.clone()),
            ("gpus", wanted.gpus.clone()),
            ("ntasks", number(wanted.processes)),
            ("cpus-per-task", number(wanted.cpus)),
            ("mem", wanted.memory.clone()),
        ];
        let mut header = "#!/bin/bash\n".to_owned();
        for (option, value) in options {
            let value = value.map_or(String::new(), |value| format!("={value}"));
            let _ = writeln!(header, "#SBATCH --{option}{value}");
        }
        for (option, value) in asked {
            if let Some(value) = value {
                let _ = writeln!(header, "#SBATCH --{option}={}", plain(option, &value)?);
            }
        }
        header.push('\n');
        Ok(header)
    }
}

const UNKNOWN: &str = r#"*) echo "this script has no element $SLURM_ARRAY_TASK_ID" >&2; exit 2 ;;
esac
"#;

/// A trap runs when `wait` is interrupted, so the command runs beside the script. The second
/// `wait` gives the command's own status.
const RUN: &str = r#"if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then
    command+=("${again[@]}")
fi

requeue=no
interrupted=no
pass_on() {
    interrupted=yes
    kill -TERM "$child" 2>/dev/null
}
trap 'requeue=yes; pass_on' USR1
trap 'pass_on' TERM

"${command[@]}" &
child=$!
wait "$child"
status=$?
while [ "$interrupted" = yes ]; do
    interrupted=no
    wait "$child"
    status=$?
done

if [ "$requeue" = yes ] && [ "$status" -ne 0 ]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
fi
exit "$status"
"#;

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Error::Usage(format!(
            "the folder {} has a name that is not UTF-8, which cannot be put into a script",
            path.display()
        ))
    })
}

fn quote_all(words: impl IntoIterator<Item = String>) -> Result<String> {
    let words: Vec<_> = words
        .into_iter()
        .map(|w| quote(&w))
        .collect::<Result<_>>()?;
    Ok(words.join(" "))
}

/// A word for the shell, in single quotes where it has more than harmless characters.
fn quote(word: &str) -> Result<String> {
    if word.contains('\0') {
        return Err(Error::Usage(format!(
            "a command cannot contain a NUL character: {word:?}"
        )));
    }
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_./:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(harmless) {
        return Ok(word.to_owned());
    }
    Ok(format!("'{}'", word.replace('\'', r"'\''")))
}

/// A value for a line of the header, where quotes, spaces and `%` have meanings of their own.
fn plain(what: &str, value: &str) -> Result<String> {
    let harmless = |c: char| c.is_alphanumeric() || "-_./:,+@".contains(c);
    if value.is_empty() || !value.chars().all(harmless) {
        return Err(Error::Usage(format!(
            "{what} is {value:?}; SLURM's header takes letters, digits and - _ . / : , + @ only"
        )));
    }
    Ok(value.to_owned())
}

/// Submits a script by `sbatch` and returns the job's number.
///
/// # Errors
/// When there is no `sbatch` on this machine, or it refuses; the message has its words.
pub fn submit(script: &Path) -> Result<String> {
    submit_by("sbatch", script)
}

fn submit_by(program: &str, script: &Path) -> Result<String> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::Usage(format!(
            "{program} is not on this machine: submit {} from a login node of a SLURM cluster",
            script.display()
        )),
        _ => Error::Run(format!("{program} cannot be run: {error}")),
    };
    let mut command = Command::new(program);
    command.arg("--parsable").arg(script).stdin(Stdio::null());
    let output = command.output().map_err(failed)?;
    if !output.status.success() {
        return Err(Error::Run(format!(
            "{program} did not take {}: {}",
            script.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    // `number` or `number;cluster`.
    let answer = String::from_utf8_lossy(&output.stdout);
    let number = answer.trim().split(';').next().unwrap_or_default();
    Ok(number.to_owned())
}

#[cfg(test)]
mod tests;
