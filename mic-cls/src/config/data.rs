//! Where the images come from and how they become batches.

use std::path::PathBuf;

use mic_data::LoadingOptions;
use mic_data::classification::{Digits, ImageTransform, Published, Resizing, SourceConfig, Split};

use super::raw::{RawData, RawSet};
use crate::{Error, Result};
use mic_run::config::check::{self, at_least, one_of, positive, refuse, required, within};

/// The images of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct DataConfig {
    /// Labelled images of the source domain.
    pub source: SetConfig,
    /// Images of the target domain, where the method has use for them.
    pub target: Option<SetConfig>,
    /// Labelled images that evaluation reports on.
    pub test: Option<SetConfig>,
    /// Names of the classes, once they are known.
    pub classes: Vec<String>,
    /// Side of the square images that the network sees, at least 1.
    pub size: usize,
    /// From files to network inputs.
    pub transform: ImageTransform,
    /// How images are read and batches are made.
    pub loading: LoadingOptions,
}

/// One set of images.
#[derive(Clone, Debug, PartialEq)]
pub struct SetConfig {
    /// The table it stands in, such as `data.source`; for messages.
    pub key: String,
    /// Where its images are.
    pub images: SourceConfig,
}

#[derive(Clone, Copy)]
enum Kind {
    Published(Published),
    Digits,
    Folder,
    List,
    Idx,
    Images,
}

const KINDS: [(&str, Kind); 8] = [
    ("visda2017", Kind::Published(Published::VisDa2017)),
    ("office_home", Kind::Published(Published::OfficeHome)),
    ("domainnet", Kind::Published(Published::DomainNet)),
    ("digits", Kind::Digits),
    ("folder", Kind::Folder),
    ("list", Kind::List),
    ("idx", Kind::Idx),
    ("images", Kind::Images),
];

const CROPS: [(&str, Resizing); 4] = [
    ("random_resized_crop", Resizing::Default),
    ("center_crop", Resizing::CentreCrop),
    ("random_crop", Resizing::RandomCrop),
    ("resize", Resizing::Squash),
];

const SPLITS: [(&str, Split); 2] = [("train", Split::Train), ("test", Split::Test)];

impl DataConfig {
    pub(super) fn check(raw: &RawData, needs_target: bool) -> Result<Self> {
        let set = |key: &str, set: &Option<RawSet>| {
            let set = set.as_ref();
            set.map(|set| SetConfig::check(key, set)).transpose()
        };
        let source = SetConfig::check("data.source", &raw.source)?;
        let target = check::target(needs_target, set("data.target", &raw.target)?)?;
        let test = set("data.test", &raw.test)?;
        for set in [Some(&source), test.as_ref()].into_iter().flatten() {
            if matches!(set.images, SourceConfig::Images { .. }) {
                let expected = "a kind with classes; \"images\" is for data.target";
                return refuse(&format!("{}.kind", set.key), "\"images\"", expected);
            }
        }
        Ok(Self {
            source,
            target: target.filter(|_| needs_target),
            test,
            classes: raw.classes.clone(),
            size: at_least("data.size", raw.size, 1)?,
            transform: transform(raw)?,
            loading: loading(&raw.loading)?,
        })
    }
}

fn loading(options: &LoadingOptions) -> Result<LoadingOptions> {
    let checked = options.check();
    checked.map_err(|error| Error::Config(error.to_string()))?;
    Ok(options.clone())
}

fn transform(raw: &RawData) -> Result<ImageTransform> {
    let train = one_of("data.crop", &raw.crop, &CROPS)?;
    if train != Resizing::Squash && raw.resize < raw.size {
        let expected = format!(
            "at least data.size = {}, as images are cropped from it; or data.crop = \"resize\"",
            raw.size
        );
        return refuse("data.resize", raw.resize, expected);
    }
    for mean in raw.mean {
        within("data.mean", mean, 0.0..=255.0, "numbers from 0 to 255")?;
    }
    for std in raw.std {
        positive("data.std", std)?;
    }
    let transform = ImageTransform {
        train,
        evaluation: match train {
            Resizing::Squash => Resizing::Squash,
            _ => Resizing::Default,
        },
        resize: raw.resize.try_into().unwrap_or(u32::MAX),
        size: raw.size.try_into().unwrap_or(u32::MAX),
        flip: if raw.flip { 0.5 } else { 0.0 },
        mean: raw.mean.map(|mean| (mean / 255.0) as f32),
        std: raw.std.map(|std| (std / 255.0) as f32),
    };
    let checked = transform.check();
    checked.map_err(|error| Error::Config(format!("data: {error}")))?;
    Ok(transform)
}

impl SetConfig {
    fn check(key: &str, raw: &RawSet) -> Result<Self> {
        let at = |name: &str| format!("{key}.{name}");
        let path = |name: &str, value: &Option<String>, why: &str| {
            required(&at(name), value.as_ref(), why).map(PathBuf::from)
        };
        if raw.kind.is_empty() {
            let names = KINDS.map(|(name, _)| format!("{name:?}")).join(", ");
            let why = format!("say where the images are, one of {names}");
            required(&at("kind"), None::<&()>, &why)?;
        }
        let names = (!raw.class_names.is_empty()).then(|| raw.class_names.clone());
        let images = match one_of(&at("kind"), &raw.kind, &KINDS)? {
            Kind::Published(set) => SourceConfig::Published {
                set,
                root: path("root", &raw.root, "the folder of the data set")?,
                domains: domains(&at("domains"), &raw.domains, &set.domains())?,
                split: split(&at("split"), raw)?,
            },
            Kind::Digits => {
                let why = "\"mnist\" or \"optdigits\"";
                let set = required(&at("set"), raw.set.as_ref(), why)?;
                SourceConfig::Digits {
                    set: one_of(&at("set"), set, &Digits::ALL)?,
                    split: split(&at("split"), raw)?,
                }
            }
            Kind::Folder => SourceConfig::Folders {
                root: path("root", &raw.root, "the folder with one folder a class")?,
                classes: names,
            },
            Kind::List => SourceConfig::List {
                list: path(
                    "list",
                    &raw.list,
                    "the file with a path and a class id a line",
                )?,
                root: PathBuf::from(raw.root.as_deref().unwrap_or(".")),
                classes: required(
                    &at("class_names"),
                    names.as_ref(),
                    "the names of the classes, in the order of their ids",
                )?
                .clone(),
            },
            Kind::Idx => SourceConfig::Idx {
                images: path("images", &raw.images, "the IDX file of the images")?,
                labels: path("labels", &raw.labels, "the IDX file of their labels")?,
                classes: names,
            },
            Kind::Images => SourceConfig::Images {
                root: path("root", &raw.root, "the folder of the images")?,
                suffix: raw.suffix.clone().unwrap_or_else(|| ".jpg".into()),
            },
        };
        Ok(Self {
            key: key.to_owned(),
            images,
        })
    }
}

fn split(key: &str, raw: &RawSet) -> Result<Split> {
    Ok(one_of(
        key,
        raw.split.as_deref().unwrap_or("train"),
        &SPLITS,
    )?)
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
