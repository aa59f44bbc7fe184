//! From the Hub into the cache: whole and verified, or not at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use crate::cache::{self, Place};
use crate::digest::{self, is_sha256};
use crate::download::{Event, Tries, Watch, fill};
use crate::hub::{Hub, Remote};
use crate::ledger::Ledger;
use crate::manifest::HubFile;
use crate::partial::Partial;
use crate::{Error, Result, Settings, disk};

/// A file that is in the cache now.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Where.
    pub path: PathBuf,
    /// The commit that it belongs to.
    pub commit: String,
    /// Its SHA-256.
    pub sha256: String,
    /// Its bytes.
    pub size: u64,
    /// How it came there.
    pub how: How,
    /// Whether this was the first time, so that its SHA-256 was recorded unseen.
    pub recorded: bool,
}

/// How a file came into the cache.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum How {
    /// It was there and is unchanged.
    Cached,
    /// It was fetched; of its bytes `resumed` were there from a download that had been interrupted.
    Downloaded {
        /// Bytes of the earlier download.
        resumed: u64,
        /// How long the rest took.
        took: Duration,
    },
}

/// Fetches files.
pub struct Fetcher {
    settings: Settings,
    hub: Hub,
    ledger: Ledger,
    runtime: Runtime,
}

impl Fetcher {
    /// # Errors
    /// [`Error::Usage`] for addresses of the Hub or of a proxy that are none.
    pub fn new(settings: Settings) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        let runtime = runtime.map_err(Error::io(Path::new("threads of the network")))?;
        Ok(Self {
            hub: Hub::new(&settings)?,
            ledger: Ledger::new(settings.ledger()),
            settings,
            runtime,
        })
    }

    /// Where first downloads are recorded.
    pub fn ledger(&self) -> &Path {
        self.ledger.path()
    }

    /// Where a file lies in the cache, if it does. Nothing is asked and nothing verified.
    pub fn cached(&self, file: &HubFile) -> Option<PathBuf> {
        self.runtime.block_on(self.hub.cached(file))
    }

    /// Brings a file into the cache, and verifies it wherever it comes from. An interrupted download
    /// goes on where it stopped.
    ///
    /// # Errors
    /// See [`Error`]; whatever it is, the cache is as it was before, but for the part that an
    /// interrupted download goes on from.
    pub fn fetch(&self, file: &HubFile, watch: Watch<'_>) -> Result<Fetched> {
        self.runtime.block_on(self.bring(file, watch))
    }

    async fn bring(&self, file: &HubFile, watch: Watch<'_>) -> Result<Fetched> {
        let cached = self.hub.cached(file).await;
        if let Some(path) = cached
            .as_deref()
            .filter(|_| file.pinned() || self.settings.offline)
        {
            match self.verify(file, path) {
                Ok(fetched) => return Ok(fetched),
                Err(error @ Error::WrongHash { .. }) if !self.settings.offline => {
                    watch(Event::Note(format!("{error}\nfetching it again")));
                    cache::remove(path)?;
                }
                Err(error) => return Err(error),
            }
        }
        if self.settings.offline {
            return Err(Error::Offline {
                file: file.to_string(),
                cache: self.settings.cache.clone(),
                folder: cache::folder(&file.repository),
            });
        }
        let remote = match self.look(file, cached.is_some(), watch).await {
            Err(error) if error.passes() && cached.is_some() => {
                watch(Event::Note(format!("{error}\ntaking what the cache has")));
                return self.verify(file, &cached.unwrap_or_default());
            }
            other => other?,
        };
        self.agree(file, &remote)?;
        self.place(file, &remote, watch).await
    }

    async fn look(&self, file: &HubFile, cached: bool, watch: Watch<'_>) -> Result<Remote> {
        let mut tries = Tries::new(&self.settings, watch);
        loop {
            match self.hub.look(file).await {
                Ok(remote) => return Ok(remote),
                Err(error) if cached && error.passes() => return Err(error),
                Err(error) => tries.after(error).await?,
            }
        }
    }

    /// Before anything is fetched: whether the Hub offers what it should.
    fn agree(&self, file: &HubFile, remote: &Remote) -> Result<()> {
        if !is_sha256(&remote.etag) {
            return Ok(());
        }
        if let Some(expected) = &file.sha256
            && *expected != remote.etag
        {
            return Err(wrong(file, expected, &remote.etag, "the manifest"));
        }
        match self.ledger.seen(file)? {
            Some(seen) if seen.sha256 != remote.etag => {
                Err(self.ledger.changed(file, &seen, &remote.etag))
            }
            _ => Ok(()),
        }
    }

    async fn place(&self, file: &HubFile, remote: &Remote, watch: Watch<'_>) -> Result<Fetched> {
        let place = Place::new(&self.settings.cache, &file.repository);
        place.make()?;
        let _lock = place.lock(&remote.etag, || {
            watch(Event::Note(format!(
                "another process is fetching {file}; waiting for it"
            )));
        })?;
        let blob = place.blob(&remote.etag);
        let mut how = How::Cached;
        let mut there = None;
        if blob.is_file() {
            let sha256 = digest::of(&blob)?;
            match self.expect(file, &remote.etag, &sha256) {
                Ok(()) => there = Some(sha256),
                Err(error @ Error::Changed { .. }) => return Err(error),
                Err(error) => {
                    watch(Event::Note(format!("{error}\nfetching it again")));
                    fs::remove_file(&blob).map_err(Error::io(&blob))?;
                }
            }
        }
        let sha256 = match there {
            Some(sha256) => sha256,
            None => {
                let began = Instant::now();
                let partial = self.download(file, remote, &place, watch).await?;
                how = How::Downloaded {
                    resumed: partial.kept(),
                    took: began.elapsed(),
                };
                let sha256 = partial.sha256();
                partial.place(&blob)?;
                sha256
            }
        };
        let recorded = self.record(file, &remote.commit, &sha256)?;
        Ok(Fetched {
            path: place.point(&file.revision, &remote.commit, &file.file, &remote.etag)?,
            commit: remote.commit.clone(),
            sha256,
            size: remote.size,
            how,
            recorded,
        })
    }

    async fn download(
        &self,
        file: &HubFile,
        remote: &Remote,
        place: &Place,
        watch: Watch<'_>,
    ) -> Result<Partial> {
        let path = place.partial(&remote.etag);
        let mut partial = Partial::open(&path, remote.size)?;
        if let Some(free) = disk::free(&path)
            && free < partial.missing()
        {
            let need = partial.missing();
            partial.remove();
            return Err(Error::DiskFull {
                path,
                need,
                free: Some(free),
            });
        }
        if partial.kept() > 0 {
            let (kept, size) = (partial.kept(), remote.size);
            watch(Event::Note(format!(
                "{file}: going on at {kept} of {size} bytes"
            )));
        }
        loop {
            let filled = fill(&self.hub, &self.settings, file, remote, &mut partial, watch).await;
            if let Err(error) = filled {
                if partial.length() == 0 {
                    partial.remove();
                }
                return Err(error);
            }
            let kept = partial.kept();
            match self.expect(file, &remote.etag, &partial.sha256()) {
                Ok(()) => return Ok(partial),
                // The old part may be what is wrong.
                Err(error) if kept > 0 => {
                    watch(Event::Note(format!("{error}\nfetching the whole file")));
                    partial.restart()?;
                }
                Err(error) => {
                    partial.remove();
                    return Err(error);
                }
            }
        }
    }

    /// Whether a SHA-256 is the one that the manifest, the Hub and the first download say.
    fn expect(&self, file: &HubFile, etag: &str, found: &str) -> Result<()> {
        if let Some(expected) = &file.sha256
            && expected != found
        {
            return Err(wrong(file, expected, found, "the manifest"));
        }
        if is_sha256(etag) && etag != found {
            return Err(wrong(file, etag, found, "the Hub"));
        }
        match self.ledger.seen(file)? {
            Some(seen) if seen.sha256 != found => Err(self.ledger.changed(file, &seen, found)),
            _ => Ok(()),
        }
    }

    fn record(&self, file: &HubFile, commit: &str, sha256: &str) -> Result<bool> {
        match file.sha256 {
            Some(_) => Ok(false),
            None => self.ledger.record(file, commit, sha256),
        }
    }

    /// A file of the cache, read and compared with what it should be.
    fn verify(&self, file: &HubFile, path: &Path) -> Result<Fetched> {
        let sha256 = digest::of(path)?;
        let blob = fs::canonicalize(path).map_err(Error::io(path))?;
        let etag = blob.file_name().unwrap_or_default().to_string_lossy();
        self.expect(file, &etag, &sha256)?;
        let commit = commit_of(path, &file.file);
        Ok(Fetched {
            recorded: self.record(file, &commit, &sha256)?,
            commit,
            size: fs::metadata(path).map_err(Error::io(path))?.len(),
            sha256,
            how: How::Cached,
            path: path.to_owned(),
        })
    }
}

fn wrong(file: &HubFile, expected: &str, found: &str, source: &str) -> Error {
    Error::WrongHash {
        file: file.to_string(),
        expected: expected.into(),
        found: found.into(),
        source_of_truth: source.into(),
    }
}

/// The commit in the path of a snapshot's file.
fn commit_of(path: &Path, file: &str) -> String {
    let depth = 1 + file.matches('/').count();
    let folder = path.ancestors().nth(depth).and_then(Path::file_name);
    folder.unwrap_or_default().to_string_lossy().into_owned()
}
