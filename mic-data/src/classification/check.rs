//! Reading whole sets to find what is wrong with them.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use image::RgbImage;

use super::sample::ClassifiedSet;
use crate::Result;
use crate::check::{Picture, Report, Table, thousands};
use crate::datasets::FileSet;
use crate::files::{StoredColours, read_image, stored_colours};
use crate::findings::{Severity, digest};
use crate::parallel::map_indices;
use crate::transform::{keep_ratio, resize_image};

/// Side in pixels below which an image is called suspiciously small.
const SMALL: u32 = 8;

/// Sizes that are listed one by one.
const LISTED_SIZES: usize = 6;

/// The size that sample pictures fit into.
const PICTURE: (u32, u32) = (320, 320);

/// A set to look at.
#[derive(Clone, Copy)]
pub enum ClassSubject<'a> {
    /// Images with classes.
    Classified(&'a dyn ClassifiedSet),
    /// Images whose classes are not looked at: those of a target.
    WithoutClasses(&'a dyn ClassifiedSet),
    /// Image files without classes.
    Files(&'a FileSet),
}

/// What was seen of a set.
#[derive(Clone, Debug)]
pub struct LookedAt {
    /// Its name, such as `data.source`.
    pub key: String,
    /// Number of images.
    pub images: usize,
    /// Images of each class; `None` where classes are not looked at.
    pub counts: Option<Vec<u64>>,
    /// A number for the pixels of each image that could be read, with its place.
    digests: HashMap<u64, usize>,
    /// Images that are stored in grey, of those whose header says.
    grey: (usize, usize),
}

/// What was seen of one image.
struct Seen {
    looked: std::result::Result<((u32, u32), u64), String>,
    colours: Option<StoredColours>,
}

impl LookedAt {
    /// A set that is counted without reading its images.
    pub fn new(key: &str, images: usize, counts: Option<Vec<u64>>) -> Self {
        Self {
            key: key.to_owned(),
            images,
            counts,
            digests: HashMap::new(),
            grey: (0, 0),
        }
    }
}

impl ClassSubject<'_> {
    /// Number of images.
    pub fn len(&self) -> usize {
        match self {
            Self::Classified(set) | Self::WithoutClasses(set) => set.len(),
            Self::Files(files) => files.count(),
        }
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Name of image `index`.
    pub fn name(&self, index: usize) -> String {
        match self {
            Self::Classified(set) | Self::WithoutClasses(set) => set.name(index),
            Self::Files(files) => files.samples()[index].name.clone(),
        }
    }

    fn image(&self, index: usize) -> Result<RgbImage> {
        match self {
            Self::Classified(set) | Self::WithoutClasses(set) => set.pixels(index),
            Self::Files(files) => read_image(&files.samples()[index].image),
        }
    }

    fn file(&self, index: usize) -> Option<PathBuf> {
        match self {
            Self::Classified(set) | Self::WithoutClasses(set) => set.file(index),
            Self::Files(files) => Some(files.samples()[index].image.clone()),
        }
    }

    fn classes(&self) -> Option<&dyn ClassifiedSet> {
        match self {
            Self::Classified(set) => Some(*set),
            Self::WithoutClasses(_) | Self::Files(_) => None,
        }
    }

    fn look(&self, index: usize) -> Seen {
        let looked = self.image(index);
        Seen {
            looked: looked
                .map(|image| (image.dimensions(), digest(&image)))
                .map_err(|error| error.to_string()),
            colours: self.file(index).and_then(|path| stored_colours(&path)),
        }
    }
}

/// Reads every image of a set called `key` with `threads` threads and adds to `report` what was found
/// and a table of sizes and colours. `looked` is called after every image.
///
/// Unreadable images and class ids out of range are errors; classes without images, one class with
/// more than 99 %, tiny images, images that are listed with two classes and equal images of
/// different classes are warnings; equal images, grey ones, transparent ones and those of more than
/// eight bits a channel are noted.
///
/// # Errors
///
/// [`Invalid`](crate::Error::Invalid) if a worker panicked.
pub fn check_class_set(
    report: &mut Report,
    key: &str,
    set: ClassSubject<'_>,
    threads: usize,
    looked: &(dyn Fn() + Sync),
) -> Result<LookedAt> {
    let seen = map_indices(set.len(), threads, |index| {
        let seen = set.look(index);
        looked();
        Ok(seen)
    })?;
    for (index, seen) in seen.iter().enumerate() {
        let file = || Some(PathBuf::from(set.name(index)));
        match &seen.looked {
            Err(message) => report.find(Severity::Error, file(), format!("{key}: {message}")),
            Ok(((width, height), _)) if (*width).min(*height) < SMALL => {
                let message = format!("{key}: only {width} x {height} pixels");
                report.find(Severity::Warning, file(), message);
            }
            Ok(_) => {}
        }
    }
    let counts = set.classes().map(|set| judge_classes(report, key, set));
    let digests = judge_equal(report, key, set, &seen);
    let stored = judge_colours(report, key, &seen);
    report.tables.push(overview(key, set, &seen, &stored));
    let number = |kind| stored.get(&kind).copied().unwrap_or(0);
    Ok(LookedAt {
        key: key.to_owned(),
        images: set.len(),
        counts,
        digests,
        grey: (number(StoredColours::Grey), stored.values().sum()),
    })
}

/// Counts classes; those without images, with nearly all, and images listed with two.
fn judge_classes(report: &mut Report, key: &str, set: &dyn ClassifiedSet) -> Vec<u64> {
    let names = set.class_names();
    let mut counts = vec![0u64; names.len()];
    let mut first_class = HashMap::new();
    for index in 0..set.len() {
        let (name, class) = (set.name(index), set.class(index));
        let file = Some(PathBuf::from(&name));
        let first = *first_class.entry(name).or_insert(class);
        if first != class {
            let message = format!("{key}: listed with the classes {first} and {class}");
            report.find(Severity::Warning, file.clone(), message);
        }
        match counts.get_mut(class as usize) {
            Some(count) => *count += 1,
            None => {
                let known = names.len();
                let message = format!("{key}: class {class}, but there are {known} classes");
                report.find(Severity::Error, file, message);
            }
        }
    }
    let total: u64 = counts.iter().sum();
    for (name, count) in names.iter().zip(&counts) {
        if *count == 0 {
            let message = format!("{key}: class {name:?} has no image");
            report.find(Severity::Warning, None, message);
        } else if names.len() > 1 && *count as f64 > 0.99 * total as f64 {
            let message = format!(
                "{key}: class {name:?} has {count} of {total} images, more than 99 %; check the \
                 class ids"
            );
            report.find(Severity::Warning, None, message);
        }
    }
    counts
}

/// Finds equal images within a set; the first place of each.
fn judge_equal(
    report: &mut Report,
    key: &str,
    set: ClassSubject<'_>,
    seen: &[Seen],
) -> HashMap<u64, usize> {
    let mut first = HashMap::new();
    let mut again = Vec::new();
    for (index, seen) in seen.iter().enumerate() {
        let Ok((_, digest)) = seen.looked else {
            continue;
        };
        let known = *first.entry(digest).or_insert(index);
        if known != index {
            again.push((known, index));
        }
    }
    let classes = set.classes();
    let (torn, equal): (Vec<_>, Vec<_>) = again.into_iter().partition(|(a, b)| {
        classes.is_some_and(|set| set.class(*a) != set.class(*b) && set.name(*a) != set.name(*b))
    });
    for (severity, pairs, what) in [
        (
            Severity::Warning,
            torn,
            "images are equal to one of another class",
        ),
        (
            Severity::Note,
            equal,
            "images are equal to another one of the set",
        ),
    ] {
        if let Some((a, b)) = pairs.first() {
            let message = format!(
                "{key}: {} {what}, such as {} and {}",
                thousands(pairs.len() as u64),
                set.name(*a),
                set.name(*b)
            );
            report.find(severity, None, message);
        }
    }
    first
}

/// Counts how images are stored, and notes what reading changes.
fn judge_colours(report: &mut Report, key: &str, seen: &[Seen]) -> BTreeMap<StoredColours, usize> {
    let mut stored = BTreeMap::new();
    for colours in seen.iter().filter_map(|seen| seen.colours) {
        *stored.entry(colours).or_insert(0) += 1;
    }
    for (kind, what) in [
        (
            StoredColours::Grey,
            "grey images, which become RGB with three equal channels",
        ),
        (
            StoredColours::Alpha,
            "images with transparency, which is dropped: what is stored below it shows",
        ),
        (
            StoredColours::Deep,
            "images of 16 bits a channel, of which the high eight are used",
        ),
    ] {
        if let Some(count) = stored.get(&kind) {
            let message = format!("{key}: {} {what}", thousands(*count as u64));
            report.find(Severity::Note, None, message);
        }
    }
    stored
}

fn overview(
    key: &str,
    set: ClassSubject<'_>,
    seen: &[Seen],
    stored: &BTreeMap<StoredColours, usize>,
) -> Table {
    let mut sizes: BTreeMap<(u32, u32), usize> = BTreeMap::new();
    for (size, _) in seen.iter().filter_map(|seen| seen.looked.as_ref().ok()) {
        *sizes.entry(*size).or_insert(0) += 1;
    }
    let shown: Vec<String> = sizes
        .iter()
        .take(LISTED_SIZES)
        .map(|((w, h), n)| format!("{w} x {h} ({n})"))
        .collect();
    let mut shown = shown.join(", ");
    if let Some(more @ 1..) = sizes.len().checked_sub(LISTED_SIZES) {
        shown += &format!(" and {more} more");
    }
    let unusable = seen.iter().filter(|seen| seen.looked.is_err()).count();
    let number = |kind| thousands(stored.get(&kind).copied().unwrap_or(0) as u64);
    let row = |what: &str, value: String| vec![what.to_owned(), value];
    Table {
        title: key.to_owned(),
        head: row("what", "value".to_owned()),
        rows: vec![
            row("images", thousands(set.len() as u64)),
            row("unusable files", thousands(unusable as u64)),
            row("grey files", number(StoredColours::Grey)),
            row("files with transparency", number(StoredColours::Alpha)),
            row("sizes (images)", shown),
        ],
        colours: Vec::new(),
    }
}

/// Images by class, a column a set whose classes are looked at.
pub fn class_table(names: &[String], sets: &[&LookedAt]) -> Table {
    let counted: Vec<(&str, &[u64])> = sets
        .iter()
        .filter_map(|set| Some((set.key.as_str(), set.counts.as_deref()?)))
        .collect();
    let mut head = vec!["class".to_owned()];
    head.extend(
        counted
            .iter()
            .flat_map(|(key, _)| [(*key).to_owned(), "%".to_owned()]),
    );
    let rows = names.iter().enumerate().map(|(class, name)| {
        let cells = counted.iter().flat_map(|(_, counts)| {
            let all: u64 = counts.iter().sum();
            let count = counts.get(class).copied().unwrap_or(0);
            let share = match all {
                0 => "-".to_owned(),
                all => format!("{:.2}", 100.0 * count as f64 / all as f64),
            };
            [thousands(count), share]
        });
        [name.clone()].into_iter().chain(cells).collect()
    });
    Table {
        title: "images by class".to_owned(),
        head,
        rows: rows.collect(),
        colours: Vec::new(),
    }
}

/// Warns of images that two sets share: from a target that is the source itself there is nothing to
/// learn, and test images among the source's flatter the accuracy. Notes if one set is grey and the
/// other is not.
pub fn check_shared(
    report: &mut Report,
    (first, first_set): (&LookedAt, ClassSubject<'_>),
    (second, second_set): (&LookedAt, ClassSubject<'_>),
) {
    let mut shared: Vec<(usize, usize)> = first
        .digests
        .iter()
        .filter_map(|(digest, place)| Some((*place, *second.digests.get(digest)?)))
        .collect();
    shared.sort_unstable();
    let (a, b) = (&first.key, &second.key);
    if let Some((here, there)) = shared.first() {
        let message = format!(
            "{} of the {} different images of {a} are also among those of {b}, such as {} and {}; \
             check that the two are different",
            thousands(shared.len() as u64),
            thousands(first.digests.len() as u64),
            first_set.name(*here),
            second_set.name(*there)
        );
        report.find(Severity::Warning, None, message);
    }
    let all_grey = |set: &LookedAt| set.grey.1 > 0 && set.grey.0 == set.grey.1;
    let none_grey = |set: &LookedAt| set.grey.1 > 0 && set.grey.0 == 0;
    if (all_grey(first) && none_grey(second)) || (none_grey(first) && all_grey(second)) {
        let (grey, coloured) = if all_grey(first) { (a, b) } else { (b, a) };
        let message = format!("{grey} is grey and {coloured} is coloured");
        report.find(Severity::Note, None, message);
    }
}

/// Adds up to `count` samples, spread evenly over the set, with their classes where these are looked
/// at. Unreadable ones are passed over.
pub fn add_class_pictures(report: &mut Report, key: &str, set: ClassSubject<'_>, count: usize) {
    let taken = count.min(set.len());
    for place in 0..taken {
        let index = place * set.len() / taken;
        let Ok(image) = set.image(index) else {
            continue;
        };
        let (width, height) = keep_ratio(image.dimensions(), PICTURE);
        let class = set.classes().and_then(|set| {
            let name = set.class_names().get(set.class(index) as usize);
            Some(format!(" ({})", name?))
        });
        report.pictures.push(Picture {
            caption: format!("{key}: {}{}", set.name(index), class.unwrap_or_default()),
            image: resize_image(&image, width.max(1), height.max(1)),
        });
    }
}
