//! Writing checkpoints while training goes on.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Instant;

use candle_core::Tensor;

use super::{
    Content, FileEntry, Keep, Manifest, PART, STATE, Snapshot, TRAINING, WEIGHTS, folder,
    superseded,
};
use crate::checkpoint::read::find;
use crate::{Error, Result};

/// A checkpoint that has been written.
#[derive(Clone, Debug)]
pub struct Written {
    /// Steps done.
    pub step: u64,
    /// Its folder.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// Seconds of writing.
    pub seconds: f64,
    /// Seconds that training stood still for the copy (and for the checkpoint before).
    pub stopped: f64,
}

/// Writes one checkpoint at a time, in the background.
pub struct Writer {
    checkpoints: PathBuf,
    keep: Keep,
    working: Option<JoinHandle<Result<Written>>>,
}

impl Writer {
    /// A writer into the folder `checkpoints`, which is made if needed. What an interrupted writer
    /// left there is removed.
    ///
    /// # Errors
    /// A folder that cannot be made or read.
    pub fn new(checkpoints: &Path, keep: Keep) -> Result<Self> {
        fs::create_dir_all(checkpoints).map_err(Error::io(checkpoints))?;
        for entry in fs::read_dir(checkpoints).map_err(Error::io(checkpoints))? {
            let path = entry.map_err(Error::io(checkpoints))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if name.is_some_and(|name| name.starts_with(PART)) {
                fs::remove_dir_all(&path).map_err(Error::io(&path))?;
            }
        }
        Ok(Self {
            checkpoints: checkpoints.to_owned(),
            keep,
            working: None,
        })
    }

    /// Copies the content and starts to write it. A checkpoint that is still being written is
    /// waited for first: its result is returned.
    pub fn begin(&mut self, content: &Content, manifest: Manifest) -> Option<Result<Written>> {
        let began = Instant::now();
        let before = self.wait();
        let snapshot = match Snapshot::of(content) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                let failed = std::thread::spawn(move || Err(error));
                self.working = Some(failed);
                return before;
            }
        };
        let stopped = began.elapsed().as_secs_f64();
        let (checkpoints, keep) = (self.checkpoints.clone(), self.keep);
        self.working = Some(std::thread::spawn(move || {
            let written = write(&checkpoints, &snapshot, manifest, stopped)?;
            remove_superseded(&checkpoints, keep)?;
            Ok(written)
        }));
        before
    }

    /// The result of a checkpoint whose writing has ended, if there is one.
    pub fn poll(&mut self) -> Option<Result<Written>> {
        let ended = self.working.as_ref().is_some_and(JoinHandle::is_finished);
        if ended { self.wait() } else { None }
    }

    /// Waits for the checkpoint that is being written, if there is one.
    pub fn wait(&mut self) -> Option<Result<Written>> {
        let result = self.working.take()?.join();
        Some(result.unwrap_or_else(|_| {
            Err(Error::Run(format!(
                "writing a checkpoint below {} broke off; the older ones are unchanged",
                self.checkpoints.display()
            )))
        }))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Nobody asks for the result any more.
        let _ = self.wait();
    }
}

fn write(
    checkpoints: &Path,
    Snapshot(content): &Snapshot,
    mut manifest: Manifest,
    stopped: f64,
) -> Result<Written> {
    let began = Instant::now();
    let step = manifest.progress.step;
    let path = folder(checkpoints, step);
    let part = checkpoints.join(format!("{PART}{step:08}"));
    let whole = write_folder(&part, content, &mut manifest).and_then(|bytes| {
        // A checkpoint of the same step, written before a resume, is replaced.
        if path.exists() {
            fs::remove_dir_all(&path).map_err(Error::io(&path))?;
        }
        fs::rename(&part, &path).map_err(Error::io(&path))?;
        synchronise(checkpoints);
        Ok(bytes)
    });
    match whole {
        Ok(bytes) => Ok(Written {
            step,
            path,
            bytes,
            seconds: began.elapsed().as_secs_f64(),
            stopped,
        }),
        Err(error) => {
            // Best effort, which also makes room on a full disk: the error to report is the first.
            let _ = fs::remove_dir_all(&part);
            Err(Error::Run(format!(
                "cannot write the checkpoint of step {step}: {error}; the older checkpoints are \
                 unchanged"
            )))
        }
    }
}

/// Fills the folder; returns its size.
fn write_folder(part: &Path, content: &Content, manifest: &mut Manifest) -> Result<u64> {
    if part.exists() {
        fs::remove_dir_all(part).map_err(Error::io(part))?;
    }
    fs::create_dir_all(part).map_err(Error::io(part))?;
    let metadata = [("config".to_owned(), manifest.config.clone())].into();
    manifest.files = vec![
        put(part, WEIGHTS, &content.weights, &metadata)?,
        put(part, TRAINING, &content.training, &Default::default())?,
    ];
    let path = part.join(STATE);
    let text = manifest
        .seal()
        .map_err(|error| Error::Run(format!("cannot write {} as JSON: {error}", path.display())))?;
    let mut file = File::create(&path).map_err(Error::io(&path))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(Error::io(&path))?;
    synchronise(part);
    let tensors: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    Ok(tensors + text.len() as u64)
}

fn put(
    part: &Path,
    name: &str,
    tensors: &[(String, Tensor)],
    metadata: &std::collections::HashMap<String, String>,
) -> Result<FileEntry> {
    let path = part.join(name);
    mic_nn::weights::save(&path, tensors, metadata)
        .map_err(|error| Error::Run(error.to_string()))?;
    let (bytes, crc32) = checksum(&path).map_err(Error::io(&path))?;
    Ok(FileEntry {
        name: name.into(),
        bytes,
        crc32,
    })
}

/// Length and CRC-32 of a file.
pub(super) fn checksum(path: &Path) -> io::Result<(u64, u32)> {
    let mut file = File::open(path)?;
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((bytes, hasher.finalize())),
            count => {
                hasher.update(&buffer[..count]);
                bytes += count as u64;
            }
        }
    }
}

/// A new name outlives a power cut only when its folder is on the disk. Not every file system can
/// do that, and the files themselves are safe: a refusal is no error.
fn synchronise(folder: &Path) {
    #[cfg(unix)]
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    #[cfg(not(unix))]
    let _ = folder;
}

fn remove_superseded(checkpoints: &Path, keep: Keep) -> Result<()> {
    let all = find(checkpoints)?;
    let steps: Vec<u64> = all.iter().map(|(step, _)| *step).collect();
    let best = all.last().and_then(|(_, path)| super::read::best_of(path));
    for step in superseded(&steps, keep, best) {
        let path = folder(checkpoints, step);
        fs::remove_dir_all(&path).map_err(Error::io(&path))?;
    }
    Ok(())
}
