//! The batches of a run as its configuration asks for them: made ahead, in bounded memory, past bad
//! samples.

use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bad_samples::{BadSample, BadSamples, Checked};
use crate::cache::DiskCache;
use crate::files::set_decode_limit;
use crate::loader::{LoaderConfig, LoaderStats, MemorySize, OrderedLoader};
use crate::reading::{BatchPipeline, Reading};
use crate::{Error, Result};

/// Keys that say how images are read and batches are made, the same in `[data]` of every task.
/// Sizes are in MiB. None of them changes a batch, but for `skip_bad`, which replaces what would
/// otherwise end the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct LoadingOptions {
    /// Threads that prepare batches; 0 prepares them in the training thread.
    pub loader_threads: usize,
    /// Finished batches that may wait, at most two a thread. A larger batch is made when it is the
    /// next one.
    pub loader_memory_mb: u64,
    /// What decoding one file may take, in each thread. A file that needs more counts as damaged.
    pub decode_limit_mb: u64,
    /// Training images that may be left out because they, or their labels, cannot be read; others
    /// take their places. With more the run fails, and with 0 at the first.
    pub skip_bad: usize,
    /// Folder for images as decoded, or as resized where that is smaller; absent: none.
    pub cache: Option<String>,
    /// Size of that folder; what does not fit is decoded anew each time.
    pub cache_limit_mb: u64,
}

impl Default for LoadingOptions {
    fn default() -> Self {
        Self {
            loader_threads: 2,
            loader_memory_mb: 1024,
            decode_limit_mb: 1024,
            skip_bad: 0,
            cache: None,
            cache_limit_mb: 20 << 10,
        }
    }
}

/// The keys as written. Among those of another table a value of the wrong type could not be named by
/// the reader of the file.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Written {
    loader_threads: Option<Value>,
    loader_memory_mb: Option<Value>,
    decode_limit_mb: Option<Value>,
    skip_bad: Option<Value>,
    cache: Option<Value>,
    cache_limit_mb: Option<Value>,
}

impl TryFrom<Written> for LoadingOptions {
    type Error = String;

    fn try_from(written: Written) -> std::result::Result<Self, String> {
        const MIB: &str = "a whole number of MiB, at least 1";
        let usual = Self::default();
        Ok(Self {
            loader_threads: value(
                "loader_threads",
                written.loader_threads,
                usual.loader_threads,
                "a whole number of threads",
            )?,
            loader_memory_mb: value(
                "loader_memory_mb",
                written.loader_memory_mb,
                usual.loader_memory_mb,
                MIB,
            )?,
            decode_limit_mb: value(
                "decode_limit_mb",
                written.decode_limit_mb,
                usual.decode_limit_mb,
                MIB,
            )?,
            skip_bad: value(
                "skip_bad",
                written.skip_bad,
                usual.skip_bad,
                "a whole number of images",
            )?,
            cache: value("cache", written.cache, usual.cache, "a folder")?,
            cache_limit_mb: value(
                "cache_limit_mb",
                written.cache_limit_mb,
                usual.cache_limit_mb,
                MIB,
            )?,
        })
    }
}

/// The value of a key, or its default where it is not written.
fn value<T: DeserializeOwned>(
    key: &str,
    written: Option<Value>,
    default: T,
    expected: &str,
) -> std::result::Result<T, String> {
    let Some(written) = written else {
        return Ok(default);
    };
    let found = written.to_string();
    let value = serde_json::from_value(written);
    value.map_err(|_| format!("data.{key} = {found}: expected {expected}"))
}

/// The largest number of MiB that is a number of bytes.
const MOST_MB: u64 = u64::MAX >> 20;

impl LoadingOptions {
    /// Checks every value.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names the key, what was found and what is allowed.
    pub fn check(&self) -> Result<()> {
        let refuse = |key: &str, found: &dyn std::fmt::Display, expected: &str| {
            Err(Error::Invalid(format!(
                "data.{key} = {found}: expected {expected}"
            )))
        };
        for (key, value) in [
            ("loader_memory_mb", self.loader_memory_mb),
            ("decode_limit_mb", self.decode_limit_mb),
            ("cache_limit_mb", self.cache_limit_mb),
        ] {
            if !(1..=MOST_MB).contains(&value) {
                return refuse(key, &value, "a whole number of MiB, at least 1");
            }
        }
        if self.loader_threads > 1024 {
            return refuse(
                "loader_threads",
                &self.loader_threads,
                "at most 1024 threads",
            );
        }
        if self.cache.as_ref().is_some_and(|folder| folder.is_empty()) {
            return refuse("cache", &"\"\"", "a folder; leave the key out for no cache");
        }
        Ok(())
    }

