//! Where the images come from and how they become batches.

use std::path::PathBuf;

use super::check::{at_least, one_of, positive, refuse, required, within};
use super::raw::{RawData, RawSet};
use crate::Result;

/// The images of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct DataConfig {
    /// Labelled images of the source domain.
    pub source: SetConfig,
    /// Images of the target domain.
    pub target: SetConfig,
    /// Labelled images that evaluation reports on.
    pub test: Option<SetConfig>,
    /// Side of the square images that the network sees, at least 1.
    pub size: usize,
    /// Side before the crop, at least `size`.
    pub resize: usize,
    /// From `resize` to `size` in training.
    pub crop: TrainTransform,
    /// Random horizontal flip in training.
    pub flip: bool,
    /// Channel means, 0 to 255.
    pub mean: [f64; 3],
    /// Channel standard deviations, above 0.
    pub std: [f64; 3],
    /// Threads that prepare batches; 0 prepares them in the training thread.
    pub loader_threads: usize,
}

/// How a training image gets its size. In evaluation it is scaled to `resize` and its centre taken,
/// or scaled to `size` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrainTransform {
    /// Scaled to `resize`; a random part of random size and shape scaled to `size`.
    RandomResizedCrop,
    /// Scaled to `resize`; the centre.
    CenterCrop,
    /// Scaled to `resize`; a random part of `size`.
    RandomCrop,
    /// Scaled to `size`.
    Resize,
}

/// One set of images.
#[derive(Clone, Debug, PartialEq)]
pub struct SetConfig {
    /// The table it stands in, such as `data.source`; for messages.
    pub key: String,
    /// Where its images are.
    pub kind: SetKind,
}

/// Where the images of a set are.
#[derive(Clone, Debug, PartialEq)]
pub enum SetKind {
    /// A data set of the paper.
    Published {
        /// Which one.
        benchmark: Benchmark,
        /// Its folder.
        root: PathBuf,
        /// Short names of its domains, at least one.
        domains: Vec<String>,
        /// Which part.
        split: Split,
    },
    /// One folder a class.
    Folder {
        /// The folder of class folders.
        root: PathBuf,
        /// Classes in the order of their ids; empty for the folders in alphabetical order.
        class_names: Vec<String>,
    },
    /// A text file with a path and a class id a line.
    List {
        /// The file.
        list: PathBuf,
        /// Folder of relative paths.
        root: PathBuf,
        /// Classes in the order of their ids, at least two.
        class_names: Vec<String>,
    },
    /// MNIST's format.
    Idx {
        /// The file of images.
        images: PathBuf,
        /// The file of labels.
        labels: PathBuf,
    },
}

/// A data set of the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Benchmark {
    /// VisDA-2017, 12 classes.
    VisDa2017,
    /// Office-Home, 65 classes.
    OfficeHome,
    /// DomainNet, cleaned, 345 classes.
    DomainNet,
}

/// Part of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Training images.
    Train,
    /// Test images.
    Test,
}

#[derive(Clone, Copy)]
enum Kind {
    Published(Benchmark, &'static [&'static str]),
    Folder,
    List,
    Idx,
}

const KINDS: [(&str, Kind); 6] = [
    (
        "visda2017",
        Kind::Published(Benchmark::VisDa2017, &["Synthetic", "Real"]),
    ),
    (
        "office_home",
        Kind::Published(Benchmark::OfficeHome, &["Ar", "Cl", "Pr", "Rw"]),
    ),
    (
        "domainnet",
        Kind::Published(Benchmark::DomainNet, &["c", "i", "p", "q", "r", "s"]),
    ),
    ("folder", Kind::Folder),
    ("list", Kind::List),
    ("idx", Kind::Idx),
];

const CROPS: [(&str, TrainTransform); 4] = [
    ("random_resized_crop", TrainTransform::RandomResizedCrop),
    ("center_crop", TrainTransform::CenterCrop),
    ("random_crop", TrainTransform::RandomCrop),
    ("resize", TrainTransform::Resize),
];

const SPLITS: [(&str, Split); 2] = [("train", Split::Train), ("test", Split::Test)];

impl DataConfig {
    pub(super) fn check(raw: &RawData) -> Result<Self> {
        let size = at_least("data.size", raw.size, 1)?;
        let crop = one_of("data.crop", &raw.crop, &CROPS)?;
        if crop != TrainTransform::Resize && raw.resize < size {
            let expected = format!(
                "at least data.size = {size}, as images are cropped from it; or data.crop = \
                 \"resize\""
            );
            return refuse("data.resize", raw.resize, expected);
        }
        for mean in raw.mean {
            within("data.mean", mean, 0.0..=255.0, "numbers from 0 to 255")?;
        }
        for std in raw.std {
            positive("data.std", std)?;
        }
        let test = raw.test.as_ref();
        Ok(Self {
            source: SetConfig::check("data.source", &raw.source)?,
            target: SetConfig::check("data.target", &raw.target)?,
            test: test
                .map(|set| SetConfig::check("data.test", set))
                .transpose()?,
            size,
            resize: raw.resize,
            crop,
            flip: raw.flip,
            mean: raw.mean,
            std: raw.std,
            loader_threads: raw.loader_threads,
        })
    }
}

impl SetConfig {
    fn check(key: &str, raw: &RawSet) -> Result<Self> {
        let at = |name: &str| format!("{key}.{name}");
        let path = |name: &str, value: &Option<String>, why: &str| {
            required(&at(name), value.as_ref(), why).map(PathBuf::from)
        };
        if raw.kind.is_empty() {
            let why = "say where the images are, one of \"visda2017\", \"office_home\", \
                       \"domainnet\", \"folder\", \"list\", \"idx\"";
            required(&at("kind"), None::<&()>, why)?;
        }
        let kind = match one_of(&at("kind"), &raw.kind, &KINDS)? {
            Kind::Published(benchmark, names) => SetKind::Published {
                benchmark,
                root: path("root", &raw.root, "the folder of the data set")?,
                domains: domains(&at("domains"), &raw.domains, names)?,
                split: one_of(
                    &at("split"),
                    raw.split.as_deref().unwrap_or("train"),
                    &SPLITS,
                )?,
            },
            Kind::Folder => SetKind::Folder {
                root: path("root", &raw.root, "the folder with one folder a class")?,
                class_names: raw.class_names.clone(),
            },
            Kind::List => SetKind::List {
                list: path(
                    "list",
                    &raw.list,
                    "the file with a path and a class id a line",
                )?,
                root: PathBuf::from(raw.root.as_deref().unwrap_or(".")),
                class_names: names(&at("class_names"), &raw.class_names)?,
            },
            Kind::Idx => SetKind::Idx {
                images: path("images", &raw.images, "the IDX file of the images")?,
                labels: path("labels", &raw.labels, "the IDX file of their labels")?,
            },
        };
        Ok(Self {
            key: key.to_owned(),
            kind,
        })
    }
}

fn domains(key: &str, found: &[String], known: &[&str]) -> Result<Vec<String>> {
    if found.is_empty() {
        let why = format!("name one of {known:?}, or several");
        required(key, None::<&()>, &why)?;
    }
    let choices: Vec<(&str, ())> = known.iter().map(|name| (*name, ())).collect();
    for name in found {
        one_of(key, name, &choices)?;
    }
    Ok(found.to_vec())
}

fn names(key: &str, names: &[String]) -> Result<Vec<String>> {
    if names.len() < 2 {
        let expected = "the names of at least two classes, in the order of their ids";
        return refuse(key, format!("{names:?}"), expected);
    }
    Ok(names.to_vec())
}
