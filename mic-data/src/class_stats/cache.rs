//! Class statistics kept beside their set.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::json::{Entry, STATS_FILES, read_entries, write_entries};
use crate::bad_samples::BadSample;
use crate::datasets::{FileSample, FileSet};
use crate::rng::fnv1a;
use crate::{ClassStats, Error, Result};

/// Where the statistics of a set are kept: in the set's own folder or, if that cannot be written
/// to, in another.
#[derive(Clone, Debug)]
pub struct StatsPlace {
    folder: PathBuf,
    other: Option<PathBuf>,
}

/// Statistics and how they were come by.
#[derive(Clone, Debug)]
pub struct CachedStats {
    /// The statistics, images in the order of the set.
    pub stats: ClassStats,
    /// The folder they were read from; `None` if they were counted now.
    pub read_from: Option<PathBuf>,
    /// For the user: what was found stale and why, and where the counts were written.
    pub notes: Vec<String>,
    /// Labels that could not be used where that is allowed; their images have no pixels here.
    pub bad: Vec<BadSample>,
}

impl StatsPlace {
    /// The place of the statistics of `set` for `classes` classes.
    ///
    /// `in_root`: they lie in the root itself, where the original's tools put them. Otherwise they
    /// lie in `class_stats/NUMBER/` below it; the number depends on the label map, the classes and
    /// `selection` (which files of the root the set takes), so that several sets share a root.
    /// `cache` is the folder to use where the root cannot be written to.
    pub fn of(
        set: &FileSet,
        classes: usize,
        in_root: bool,
        selection: &str,
        cache: Option<&Path>,
    ) -> Self {
        let map = set
            .samples()
            .first()
            .and_then(|sample| sample.label.as_ref());
        let map = map
            .filter(|_| !in_root)
            .map_or(0, |label| label.map.fingerprint());
        let number = fnv1a(format!("{map} {classes} {selection}").as_bytes());
        let folder = if in_root {
            set.root().to_owned()
        } else {
            set.root()
                .join("class_stats")
                .join(format!("{number:016x}"))
        };
        let other = cache.map(|cache| {
            let root = fs::canonicalize(set.root()).unwrap_or_else(|_| set.root().to_owned());
            let root = fnv1a(root.to_string_lossy().as_bytes());
            cache.join(format!("{root:016x}-{number:016x}"))
        });
        Self { folder, other }
    }

    /// The statistics from a file that fits the set and is not older than any label; otherwise they
    /// are counted with `threads` threads (`counted` is called after every image) and kept. With
    /// `past_bad` labels that cannot be used do not end the counting; the counts are not kept then.
    ///
    /// # Errors
    ///
    /// Those of [`ClassStats::count`]. Files that cannot be read or written are told in the notes.
    pub fn load_or_count(
        &self,
        set: &FileSet,
        classes: usize,
        threads: usize,
        counted: &(dyn Fn() + Sync),
        past_bad: bool,
    ) -> Result<CachedStats> {
        let mut notes = Vec::new();
        for folder in std::iter::once(&self.folder).chain(&self.other) {
            let file = folder.join(STATS_FILES[0]);
            if !file.exists() {
                continue;
            }
            match load(folder, set, classes) {
                Ok(stats) => {
                    return Ok(CachedStats {
                        stats,
                        read_from: Some(folder.clone()),
                        notes,
                        bad: Vec::new(),
                    });
                }
                Err(why) => notes.push(format!(
                    "the class statistics {} are not used: {why}; counting again",
                    file.display()
                )),
            }
        }
        let (stats, bad) = match past_bad {
            true => ClassStats::count_past_bad(set, classes, threads, counted)?,
            false => (
                ClassStats::count_with(set, classes, threads, counted)?,
                Vec::new(),
            ),
        };
        notes.push(match bad.len() {
            0 => self.keep(set, &stats),
            count => format!("class statistics are not kept, as {count} labels cannot be used"),
        });
        Ok(CachedStats {
            stats,
            read_from: None,
            notes,
            bad,
        })
    }

