//! Where the images come from and how they become batches.

use std::path::PathBuf;

use mic_data::datasets::Domain;
use mic_data::label_map::Unlisted;
use mic_data::scenes::{SceneConfig, Split, Style};
use mic_data::transform::Normalise;
use mic_data::{Classes, IGNORE, LabelMap, PipelineConfig, RcsConfig};

use super::check::{at_least_one, not_negative, one_of, positive, refuse, required, size, within};
use super::distance::nearest;
use super::raw::{RawConfig, RawLabelMap, RawRcs, RawSet};
use crate::{Error, Result};

/// The images of a run.
#[derive(Clone, Debug)]
pub struct DataConfig {
    /// Labelled images of the source domain.
    pub source: SetConfig,
    /// Images of the target domain.
    pub target: Option<SetConfig>,
    /// Labelled images that evaluation reports on.
    pub test: Option<SetConfig>,
    /// From samples to batches.
    pub pipeline: PipelineConfig,
    /// Threads that prepare batches; 0 prepares them in the training thread.
    pub loader_threads: usize,
}

/// One set of images.
#[derive(Clone, Debug)]
pub struct SetConfig {
    /// The table it stands in, such as `data.source`; for messages.
    pub key: String,
    /// Where its images are.
    pub kind: SetKind,
    /// The network sees images scaled to the largest size inside this one (width, height) that
    /// keeps their shape.
    pub resize: Option<(u32, u32)>,
}

/// Where the images of a set are.
#[derive(Clone, Debug)]
pub enum SetKind {
    /// Built-in street scenes.
    Scenes {
        /// Size and style.
        scene: SceneConfig,
        /// Which disjoint part.
        split: Split,
        /// Number of images, at least 1.
        count: usize,
        /// Seed of the set.
        seed: u64,
    },
    /// CamVid by recording.
    CamVid {
        /// Folder with `train/`, `trainannot/` and so on.
        root: PathBuf,
        /// Which recordings.
        domain: Domain,
    },
    /// Image files, and label files beside them.
    Folder(FolderSource),
}

/// Files of a [`SetKind::Folder`].
#[derive(Clone, Debug)]
pub struct FolderSource {
    /// Folder of the images.
    pub images: PathBuf,
    /// Folder of the labels; only sets whose labels are read need one.
    pub labels: Option<PathBuf>,
    /// End of the image file names.
    pub image_suffix: String,
    /// What stands in the label file names instead.
    pub label_suffix: String,
    /// From the ids in the files to train ids; `None`: the files hold train ids.
    pub map: Option<LabelMap>,
}

impl SetConfig {
    /// Width and height of what the network sees, where the configuration alone tells: exact for
    /// scenes, else an upper bound.
    pub fn known_size(&self) -> Option<(u32, u32)> {
        match &self.kind {
            _ if self.resize.is_some() => self.resize,
            SetKind::Scenes { scene, .. } => Some((scene.width, scene.height)),
            _ => None,
        }
    }

    fn check(key: &str, raw: &RawSet, classes: &Classes, labelled: bool) -> Result<Self> {
        let at = |name: &str| format!("{key}.{name}");
        let kinds = [("scenes", 0), ("camvid", 1), ("folder", 2)];
        if raw.kind.is_empty() {
            let why = "say where the images are, one of \"scenes\", \"camvid\", \"folder\"";
            required(&at("kind"), None::<&()>, why)?;
        }
        let kind = match one_of(&at("kind"), &raw.kind, &kinds)? {
            0 => scenes(key, raw, classes)?,
            1 => camvid(key, raw, classes)?,
            _ => SetKind::Folder(folder(key, raw, classes, labelled)?),
        };
        let resize = raw.resize.map(|s| size(&at("resize"), s)).transpose()?;
        Ok(Self {
            key: key.to_owned(),
            kind,
            resize,
        })
    }
}

