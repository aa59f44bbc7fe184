//! An event file: records with check sums.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::crc::masked;
use super::proto::{self, Message};
use crate::{Error, Result};

const PREFIX: &str = "events.out.tfevents.";

/// An event file that is being written.
#[derive(Debug)]
pub(super) struct EventFile {
    path: PathBuf,
    file: BufWriter<File>,
    flushed: Instant,
}

impl EventFile {
    /// Creates the next file of `folder`, and the folder where it is missing.
    pub(super) fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        // TensorBoard reads a run's files in the order of their names. A clock that was set back
        // must not bring a resumed run before the run that it goes on with.
        let mut seconds = (now() as u64).max(newest(folder)?.map_or(0, |newest| newest + 1));
        let host = host();
        loop {
            let path = folder.join(format!("{PREFIX}{seconds:010}.{host}"));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    let file = BufWriter::with_capacity(1 << 16, file);
                    let mut events = Self {
                        path,
                        file,
                        flushed: Instant::now(),
                    };
                    events.write(proto::file_version(now()))?;
                    events.flush()?;
                    return Ok(events);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => seconds += 1,
                Err(error) => return Err(Error::io(&path)(error)),
            }
        }
    }

    /// Adds an event.
    pub(super) fn write(&mut self, event: Message) -> Result<()> {
        let bytes = event.into_bytes();
        let length = (bytes.len() as u64).to_le_bytes();
        let parts: [&[u8]; 4] = [
            &length,
            &masked(&length).to_le_bytes(),
            &bytes,
            &masked(&bytes).to_le_bytes(),
        ];
        let mut written = parts.into_iter().map(|part| self.file.write_all(part));
        written
            .try_for_each(|part| part)
            .map_err(Error::io(&self.path))
    }

    /// Hands over to the operating system what is older than `every`.
    pub(super) fn flush_after(&mut self, every: Duration) -> Result<()> {
        if self.flushed.elapsed() < every {
            return Ok(());
        }
        self.flush()
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        self.flushed = Instant::now();
        self.file.flush().map_err(Error::io(&self.path))
    }
}

/// Seconds since 1970; zero on a clock that is before.
pub(super) fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// The largest number of seconds in a name of an event file.
fn newest(folder: &Path) -> Result<Option<u64>> {
    let mut newest = None;
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let name = entry.map_err(Error::io(folder))?.file_name();
        let name = name.to_string_lossy();
        let seconds = name.strip_prefix(PREFIX).and_then(|rest| {
            let (seconds, _) = rest.split_once('.')?;
            seconds.parse().ok()
        });
        newest = newest.max(seconds);
    }
    Ok(newest)
}

/// The machine's name, of characters that a file name may have.
fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.or_else(|| std::env::var("HOSTNAME").ok());
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let name: String = name
        .unwrap_or_default()
        .trim()
        .chars()
        .filter(|c| allowed(*c))
        .collect();
    if name.is_empty() { "host".into() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_file_has_a_later_name_whatever_the_clock_says() {
        let folder = tempfile::tempdir().unwrap();
        let future = folder
            .path()
            .join("events.out.tfevents.9000000000.elsewhere");
        fs::write(&future, "").unwrap();
        let first = EventFile::create(folder.path()).unwrap();
        let second = EventFile::create(folder.path()).unwrap();
        assert!(future < first.path && first.path < second.path);
    }

    #[test]
    fn records_are_length_sum_bytes_sum() {
        let folder = tempfile::tempdir().unwrap();
        let events = EventFile::create(folder.path()).unwrap();
        let bytes = fs::read(&events.path).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        assert_eq!(bytes.len(), 12 + length + 4);
        assert_eq!(bytes[8..12], masked(&bytes[..8]).to_le_bytes());
        let (body, sum) = bytes[12..].split_at(length);
        assert_eq!(sum, masked(body).to_le_bytes());
        assert!(body.ends_with(b"brain.Event:2"));
    }
}
