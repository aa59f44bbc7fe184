//! Decoded and scaled samples kept on disk.
//!
//! Decoding a PNG takes most of a sample's time. A cache entry holds the pixels of a sample after
//! decoding and, if that makes it smaller, scaling, so that reading it is a copy and a check sum. An entry is
//! valid for files of one size and time of change; a stale or damaged one is made again in its
//! place. A full or unwritable cache changes the time, not the samples.

mod entry;
mod set;

use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;
use std::{fs, io};

use crate::files::write_atomically;
use crate::{Error, Result};

pub use entry::CachedSample;
pub use set::{Cached, Kept};

/// A folder of cache entries with a limit on its size. Several threads and processes may use one
/// folder; each keeps the limit by what it found at the start and wrote itself.
#[derive(Debug)]
pub struct DiskCache {
    folder: PathBuf,
    limit: u64,
    used: AtomicU64,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    read: AtomicU64,
    made: AtomicU64,
    damaged: AtomicU64,
    unwritten: AtomicU64,
}

/// What a [`DiskCache`] has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Samples read from the cache.
    pub read: u64,
    /// Samples made anew: no entry, a stale one or a damaged one.
    pub made: u64,
    /// Of these, those that replaced a damaged entry.
    pub damaged: u64,
    /// Samples that could not be written: over the limit, or the disk refused.
    pub unwritten: u64,
    /// Bytes of all entries.
    pub bytes: u64,
}

/// What an entry depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheKey {
    /// Decides the place of the entry: the paths and the transform.
    place: String,
    /// The rest of what must be equal: sizes and times of change.
    version: String,
}

impl CacheKey {
    /// The key of what `transform` (its name and all its options) makes of some files.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] names a file that is not there.
    pub fn new<P: AsRef<Path>>(files: &[P], transform: &str) -> Result<Self> {
        let mut place = transform.to_owned();
        let mut version = String::new();
        for path in files {
            let path = path.as_ref();
            let io = |source| Error::Io {
                path: path.to_owned(),
                source,
            };
            let metadata = fs::metadata(path).map_err(io)?;
            let changed = metadata.modified().map_err(io)?.duration_since(UNIX_EPOCH);
            let changed = changed.map_or(0, |time| time.as_nanos());
            place += &format!("\n{}", path.display());
            version += &format!("\n{} {changed}", metadata.len());
        }
        Ok(Self { place, version })
    }

    fn file_name(&self) -> String {
        let hash = |salt: &[u8]| {
            let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
            hasher.write(salt);
            hasher.write(self.place.as_bytes());
            hasher.finish()
        };
        format!("{:016x}{:016x}.sample", hash(b"1"), hash(b"2"))
    }

    fn text(&self) -> String {
        format!("{}{}", self.place, self.version)
    }
}

/// FNV-1a, equal on every platform.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

impl DiskCache {
    /// Opens or creates a cache in `folder`, to hold at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the folder cannot be created or read.
    pub fn open(folder: &Path, limit: u64) -> Result<Self> {
        let used = fs::create_dir_all(folder).and_then(|()| bytes_in(folder));
        let used = used.map_err(|source| Error::Io {
            path: folder.to_owned(),
            source,
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            limit,
            used: AtomicU64::new(used),
            counts: Counts::default(),
        })
    }

    /// The cached sample of a key, or what `make` returns, which is then kept if it fits.
    ///
    /// # Errors
    ///
    /// Those of `make`.
    pub fn get_or_make(
        &self,
        key: &CacheKey,
        make: impl FnOnce() -> Result<CachedSample>,
    ) -> Result<CachedSample> {
        let path = self.folder.join(key.file_name());
        let old = fs::read(&path).unwrap_or_default();
        match entry::decode(&old, &key.text()) {
            entry::Found::Valid(sample) => {
                add(&self.counts.read);
                return Ok(sample);
            }
            entry::Found::Stale => (),
            entry::Found::Damaged if old.is_empty() => (),
            entry::Found::Damaged => add(&self.counts.damaged),
        }
        let sample = make()?;
        add(&self.counts.made);
        if !self.keep(
            &path,
            old.len() as u64,
            &entry::encode(&sample, &key.text()),
        ) {
            add(&self.counts.unwritten);
        }
        Ok(sample)
    }

    /// What happened so far.
    pub fn stats(&self) -> CacheStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        CacheStats {
            read: read(&self.counts.read),
            made: read(&self.counts.made),
            damaged: read(&self.counts.damaged),
            unwritten: read(&self.counts.unwritten),
            bytes: read(&self.used),
        }
    }

    /// Writes an entry in place of one of `old` bytes. False if it does not fit or cannot be
    /// written.
    fn keep(&self, path: &Path, old: u64, bytes: &[u8]) -> bool {
        let size = bytes.len() as u64;
        let fits = |used: u64| {
            let after = used.saturating_sub(old) + size;
            (after <= self.limit).then_some(after)
        };
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        if self.used.fetch_update(set, fetch, fits).is_err() {
            return false;
        }
        let written = write_atomically(path, |file| io::Write::write_all(file, bytes));
        if written.is_err() {
            self.used.fetch_sub(size, Ordering::Relaxed);
            self.used.fetch_add(old, Ordering::Relaxed);
        }
        written.is_ok()
    }
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// Bytes of the entries in a folder.
fn bytes_in(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for file in fs::read_dir(folder)? {
        let file = file?;
        if Path::new(&file.file_name()).extension() == Some("sample".as_ref()) {
            bytes += file.metadata()?.len();
        }
    }
    Ok(bytes)
}
