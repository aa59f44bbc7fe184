//! Converting the labels of a published set to train ids and counting their classes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use image::GrayImage;

use super::polygon_file::read_polygons;
use crate::class_stats::{Entry, write_entries};
use crate::files::{scan_with, write_atomically, write_grey};
use crate::parallel::map_indices;
use crate::sample::IGNORE;
use crate::{Error, LabelMap, Result};

/// A set that can be prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreparedSet {
    /// GTA5: palette PNGs.
    Gta,
    /// SYNTHIA-RAND-CITYSCAPES: 16-bit RGB PNGs.
    Synthia,
    /// Cityscapes: polygon files, or label id PNGs where there are none.
    Cityscapes,
}

/// What [`prepare`] does.
#[derive(Clone, Debug)]
pub struct Preparation {
    /// The set.
    pub set: PreparedSet,
    /// Its folder.
    pub root: PathBuf,
    /// Folder of the labels below the root; `None`: the published one.
    pub labels: Option<PathBuf>,
    /// Folder of the statistics (and lists); `None`: the root, where training looks for them.
    pub out: Option<PathBuf>,
    /// Threads.
    pub threads: usize,
    /// Convert labels anew that are done already.
    pub again: bool,
}

/// What [`prepare`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Labels of the set.
    pub labels: usize,
    /// Of these, how many were converted now; the others were done already.
    pub converted: usize,
    /// Labels in the class statistics.
    pub counted: usize,
    /// Folder of the statistics.
    pub out: PathBuf,
}

/// The label files of an image.
#[derive(Clone, Debug)]
struct Job {
    raw: PathBuf,
    prepared: PathBuf,
    /// Below the label folder without the ending.
    name: String,
}

/// Writes a prepared label beside every published one, then the class statistics. A prepared label
/// that is not older than the published one is kept, so a preparation that was stopped goes on where
/// it was. `progress` hears of (labels done, labels in all).
///
/// # Errors
///
/// [`Error::Io`], [`Error::Decode`] and [`Error::Invalid`] naming the file: a missing folder, a
/// damaged label or one that cannot be written; also if there is no label at all.
pub fn prepare(
    preparation: &Preparation,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Prepared> {
    let set = preparation.set;
    let below = preparation.labels.clone();
    let folder = preparation.root.join(below.unwrap_or(set.folder().into()));
    let jobs = set.jobs(&folder)?;
    if jobs.is_empty() {
        return Err(Error::Invalid(format!(
            "{} holds no label of the set ({}); name the folder of the set, and that of its labels \
             if it has another name",
            folder.display(),
            set.expected()
        )));
    }
    let done = AtomicUsize::new(0);
    let converted = AtomicUsize::new(0);
    let counts = map_indices(jobs.len(), preparation.threads, |index| {
        let job = &jobs[index];
        let label = if !preparation.again && is_done(job) {
            LabelMap::train_ids(19).read(&job.prepared)?
        } else {
            let label = set.convert(&job.raw)?;
            write_grey(&job.prepared, &label)?;
            converted.fetch_add(1, Ordering::Relaxed);
            label
        };
        progress(done.fetch_add(1, Ordering::Relaxed) + 1, jobs.len());
        Ok(count(&label))
    })?;
    let out = preparation.out.clone();
    let out = out.unwrap_or_else(|| preparation.root.clone());
    fs::create_dir_all(&out).map_err(|source| Error::Io {
        path: out.clone(),
        source,
    })?;
    let entries = jobs
        .iter()
        .zip(counts)
        .filter(|(job, _)| set.is_counted(job));
    let entries = entries.map(|(job, counts)| Entry {
        file: job.prepared.to_string_lossy().into_owned(),
        counts,
    });
    let entries: Vec<Entry> = entries.collect();
    write_entries(&out, &entries)?;
    if set == PreparedSet::Cityscapes {
        write_lists(&out, &jobs)?;
    }
    Ok(Prepared {
        labels: jobs.len(),
        converted: converted.into_inner(),
        counted: entries.len(),
        out,
    })
}

impl PreparedSet {
    fn folder(self) -> &'static str {
        match self {
            Self::Gta => "labels",
            Self::Synthia => "GT/LABELS",
            Self::Cityscapes => "gtFine",
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Gta | Self::Synthia => "PNG files whose names end in a digit",
            Self::Cityscapes => "files like *_gtFine_polygons.json or *_gtFine_labelIds.png",
        }
    }

    /// The labels, sorted by name.
    fn jobs(self, folder: &Path) -> Result<Vec<Job>> {
        let prepared_suffix = match self {
            Self::Gta | Self::Synthia => "_labelTrainIds.png",
            Self::Cityscapes => "_gtFine_labelTrainIds.png",
        };
        let found = scan_with(folder, |path| self.name(path))?;
        let mut jobs: Vec<Job> = Vec::new();
        for file in found {
            // Of the two forms of a Cityscapes label the polygons come second in order.
            if jobs.last().is_some_and(|last| last.name == file.name) {
                jobs.pop();
            }
            jobs.push(Job {
                prepared: folder.join(format!("{}{prepared_suffix}", file.name)),
                raw: file.path,
                name: file.name,
            });
        }
        Ok(jobs)
    }

    fn name(self, path: &str) -> Option<String> {
        match self {
            // The names of prepared labels end otherwise.
            Self::Gta | Self::Synthia => {
                let name = path.strip_suffix(".png")?;
                name.ends_with(|c: char| c.is_ascii_digit())
                    .then(|| name.to_owned())
            }
            Self::Cityscapes => {
                let endings = ["_gtFine_polygons.json", "_gtFine_labelIds.png"];
                let name = endings.iter().find_map(|ending| path.strip_suffix(ending));
                name.map(str::to_owned)
            }
        }
    }

    fn convert(self, path: &Path) -> Result<GrayImage> {
        match self {
            Self::Gta => LabelMap::cityscapes().read(path),
            Self::Synthia => LabelMap::synthia().read(path),
            Self::Cityscapes if path.extension().is_some_and(|ending| ending == "json") => {
                read_polygons(path)?.train_ids(path)
            }
            Self::Cityscapes => LabelMap::cityscapes().read(path),
        }
    }

    /// Whether training may draw the image: of Cityscapes only its training split.
    fn is_counted(self, job: &Job) -> bool {
        self != Self::Cityscapes || job.name.starts_with("train/")
    }
}

fn is_done(job: &Job) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    modified(&job.prepared).is_some_and(|prepared| Some(prepared) >= modified(&job.raw))
}

fn count(label: &GrayImage) -> std::collections::BTreeMap<u8, u64> {
    let mut counts = [0u64; 256];
    for id in label.as_raw() {
        counts[usize::from(*id)] += 1;
    }
    let classes = (0..IGNORE).zip(counts);
    classes.filter(|(_, count)| *count > 0).collect()
}

/// `train.txt`, `val.txt` and `test.txt` with names below the folder of the split.
fn write_lists(out: &Path, jobs: &[Job]) -> Result<()> {
    for split in ["train", "val", "test"] {
        let prefix = format!("{split}/");
        let names: Vec<&str> = jobs
            .iter()
            .filter_map(|job| job.name.strip_prefix(&prefix))
            .collect();
        if names.is_empty() {
            continue;
        }
        write_atomically(&out.join(format!("{split}.txt")), |file| {
            use std::io::Write;
            names.iter().try_for_each(|name| writeln!(file, "{name}"))
        })?;
    }
    Ok(())
}
