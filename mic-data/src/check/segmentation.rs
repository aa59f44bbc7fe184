//! Reading whole segmentation sets to find what is wrong with them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use image::{GrayImage, RgbImage};

use super::report::{Picture, Report, Table, thousands};
use crate::datasets::{FileSample, FileSet};
use crate::files::read_image;
use crate::findings::{Severity, compare_domains};
use crate::label_map::Unlisted;
use crate::overlay::overlay;
use crate::parallel::map_indices;
use crate::sample::{IGNORE, LabelledSet};
use crate::transform::{keep_ratio, resize_image, resize_nearest};
use crate::{ClassStats, Classes, Result};

/// A set to look at.
#[derive(Clone, Copy)]
pub enum Subject<'a> {
    /// Files; labels are looked at where the samples have them.
    Files(&'a FileSet),
    /// Images that are no files.
    Made(&'a dyn LabelledSet),
}

/// Labels with more values than this outside the table are probably no labels.
const MANY_VALUES: usize = 40;

/// Values outside the table that are listed one by one.
const LISTED_VALUES: usize = 12;

/// The size that sample pictures fit into.
const PICTURE: (u32, u32) = (480, 480);

/// What was seen of one sample.
#[derive(Default)]
struct Seen {
    size: Option<(u32, u32)>,
    /// Pixels by train id, ignored ones last; empty without a readable label.
    counts: Vec<u64>,
    unlisted: BTreeMap<String, u64>,
    /// What cannot be used, with its file and why.
    problems: Vec<String>,
}

/// Values outside a label map: pixels, files, and the first file.
#[derive(Default)]
struct Outside {
    pixels: u64,
    files: usize,
    first: PathBuf,
}

impl Subject<'_> {
    /// Number of images.
    pub fn len(&self) -> usize {
        match self {
            Self::Files(files) => files.count(),
            Self::Made(set) => set.len(),
        }
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn image(&self, index: usize) -> Result<RgbImage> {
        match self {
            Self::Files(files) => read_image(&files.samples()[index].image),
            Self::Made(set) => Ok(set.image(index)?.image),
        }
    }

    /// The image, and the label if the sample has one.
    fn pair(&self, index: usize) -> Result<(String, RgbImage, Option<GrayImage>)> {
        match self {
            Self::Files(files) => {
                let sample = &files.samples()[index];
                let label = sample.label.as_ref();
                let label = label
                    .map(|label| label.map.inspect(&label.path))
                    .transpose()?;
                let image = read_image(&sample.image)?;
                Ok((sample.name.clone(), image, label.map(|seen| seen.label)))
            }
            Self::Made(set) => {
                let sample = set.get(index)?;
                Ok((sample.name, sample.image, Some(sample.label)))
            }
        }
    }

    fn look(&self, index: usize, classes: usize) -> Seen {
        let set = match self {
            Self::Files(files) => return look_at_files(&files.samples()[index], classes),
            Self::Made(set) => set,
        };
        let mut seen = Seen::default();
        match set.get(index) {
            Ok(sample) => {
                seen.size = Some(sample.image.dimensions());
                seen.count(&sample.label, classes, &sample.name);
            }
            Err(error) => seen.problems.push(format!("image {index}: {error}")),
        }
        seen
    }
}

impl Seen {
    /// Counts pixels by train id; `name` is for the message about ids that are no class.
    fn count(&mut self, label: &GrayImage, classes: usize, name: &str) {
        let mut counts = vec![0; usize::from(IGNORE) + 1];
        for id in label.as_raw() {
            counts[usize::from(*id)] += 1;
        }
        if let Some(id) = (classes..usize::from(IGNORE)).find(|id| counts[*id] > 0) {
            let message = format!(
                "{name}: the label map gives train id {id}, but there are {classes} classes"
            );
            self.problems.push(message);
        }
        let ignored = counts[usize::from(IGNORE)];
        counts.truncate(classes);
        counts.push(ignored);
        self.counts = counts;
    }
}

/// Reads every image and label of a set called `key` with `threads` threads, adds to `report` what
/// was found and a table of pixels by class, and returns the class statistics if every label could
/// be used. `looked` is called after every sample.
///
/// Unreadable files, sizes that differ and ids that the label map refuses are errors. One class with
/// more than 99 % of the pixels, classes without any and labels without a class are warnings; ids
/// that the map ignores are noted.
///
/// # Errors
///
/// [`Invalid`](crate::Error::Invalid) if a worker panicked.
pub fn check_set(
    report: &mut Report,
    key: &str,
    set: Subject<'_>,
    classes: &Classes,
    threads: usize,
    looked: &(dyn Fn() + Sync),
) -> Result<Option<ClassStats>> {
    let seen = map_indices(set.len(), threads, |index| {
        let seen = set.look(index, classes.len());
        looked();
        Ok(seen)
    })?;
    let problems: usize = seen.iter().map(|seen| seen.problems.len()).sum();
    let mut outside = BTreeMap::<String, Outside>::new();
    let mut empty = Vec::new();
    for (index, seen) in seen.iter().enumerate() {
        for message in &seen.problems {
            report.find(Severity::Error, None, format!("{key}: {message}"));
        }
        let label = label_path(set, index);
        for (value, pixels) in &seen.unlisted {
            let known = outside.entry(value.clone()).or_default();
            if known.files == 0 {
                known.first = label.clone();
            }
            known.files += 1;
            known.pixels += pixels;
        }
        let all: u64 = seen.counts.iter().sum();
        if all > 0 && seen.counts.last() == Some(&all) && seen.unlisted.is_empty() {
            empty.push(label);
        }
    }
    if let Some(first) = empty.first() {
        let message = format!(
            "{key}: {} of {} labels have no pixel of any class, such as this one",
            empty.len(),
            set.len()
        );
        report.find(Severity::Warning, Some(first.clone()), message);
    }
    let refused = judge_outside(report, key, set, &outside);
    let labelled = seen.iter().any(|seen| !seen.counts.is_empty());
    report.tables.push(overview(key, set, &seen, problems));
    if labelled {
        judge_classes(report, key, classes, &seen, &outside);
    }
    if !labelled || refused || problems > 0 {
        return Ok(None);
    }
    let images = seen.into_iter().enumerate().map(|(index, mut seen)| {
        seen.counts.truncate(classes.len());
        (name(set, index), seen.counts)
    });
    ClassStats::from_counts(classes.len(), images).map(Some)
}

/// Warns if some images are both in the source and in the target.
pub fn check_domains(report: &mut Report, source: Subject<'_>, target: Subject<'_>) {
    let found = compare_domains(
        (source.len(), &|index| source.image(index)),
        (target.len(), &|index| target.image(index)),
    );
    report.findings.extend(found.findings);
}

/// Adds up to `count` samples, spread evenly over the set: labelled ones with their classes laid
/// over them. Unreadable ones are passed over.
pub fn add_pictures(
    report: &mut Report,
    key: &str,
    set: Subject<'_>,
    classes: &Classes,
    count: usize,
) {
    let taken = count.min(set.len());
    for place in 0..taken {
        let Ok((name, image, label)) = set.pair(place * set.len() / taken) else {
            continue;
        };
        let (width, height) = keep_ratio(image.dimensions(), PICTURE);
        let small = resize_image(&image, width, height);
        let shown = match label {
            Some(label) if label.dimensions() == image.dimensions() => overlay(
                &small,
                &resize_nearest(&label, width, height),
                classes,
                0.55,
            ),
            _ => Ok(small),
        };
        if let Ok(image) = shown {
            let caption = format!("{key}: {name}");
            report.pictures.push(Picture { caption, image });
        }
    }
}

fn look_at_files(sample: &FileSample, classes: usize) -> Seen {
    let mut seen = Seen::default();
    // Errors of files name them.
    match read_image(&sample.image) {
        Ok(image) => seen.size = Some(image.dimensions()),
        Err(error) => seen.problems.push(error.to_string()),
    }
    let Some(label) = &sample.label else {
        return seen;
    };
    let inspected = match label.map.inspect(&label.path) {
        Ok(inspected) => inspected,
        Err(error) => {
            seen.problems.push(error.to_string());
            return seen;
        }
    };
    let own = inspected.label.dimensions();
    if let Some(size) = seen.size.filter(|size| *size != own) {
        seen.problems.push(format!(
            "{} is {} x {}, its image {} is {} x {}; pair the right files, or resize the label by \
             nearest neighbour",
            label.path.display(),
            own.0,
            own.1,
            sample.image.display(),
            size.0,
            size.1
        ));
    }
    seen.count(&inspected.label, classes, &label.path.display().to_string());
    seen.unlisted = inspected.unlisted;
    seen
}

fn name(set: Subject<'_>, index: usize) -> String {
    match set {
        Subject::Files(files) => files.samples()[index].name.clone(),
        Subject::Made(set) => set.label(index).map_or(index.to_string(), |(name, _)| name),
    }
}

fn label_path(set: Subject<'_>, index: usize) -> PathBuf {
    let path = match set {
        Subject::Files(files) => files.samples()[index]
            .label
            .as_ref()
            .map(|l| l.path.clone()),
        Subject::Made(_) => None,
    };
    path.unwrap_or_else(|| PathBuf::from(name(set, index)))
}

/// Reports values outside the label maps; whether any is refused.
fn judge_outside(
    report: &mut Report,
    key: &str,
    set: Subject<'_>,
    outside: &BTreeMap<String, Outside>,
) -> bool {
    let Subject::Files(files) = set else {
        return false;
    };
    let maps = files
        .samples()
        .iter()
        .filter_map(|sample| sample.label.as_ref());
    let refuses = maps
        .clone()
        .any(|label| label.map.unlisted() == Unlisted::Refuse);
    if outside.is_empty() {
        return false;
    }
    if !refuses {
        let values: Vec<&str> = outside.keys().map(String::as_str).collect();
        let pixels: u64 = outside.values().map(|known| known.pixels).sum();
        let message = format!(
            "{key}: {} pixels have values that are not in the label map and are ignored: {}",
            thousands(pixels),
            shorten(&values)
        );
        report.find(Severity::Note, None, message);
        return false;
    }
    if outside.len() > MANY_VALUES {
        let first = outside.values().next().map(|known| known.first.clone());
        let message = format!(
            "{key}: labels have {} values that are not in the label map, which looks like a \
             photograph or like instance ids in place of classes; check the label folder and \
             suffix",
            outside.len()
        );
        report.find(Severity::Error, first, message);
        return true;
    }
    for (value, known) in outside {
        let message = format!(
            "{key}: value {value} is not in the label map ({} pixels in {} files, first in this \
             one); add it to label_map with its class or as \"ignore\"{}",
            thousands(known.pixels),
            known.files,
            if value == "255" && outside.len() == 1 {
                "; masks of 0 and 255 have label_map = \"binary\""
            } else {
                ""
            }
        );
        report.find(Severity::Error, Some(known.first.clone()), message);
    }
    true
}

fn shorten(values: &[&str]) -> String {
    let more = values.len().saturating_sub(LISTED_VALUES);
    let listed = values[..values.len() - more].join(", ");
    if more > 0 {
        format!("{listed} and {more} more")
    } else {
        listed
    }
}

fn overview(key: &str, set: Subject<'_>, seen: &[Seen], problems: usize) -> Table {
    let mut sizes: BTreeMap<(u32, u32), usize> = BTreeMap::new();
    for size in seen.iter().filter_map(|seen| seen.size) {
        *sizes.entry(size).or_insert(0) += 1;
    }
    let shown: Vec<String> = sizes
        .iter()
        .map(|((w, h), n)| format!("{w} x {h} ({n})"))
        .collect();
    let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
    let labels = seen.iter().filter(|seen| !seen.counts.is_empty()).count();
    let row = |what: &str, value: String| vec![what.to_owned(), value];
    Table {
        title: key.to_owned(),
        head: row("what", "value".to_owned()),
        rows: vec![
            row("images", thousands(set.len() as u64)),
            row("readable labels", thousands(labels as u64)),
            row("unusable files", thousands(problems as u64)),
            row("sizes (images)", shorten(&shown)),
        ],
        colours: Vec::new(),
    }
}

fn judge_classes(
    report: &mut Report,
    key: &str,
    classes: &Classes,
    seen: &[Seen],
    outside: &BTreeMap<String, Outside>,
) {
    let mut pixels = vec![0u64; classes.len() + 1];
    let mut images = pixels.clone();
    for counts in seen.iter().map(|seen| &seen.counts) {
        for (class, count) in counts.iter().enumerate() {
            pixels[class] += count;
            images[class] += u64::from(*count > 0);
        }
    }
    let all: u64 = pixels.iter().sum();
    let known: u64 = pixels[..classes.len()].iter().sum();
    let percent = |count: u64, of: u64| match of {
        0 => "-".to_owned(),
        of => format!("{:.3}", 100.0 * count as f64 / of as f64),
    };
    let mut rows = Vec::new();
    for (class, name) in classes.names().iter().enumerate() {
        let count = pixels[class];
        let cells = [
            thousands(count),
            percent(count, known),
            thousands(images[class]),
        ];
        rows.push([name.clone()].into_iter().chain(cells).collect());
        if count == 0 {
            let message = format!("{key}: class {name:?} has no pixel");
            report.find(Severity::Warning, None, message);
        } else if count as f64 > 0.99 * known as f64 {
            let message = format!(
                "{key}: class {name:?} has {} % of all pixels; check the label map",
                percent(count, known)
            );
            report.find(Severity::Warning, None, message);
        }
    }
    let ignored = pixels[classes.len()];
    let cells = [thousands(ignored), percent(ignored, all), "-".to_owned()];
    rows.push(["(ignored)".to_owned()].into_iter().chain(cells).collect());
    if known == 0 {
        let message = format!("{key}: every pixel is ignored; check the label map");
        report.find(Severity::Error, None, message);
    } else if classes.len() == 2 && pixels[1] == 0 && ignored > 0 && outside.is_empty() {
        let message = format!(
            "{key}: labels hold class 0 and ignored pixels only; if 255 marks {:?}, write \
             label_map = \"binary\"",
            classes.names()[1]
        );
        report.find(Severity::Warning, None, message);
    }
    report.tables.push(Table {
        title: format!("{key}: pixels"),
        head: ["class", "pixels", "%", "images"]
            .map(str::to_owned)
            .to_vec(),
        rows,
        colours: classes.palette().to_vec(),
    });
}
