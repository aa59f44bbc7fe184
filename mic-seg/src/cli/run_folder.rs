//! The folder that a training run writes.
//!
//! `config.toml` and `events.jsonl` are there from the start, `checkpoint.safetensors` after the
//! last step, and `metrics.json` last: a folder with `metrics.json` holds a finished run.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::record::{Observer, StepRecord};
use crate::{Error, Result};

pub(super) const CONFIG: &str = "config.toml";
pub(super) const EVENTS: &str = "events.jsonl";
pub(super) const CHECKPOINT: &str = "checkpoint.safetensors";
pub(super) const METRICS: &str = "metrics.json";

const FLUSH: Duration = Duration::from_secs(2);

pub(super) struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Refuses a folder that cannot take a run; changes nothing.
    pub(super) fn check(path: &Path, overwrite: bool) -> Result<Self> {
        let used = match fs::read_dir(path) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => return Err(unusable(path, &error)),
        };
        if used && !overwrite {
            return Err(Error::Config(format!(
                "run folder {} is not empty; name another with --out, or replace its run with \
                 --overwrite",
                path.display()
            )));
        }
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Makes the folder and removes the files of an earlier run, and only those.
    pub(super) fn begin(&self) -> Result<()> {
        fs::create_dir_all(&self.path).map_err(|error| unusable(&self.path, &error))?;
        // The mark of a finished run goes first.
        for name in [METRICS, CHECKPOINT, EVENTS, CONFIG] {
            match fs::remove_file(self.path.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(unusable(&self.path, &error));
                }
                _ => {}
            }
        }
        let probe = self.path.join(".writable");
        File::create(&probe)
            .and_then(|_| fs::remove_file(&probe))
            .map_err(|error| unusable(&self.path, &error))
    }

    /// Writes a file under another name first, so that it is there whole or not at all.
    pub(super) fn put(&self, name: &str, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let (path, part) = (
            self.path.join(name),
            self.path.join(format!(".{name}.part")),
        );
        let done = write(&part)
            .and_then(|()| fs::rename(&part, &path).map_err(|error| failed(&path, &error)));
        if done.is_err() {
            // Best effort: the error to report is the first one.
            let _ = fs::remove_file(&part);
        }
        done
    }

    pub(super) fn put_text(&self, name: &str, text: &str) -> Result<()> {
        self.put(name, |path| {
            fs::write(path, text).map_err(|error| failed(path, &error))
        })
    }

    pub(super) fn events(&self) -> Result<EventLog> {
        let path = self.path.join(EVENTS);
        let file = File::create(&path).map_err(|error| failed(&path, &error))?;
        Ok(EventLog {
            path,
            file: BufWriter::new(file),
            flushed: Instant::now(),
            error: None,
        })
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> Error {
    Error::Config(format!(
        "cannot write run folder {}: {error}; name a folder that can be written with --out",
        path.display()
    ))
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::Run(format!("cannot write {}: {error}", path.display()))
}

/// `value` as indented JSON with a line end.
pub(super) fn json(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n")
        .map_err(|error| Error::Run(format!("cannot write the results as JSON: {error}")))
}

/// `events.jsonl`: one [`StepRecord`] a line.
pub(super) struct EventLog {
    path: PathBuf,
    file: BufWriter<File>,
    flushed: Instant,
    error: Option<std::io::Error>,
}

impl EventLog {
    /// The first error of writing, if there was one.
    pub(super) fn finish(mut self) -> Result<()> {
        let flushed = self.file.flush().err();
        match self.error.or(flushed) {
            None => Ok(()),
            Some(error) => Err(failed(&self.path, &error)),
        }
    }

    fn write(&mut self, record: &StepRecord) -> std::io::Result<()> {
        serde_json::to_writer(&mut self.file, record)?;
        self.file.write_all(b"\n")?;
        if self.flushed.elapsed() >= FLUSH {
            self.file.flush()?;
            self.flushed = Instant::now();
        }
        Ok(())
    }
}

impl Observer for EventLog {
    fn step(&mut self, record: &StepRecord) {
        if self.error.is_none() {
            self.error = self.write(record).err();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overwriting_leaves_other_files_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::write(path.join(METRICS), "{}").unwrap();
        fs::write(path.join("notes.txt"), "mine").unwrap();
        assert!(RunFolder::check(path, false).is_err());
        RunFolder::check(path, true).unwrap().begin().unwrap();
        assert!(!path.join(METRICS).exists());
        assert!(path.join("notes.txt").exists());
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::check(folder.path(), false).unwrap();
        let half = |path: &Path| {
            fs::write(path, "half").unwrap();
            Err(Error::Run("disk full".into()))
        };
        assert!(run.put(METRICS, half).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        run.put_text(METRICS, "whole").unwrap();
        let text = fs::read_to_string(folder.path().join(METRICS)).unwrap();
        assert_eq!(text, "whole");
    }
}
