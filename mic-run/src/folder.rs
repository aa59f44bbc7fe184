//! The folder that a run writes.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::lock::Lock;
use crate::provenance::{Provenance, Start};
use crate::{Error, Result};

/// The resolved configuration.
pub const CONFIG: &str = "config.toml";
/// Where, when and how the run was made.
pub const RUN: &str = "run.json";
/// Events, one a line.
pub const EVENTS: &str = "events.jsonl";
/// The folder of event files for TensorBoard.
pub const TENSORBOARD: &str = "tensorboard";
/// The folder of checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";
/// The folder of sample pictures.
pub const PICTURES: &str = "pictures";
/// The page that shows the run.
pub const REPORT: &str = "report.html";
/// The weights of the last checkpoint.
pub const WEIGHTS: &str = "checkpoint.safetensors";
/// The result, written last.
pub const METRICS: &str = "metrics.json";
/// Held by the process that writes.
pub const LOCK: &str = "lock";

/// Files of a run in the order in which an overwritten one is removed: the mark of a finished run
/// goes first.
const FILES: [&str; 6] = [METRICS, WEIGHTS, REPORT, EVENTS, RUN, CONFIG];
const FOLDERS: [&str; 3] = [CHECKPOINTS, TENSORBOARD, PICTURES];

/// What to do with a folder that is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Refuse it.
    New,
    /// Remove the run in it, and only that.
    Overwrite,
    /// Go on with the run in it.
    Resume,
}

/// A run folder that this process writes.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    opening: Opening,
    lock: Option<Lock>,
}

impl RunFolder {
    /// Refuses a folder that cannot take the run; changes nothing.
    ///
    /// # Errors
    /// [`Error::Usage`] names the folder and the option that helps.
    pub fn check(path: &Path, opening: Opening) -> Result<Self> {
        let used = match fs::read_dir(path) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => return Err(unusable(path, &error)),
        };
        let shown = path.display();
        match opening {
            Opening::New if used => {
                return Err(Error::Usage(format!(
                    "run folder {shown} is not empty; go on with its run with --resume, name \
                     another with --out, or replace its run with --overwrite"
                )));
            }
            Opening::Resume if !path.join(CONFIG).is_file() => {
                return Err(Error::Usage(format!(
                    "there is no run to resume in {shown}: it has no {CONFIG}; start one without \
                     --resume"
                )));
            }
            _ => {}
        }
        Ok(Self {
            path: path.to_owned(),
            opening,
            lock: None,
        })
    }

    /// Makes the folder, locks it and, with [`Opening::Overwrite`], removes the files of an
    /// earlier run.
    ///
    /// # Errors
    /// A folder that another process writes, or that cannot be written.
    pub fn begin(&mut self) -> Result<()> {
        fs::create_dir_all(&self.path).map_err(|error| unusable(&self.path, &error))?;
        self.lock = Some(Lock::take(&self.path).map_err(|error| match error {
            Error::Io { source, .. } => unusable(&self.path, &source),
            other => other,
        })?);
        if self.opening == Opening::Overwrite {
            for name in FILES {
                self.remove(fs::remove_file(self.path.join(name)))?;
            }
            for name in FOLDERS {
                self.remove(fs::remove_dir_all(self.path.join(name)))?;
            }
        }
        Ok(())
    }

    fn remove(&self, removed: std::io::Result<()>) -> Result<()> {
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(unusable(&self.path, &error))
            }
            _ => Ok(()),
        }
    }

    /// How it was opened.
    pub fn opening(&self) -> Opening {
        self.opening
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file or folder in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a text file, whole or not at all.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn put_text(&self, name: &str, text: &str) -> Result<()> {
        let path = self.join(name);
        mic_nn::files::write_whole(&path, |file| file.write_all(text.as_bytes()))
            .map_err(Error::io(&path))
    }

    /// Writes a value as indented JSON.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn put_json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Error::Run(format!("cannot write {name} as JSON: {error}")))?;
        self.put_text(name, &(text + "\n"))
    }

    /// The configuration of the run in it.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn config(&self) -> Result<String> {
        let path = self.join(CONFIG);
        fs::read_to_string(&path).map_err(Error::io(&path))
    }

    /// Writes down that this process starts to train at `step`.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn record_start(&self, program: &str, seed: u64, step: u64) -> Result<()> {
        let path = self.join(RUN);
        let earlier = fs::read_to_string(&path).ok();
        let earlier: Option<Provenance> = earlier.and_then(|text| serde_json::from_str(&text).ok());
        let mut provenance = Provenance::here(program, seed);
        // What an earlier process wrote stays in front; a damaged file is no reason to stop.
        let before = earlier.into_iter().flat_map(|earlier| earlier.starts);
        provenance.starts = before.chain([Start::now(step)]).collect();
        self.put_json(RUN, &provenance)
    }

    /// Lets [`WEIGHTS`] be the weights of the checkpoint in `checkpoint`, without copying them
    /// where the file system can.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn publish(&self, checkpoint: &Path) -> Result<()> {
        let weights = checkpoint.join(crate::checkpoint::WEIGHTS);
        let path = self.join(WEIGHTS);
        let part = self.join(".checkpoint.part");
        let _ = fs::remove_file(&part);
        fs::hard_link(&weights, &part)
            .or_else(|_| fs::copy(&weights, &part).map(|_| ()))
            .and_then(|()| fs::rename(&part, &path))
            .map_err(Error::io(&path))
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> Error {
    Error::Usage(format!(
        "cannot write run folder {}: {error}; name a folder that can be written with --out",
        path.display()
    ))
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
        fs::create_dir_all(path.join("checkpoints/step-00000001")).unwrap();
        assert!(RunFolder::check(path, Opening::New).is_err());
        let mut run = RunFolder::check(path, Opening::Overwrite).unwrap();
        run.begin().unwrap();
        assert!(!path.join(METRICS).exists());
        assert!(!path.join(CHECKPOINTS).exists());
        assert!(path.join("notes.txt").exists());
    }

    #[test]
    fn two_processes_cannot_write_one_folder() {
        let folder = tempfile::tempdir().unwrap();
        let open = |opening| RunFolder::check(folder.path(), opening).unwrap();
        let mut first = open(Opening::New);
        first.begin().unwrap();
        assert!(Lock::is_held(folder.path()));
        let error = open(Opening::Overwrite).begin().unwrap_err().to_string();
        let holder = std::process::id().to_string();
        assert!(
            error.contains("another process") && error.contains(&holder),
            "{error}"
        );
        drop(first);
        assert!(!Lock::is_held(folder.path()));
        open(Opening::Overwrite).begin().unwrap();
    }

    #[test]
    fn there_is_nothing_to_resume_in_an_empty_folder() {
        let folder = tempfile::tempdir().unwrap();
        let error = RunFolder::check(folder.path(), Opening::Resume).unwrap_err();
        assert!(error.to_string().contains("without --resume"), "{error}");
    }

    #[test]
    fn every_start_is_written_down() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::check(folder.path(), Opening::New).unwrap();
        run.record_start("mic-test", 7, 0).unwrap();
        run.record_start("mic-test", 7, 40).unwrap();
        let text = fs::read_to_string(run.join(RUN)).unwrap();
        let read: Provenance = serde_json::from_str(&text).unwrap();
        let steps: Vec<u64> = read.starts.iter().map(|start| start.step).collect();
        assert_eq!((read.seed, steps), (7, vec![0, 40]));
    }
}