    /// How far batches are made ahead.
    pub fn loader(&self) -> LoaderConfig {
        LoaderConfig {
            memory: self.loader_memory_mb.min(MOST_MB) << 20,
            ..LoaderConfig::new(self.loader_threads)
        }
    }

    /// Sets the limit on decoding, for the whole process.
    pub fn limit_decoding(&self) {
        set_decode_limit(self.decode_limit_mb.min(MOST_MB) << 20);
    }

    /// Adds to the error of a damaged file how to go on past it: whoever meets the first one should
    /// not have to look for the option.
    pub fn advise(&self, error: Error) -> Error {
        match error {
            Error::Io { .. } | Error::Decode { .. } if self.skip_bad == 0 => {
                Error::Invalid(format!(
                    "{error}. data.skip_bad = N, or --skip-bad N, goes on past up to N such files"
                ))
            }
            other => other,
        }
    }

    /// Opens the cache, if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names the key of a folder that cannot be used.
    pub fn open_cache(&self) -> Result<Option<Arc<DiskCache>>> {
        let Some(folder) = &self.cache else {
            return Ok(None);
        };
        let limit = self.cache_limit_mb.min(MOST_MB) << 20;
        let cache = DiskCache::open(Path::new(folder), limit);
        let cache = cache.map_err(|error| Error::Invalid(format!("data.cache: {error}")))?;
        Ok(Some(Arc::new(cache)))
    }
}

/// The batches of a run in order, from any step on, with the books of its bad samples.
pub struct Feed<P: BatchPipeline> {
    pipeline: Arc<P>,
    options: LoadingOptions,
    /// This process and the number of processes among which the batches are dealt out.
    rank: (u64, u64),
    loader: OrderedLoader<Checked<P::Batch>>,
    bad: BadSamples,
}

impl<P: BatchPipeline + 'static> Feed<P>
where
    P::Batch: MemorySize,
{
    /// Begins with the first batch. Where the pipeline itself does not know of several processes,
    /// they deal out its batches: this one is `rank.0` of `rank.1`, else (0, 1).
    pub fn new(pipeline: P, options: &LoadingOptions, rank: (usize, usize)) -> Self {
        let pipeline = Arc::new(pipeline);
        let rank = (rank.0 as u64, rank.1 as u64);
        Self {
            loader: loader(&pipeline, options, rank, 0),
            bad: BadSamples::new(options.skip_bad),
            options: options.clone(),
            pipeline,
            rank,
        }
    }

    /// Goes on with this process's batch `start` (counted from 0).
    pub fn restart(&mut self, start: u64) {
        self.loader = loader(&self.pipeline, &self.options, self.rank, start);
    }

    /// The next batch.
    ///
    /// # Errors
    ///
    /// Those of the pipeline, and of [`BadSamples::check`].
    pub fn next_batch(&mut self) -> Result<P::Batch> {
        match self.loader.next() {
            Some(batch) => self
                .bad
                .admit(batch.map_err(|error| self.options.advise(error))?),
            None => Err(Error::Invalid("the loader stopped early".to_owned())),
        }
    }

    /// The bad samples so far.
    pub fn bad(&mut self) -> &mut BadSamples {
        &mut self.bad
    }

    /// Bad samples that nobody has been told of.
    pub fn take_fresh(&mut self) -> Vec<BadSample> {
        self.bad.take_fresh()
    }

    /// How long training waited, and how much memory batches took.
    pub fn stats(&self) -> LoaderStats {
        self.loader.stats()
    }
}

fn loader<P: BatchPipeline + 'static>(
    pipeline: &Arc<P>,
    options: &LoadingOptions,
    (rank, ranks): (u64, u64),
    start: u64,
) -> OrderedLoader<Checked<P::Batch>>
where
    P::Batch: MemorySize,
{
    let pipeline = Arc::clone(pipeline);
    let replace_bad = options.skip_bad > 0;
    OrderedLoader::with_idle_threads(start, &options.loader(), move |number, threads| {
        let reading = Reading {
            replace_bad,
            threads,
        };
        pipeline.read_batch(number * ranks + rank, &reading)
    })
}