    /// Writes the statistics to the first folder that takes them and tells where.
    fn keep(&self, set: &FileSet, stats: &ClassStats) -> String {
        let entries = entries(set, stats);
        let mut failures = Vec::new();
        for folder in std::iter::once(&self.folder).chain(&self.other) {
            let made = fs::create_dir_all(folder).map_err(|source| Error::Io {
                path: folder.clone(),
                source,
            });
            match made.and_then(|()| write_entries(folder, &entries)) {
                Ok(()) => return format!("class statistics kept in {}", folder.display()),
                Err(error) => failures.push(error.to_string()),
            }
        }
        format!(
            "class statistics could not be kept and will be counted again each time: {}; name a \
             folder that can be written to in data.stats_cache",
            failures.join("; ")
        )
    }
}

/// The counts of a set's statistics with the paths under which its labels are listed.
pub fn entries(set: &FileSet, stats: &ClassStats) -> Vec<Entry> {
    let samples = set.samples().iter().zip(stats.counts());
    let entries = samples.filter_map(|(sample, counts)| {
        let label = sample.label.as_ref()?;
        let classes = (0..=u8::MAX).zip(counts);
        let counts = classes.filter_map(|(class, n)| (*n > 0).then_some((class, *n)));
        Some(Entry {
            file: label.listed.to_string_lossy().into_owned(),
            counts: counts.collect(),
        })
    });
    entries.collect()
}

/// The statistics in `folder`, or why they cannot be used.
fn load(folder: &Path, set: &FileSet, classes: usize) -> std::result::Result<ClassStats, String> {
    let entries = read_entries(folder).map_err(|error| error.to_string())?;
    let places = match_entries(set, &entries)?;
    let written = modified(&folder.join(STATS_FILES[0]));
    for sample in set.samples() {
        let label = sample.label.as_ref().map(|label| label.path.as_path());
        if let Some(path) = label.filter(|path| modified(path) > written) {
            return Err(format!("the label {} is newer", path.display()));
        }
    }
    let images = set.samples().iter().zip(places).map(|(sample, place)| {
        let mut counts = vec![0; classes];
        for (class, count) in &entries[place].counts {
            match counts.get_mut(usize::from(*class)) {
                Some(slot) => *slot = *count,
                None => return Err(format!("it has a class {class}, the run has {classes}")),
            }
        }
        Ok((sample.name.clone(), counts))
    });
    let images: Vec<_> = images.collect::<std::result::Result<_, _>>()?;
    ClassStats::from_counts(classes, images).map_err(|error| error.to_string())
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|data| data.modified()).ok()
}

/// For every sample the entry of its label. Roots may be written differently, so paths are
/// compared below the root; where that fails, by file name alone, as the original does.
fn match_entries(set: &FileSet, entries: &[Entry]) -> std::result::Result<Vec<usize>, String> {
    let below_root = |sample: &FileSample| {
        let listed = sample.label.as_ref().map(|label| label.listed.as_path());
        let listed = listed.unwrap_or(Path::new(""));
        let below = listed.strip_prefix(set.root()).unwrap_or(listed);
        below.to_string_lossy().into_owned()
    };
    let wanted: Vec<String> = set.samples().iter().map(below_root).collect();
    let depths: BTreeSet<usize> = wanted.iter().map(|path| path.split('/').count()).collect();
    let mut by_tail: HashMap<&str, usize> = HashMap::new();
    for (place, entry) in entries.iter().enumerate() {
        for depth in &depths {
            by_tail.insert(tail(&entry.file, *depth), place);
        }
    }
    let places: Vec<Option<usize>> = wanted
        .iter()
        .map(|path| by_tail.get(path.as_str()).copied())
        .collect();
    let Some(missing) = places.iter().position(Option::is_none) else {
        return Ok(places.into_iter().flatten().collect());
    };
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    let mut unique = true;
    for (place, entry) in entries.iter().enumerate() {
        unique &= by_name.insert(tail(&entry.file, 1), place).is_none();
    }
    let names: BTreeSet<&str> = wanted.iter().map(|path| tail(path, 1)).collect();
    if unique && names.len() == wanted.len() {
        let places = wanted
            .iter()
            .map(|path| by_name.get(tail(path, 1)).copied());
        if let Some(places) = places.collect() {
            return Ok(places);
        }
    }
    let count = places.iter().filter(|place| place.is_none()).count();
    Err(format!(
        "{count} of the {} labels are not in it, the first is {}",
        wanted.len(),
        wanted[missing]
    ))
}

/// The last `depth` parts of a path.
fn tail(path: &str, depth: usize) -> &str {
    let slashes = path.rmatch_indices('/');
    slashes
        .map(|(at, _)| &path[at + 1..])
        .nth(depth - 1)
        .unwrap_or(path)
}
