//! A download in progress.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::digest::{self, Hash};
use crate::{Error, Result, disk};

/// The first bytes of a file, and their hash.
pub(crate) struct Partial {
    path: PathBuf,
    file: File,
    size: u64,
    length: u64,
    hash: Hash,
    /// Bytes of an earlier process.
    kept: u64,
}

impl Partial {
    /// Goes on with what is there of a file of `size` bytes.
    pub(crate) fn open(path: &Path, size: u64) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        let mut file = options.open(path).map_err(Error::io(path))?;
        let length = file.metadata().map_err(Error::io(path))?.len();
        let mut partial = Self {
            path: path.to_owned(),
            hash: digest::of_start(&mut file, path, length)?,
            file,
            size,
            length,
            kept: length,
        };
        if length > size {
            partial.restart()?;
        }
        Ok(partial)
    }

    /// Bytes that have come.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Bytes of an earlier process that are still used.
    pub(crate) fn kept(&self) -> u64 {
        self.kept
    }

    /// Bytes that are missing.
    pub(crate) fn missing(&self) -> u64 {
        self.size - self.length
    }

    /// Adds bytes; `false` if there are more than the file has, of which none is taken.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<bool> {
        let count = bytes.len() as u64;
        if count > self.missing() {
            return Ok(false);
        }
        if let Err(source) = self.file.write_all(bytes) {
            let error = disk::failed(&self.path, self.missing(), source);
            self.remove();
            return Err(error);
        }
        self.hash.add(bytes);
        self.length += count;
        Ok(true)
    }

    /// Forgets everything that has come.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(Error::io(&self.path))?;
        self.hash = Hash::default();
        (self.length, self.kept) = (0, 0);
        Ok(())
    }

    /// SHA-256 of what has come.
    pub(crate) fn sha256(&self) -> String {
        self.hash.clone().finish()
    }

    /// Moves the whole file to its place.
    pub(crate) fn place(self, path: &Path) -> Result<()> {
        let synced = self.file.sync_all();
        synced.map_err(|source| disk::failed(&self.path, 0, source))?;
        std::fs::rename(&self.path, path).map_err(Error::io(path))
    }

    /// Removes the file.
    pub(crate) fn remove(&self) {
        // What cannot be removed is found by the next download, and its hash tells.
        let _ = std::fs::remove_file(&self.path);
    }
}
