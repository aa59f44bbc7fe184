//! One process at a time writes a run folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::{Error, Result};

/// Holds the file `lock` of a run folder until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock.
    ///
    /// # Errors
    /// [`Error::Usage`] if another process holds it; a folder that cannot be written.
    pub fn take(folder: &Path) -> Result<Self> {
        let path = folder.join(crate::folder::LOCK);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::io(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // What cannot be read is left out of the message.
                let _ = file.read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => String::new(),
                    process => format!(" (process {process})"),
                };
                return Err(Error::Usage(format!(
                    "run folder {} is being written by another process{holder}; wait for it, stop \
                     it, or name another folder with --out",
                    folder.display()
                )));
            }
            Err(TryLockError::Error(error)) => {
                // Some network file systems have no locks.
                tracing::warn!(file = %path.display(), %error, "the run folder cannot be locked");
            }
        }
        // The number is for messages only.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }

    /// Whether a process holds the lock of this run folder now.
    pub fn is_held(folder: &Path) -> bool {
        let Ok(file) = File::open(folder.join(crate::folder::LOCK)) else {
            return false;
        };
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }
}