fn scenes(key: &str, raw: &RawSet, classes: &Classes) -> Result<SetKind> {
    let at = |name: &str| format!("{key}.{name}");
    if *classes != Classes::cityscapes() {
        let expected = "other images: the built-in scenes have the classes of data.classes = \
                        \"cityscapes\"";
        return refuse(&at("kind"), "\"scenes\"", expected);
    }
    let styles = [("source", Style::Source), ("target", Style::Target)];
    let splits = [
        ("train", Split::Train),
        ("val", Split::Val),
        ("test", Split::Test),
    ];
    let why = "which style, \"source\" or \"target\"";
    let style = one_of(
        &at("domain"),
        required(&at("domain"), raw.domain.as_ref(), why)?,
        &styles,
    )?;
    let default = SceneConfig::default();
    let default_size = (default.width, default.height);
    let (width, height) = match raw.size {
        Some(given) => size(&at("size"), given)?,
        None => default_size,
    };
    let scene = SceneConfig::new(width, height, style);
    scene
        .check()
        .map_err(|error| Error::Config(format!("{}: {error}", at("size"))))?;
    let count = *required(&at("count"), raw.count.as_ref(), "the number of images")?;
    Ok(SetKind::Scenes {
        scene,
        split: one_of(
            &at("split"),
            raw.split.as_deref().unwrap_or("train"),
            &splits,
        )?,
        count: at_least_one(&at("count"), count as u64)? as usize,
        seed: raw.scene_seed,
    })
}

fn camvid(key: &str, raw: &RawSet, classes: &Classes) -> Result<SetKind> {
    let at = |name: &str| format!("{key}.{name}");
    if *classes != Classes::camvid() {
        let expected = "other images, or data.classes = \"camvid\"";
        return refuse(&at("kind"), "\"camvid\"", expected);
    }
    let domains = [
        ("day", Domain::Day),
        ("dusk-train", Domain::DuskTrain),
        ("dusk-test", Domain::DuskTest),
    ];
    let why = "which recordings, \"day\", \"dusk-train\" or \"dusk-test\"";
    let domain = required(&at("domain"), raw.domain.as_ref(), why)?;
    let root = required(&at("root"), raw.root.as_ref(), "the folder of the set")?;
    Ok(SetKind::CamVid {
        root: PathBuf::from(root),
        domain: one_of(&at("domain"), domain, &domains)?,
    })
}

fn folder(key: &str, raw: &RawSet, classes: &Classes, labelled: bool) -> Result<FolderSource> {
    let at = |name: &str| format!("{key}.{name}");
    let root = required(&at("root"), raw.root.as_ref(), "the folder of the set")?;
    let root = PathBuf::from(root);
    if labelled {
        let why = "the label folder below the root";
        required(&at("labels"), raw.labels.as_ref(), why)?;
    }
    let image_suffix = raw.image_suffix.clone().unwrap_or(".png".into());
    let label_suffix = raw.label_suffix.clone().unwrap_or(".png".into());
    for (name, suffix) in [
        ("image_suffix", &image_suffix),
        ("label_suffix", &label_suffix),
    ] {
        if suffix.is_empty() {
            let expected = "the end of the file names, such as \".png\"";
            return refuse(&at(name), "\"\"", expected);
        }
    }
    Ok(FolderSource {
        images: match &raw.images {
            Some(below) => root.join(below),
            None => root.clone(),
        },
        labels: raw.labels.as_ref().map(|below| root.join(below)),
        image_suffix,
        label_suffix,
        map: raw
            .label_map
            .as_ref()
            .map(|map| label_map(&at("label_map"), map, classes))
            .transpose()?,
    })
}

fn label_map(key: &str, raw: &RawLabelMap, classes: &Classes) -> Result<LabelMap> {
    let table = match raw {
        RawLabelMap::Published(name) => {
            let published = [
                (
                    "cityscapes",
                    (LabelMap::cityscapes(), Classes::cityscapes()),
                ),
                ("synthia", (LabelMap::synthia(), Classes::cityscapes())),
                ("camvid", (LabelMap::camvid(), Classes::camvid())),
            ];
            let (map, wanted) = one_of(key, name, &published)?;
            if *classes != wanted {
                let expected = "the map of the classes in data.classes, or a table of its own";
                return refuse(key, format!("{name:?}"), expected);
            }
            return Ok(map);
        }
        RawLabelMap::Table(table) => table,
    };
    let mut pairs = Vec::new();
    let mut unlisted = Unlisted::Refuse;
    for (id, name) in table {
        let train = train_id(&format!("{key}.{id}"), name, classes)?;
        if id == "other" {
            if train != IGNORE {
                let expected = "\"ignore\", the only meaning that ids without a line can have";
                return refuse(&format!("{key}.other"), format!("{name:?}"), expected);
            }
            unlisted = Unlisted::Ignore;
            continue;
        }
        match id.parse::<u16>() {
            Ok(raw) => pairs.push((raw, train)),
            Err(_) => {
                let expected = "keys that are ids of the label files, 0 to 65535, or \"other\"";
                return refuse(key, format!("{{ {id:?} = {name:?} }}"), expected);
            }
        }
    }
    Ok(LabelMap::new(key, pairs, unlisted))
}

fn train_id(key: &str, name: &str, classes: &Classes) -> Result<u8> {
    if name == "ignore" {
        return Ok(IGNORE);
    }
    let names = || classes.names().iter().map(String::as_str);
    match names().zip(0u8..).find(|(known, _)| *known == name) {
        Some((_, id)) => Ok(id),
        None => {
            let hint = match nearest(name, names()) {
                Some(near) => format!("; did you mean {near:?}?"),
                None => String::new(),
            };
            let listed: Vec<&str> = names().collect();
            let listed = listed.join(", ");
            let expected = format!("\"ignore\" or a class of the run ({listed}){hint}");
            refuse(key, format!("{name:?}"), expected)
        }
    }
}

impl DataConfig {
    pub(super) fn check(raw: &RawConfig, classes: &Classes) -> Result<Self> {
        let data = &raw.data;
        let optional = |key: &str, set: &Option<RawSet>, labelled| {
            set.as_ref()
                .map(|set| SetConfig::check(key, set, classes, labelled))
                .transpose()
        };
        let source = SetConfig::check("data.source", &data.source, classes, true)?;
        let target = optional("data.target", &data.target, false)?;
        let test = optional("data.test", &data.test, true)?;
        let crop = data.crop.map(|crop| size("data.crop", crop)).transpose()?;
        let ratio = positive("data.cat_max_ratio", data.cat_max_ratio)?;
        let above_zero = "a number above 0, at most 1 (1 accepts all crops)";
        within("data.cat_max_ratio", ratio, ..=1.0, above_zero)?;
        if ratio < 1.0 && crop.is_none() {
            let expected = "1, as there is no data.crop to choose";
            return refuse("data.cat_max_ratio", ratio, expected);
        }
        for channel in 0..3 {
            within("data.mean", data.mean[channel], .., "three finite numbers")?;
            positive("data.std", data.std[channel])?;
        }
        let rcs = data.rare_class_sampling.as_ref();
        let pipeline = PipelineConfig {
            batch: at_least_one("train.batch", raw.train.batch as u64)? as usize,
            source_resize: source.resize,
            target_resize: target.as_ref().and_then(|set| set.resize),
            crop,
            cat_max_ratio: (ratio < 1.0).then_some(ratio),
            flip: if data.flip { 0.5 } else { 0.0 },
            normalise: Normalise {
                mean: data.mean,
                std: data.std,
            },
            rcs: rcs.map(rare_class_sampling).transpose()?,
        };
        Ok(Self {
            source,
            target,
            test,
            pipeline,
            loader_threads: data.loader_threads,
        })
    }
}

fn rare_class_sampling(raw: &RawRcs) -> Result<RcsConfig> {
    let at = |name: &str| format!("data.rare_class_sampling.{name}");
    Ok(RcsConfig {
        min_pixels: raw.min_pixels,
        class_temp: positive(&at("temperature"), raw.temperature)?,
        min_crop_ratio: not_negative(&at("min_crop_ratio"), raw.min_crop_ratio)?,
    })
}
