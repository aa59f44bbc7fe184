//! Where the images of a set are.

use std::path::PathBuf;

use mic_data::datasets::{self, Condition, Domain, Margins, Pattern, Published};
use mic_data::scenes::{SceneConfig, Split, Style};
use mic_data::{Classes, LabelMap};

use super::label_map::label_map;
use super::raw::RawSet;
use crate::{Error, Result};
use mic_run::config::check::{at_least_one, one_of, refuse, required, size};

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
    /// Borders of target images in which pseudo-labels do not count, in stored pixels.
    pub margins: Option<Margins>,
}

/// Where the images of a set are.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // three a run
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
    /// A published set.
    Published {
        /// Its folder.
        root: PathBuf,
        /// Which part.
        part: Published,
        /// A text file that lists the images to take.
        list: Option<PathBuf>,
    },
    /// Image files, and label files beside them.
    Folder(FolderSource),
}

/// Files of a [`SetKind::Folder`].
#[derive(Clone, Debug)]
pub struct FolderSource {
    /// The folder of the set.
    pub root: PathBuf,
    /// Folder of the images.
    pub images: PathBuf,
    /// Folder of the labels; only sets whose labels are read need one.
    pub labels: Option<PathBuf>,
    /// End of the image file names.
    pub image_suffix: String,
    /// What stands in the label file names instead.
    pub label_suffix: String,
    /// From the values in the files to train ids; `None`: the files hold train ids.
    pub map: Option<LabelMap>,
    /// A text file that lists the images.
    pub list: Option<PathBuf>,
    /// Patterns for the paths of images and labels below the root, in place of folders and endings.
    pub patterns: Option<(Pattern, Option<Pattern>)>,
}

/// What a set is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Source,
    Target,
    Test,
}

impl Role {
    fn key(self) -> &'static str {
        match self {
            Self::Source => "data.source",
            Self::Target => "data.target",
            Self::Test => "data.test",
        }
    }
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

    pub(super) fn check(role: Role, raw: &RawSet, classes: &Classes) -> Result<Self> {
        let key = role.key();
        let at = |name: &str| format!("{key}.{name}");
        let kinds: [(&str, usize); 8] = std::array::from_fn(|i| (KINDS[i], i));
        if raw.kind.is_empty() {
            let listed: Vec<String> = KINDS.iter().map(|kind| format!("{kind:?}")).collect();
            let why = format!("say where the images are, one of {}", listed.join(", "));
            required(&at("kind"), None::<&()>, &why)?;
        }
        let kind = match one_of(&at("kind"), &raw.kind, &kinds)? {
            0 => scenes(key, raw, classes)?,
            1 => camvid(key, raw, classes)?,
            2 => SetKind::Folder(folder(role, raw, classes)?),
            _ => published(role, raw, classes)?,
        };
        let resize = raw.resize.map(|s| size(&at("resize"), s)).transpose()?;
        let margins = raw
            .crop_pseudo_margins
            .map(|[top, bottom, left, right]| Margins {
                top,
                bottom,
                left,
                right,
            });
        if margins.is_some() && role != Role::Target {
            let expected = "this key in data.target only, whose images get pseudo-labels";
            return refuse(&at("crop_pseudo_margins"), "set", expected);
        }
        Ok(Self {
            key: key.to_owned(),
            kind,
            resize,
            margins,
        })
    }
}

const KINDS: [&str; 8] = [
    "scenes",
    "camvid",
    "folder",
    "gta",
    "synthia",
    "cityscapes",
    "acdc",
    "dark_zurich",
];

fn scenes(key: &str, raw: &RawSet, classes: &Classes) -> Result<SetKind> {
    let at = |name: &str| format!("{key}.{name}");
    if classes.names() != Classes::cityscapes().names() {
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
    if classes.names() != Classes::camvid().names() {
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

fn published(role: Role, raw: &RawSet, classes: &Classes) -> Result<SetKind> {
    let at = |name: &str| format!("{}.{name}", role.key());
    if classes.names() != Classes::cityscapes().names() {
        let expected = "other images, or data.classes = \"cityscapes\"";
        return refuse(&at("kind"), format!("{:?}", raw.kind), expected);
    }
    let splits = [
        ("train", datasets::Split::Train),
        ("val", datasets::Split::Val),
        ("test", datasets::Split::Test),
    ];
    let default = if role == Role::Test { "val" } else { "train" };
    let split = one_of(
        &at("split"),
        raw.split.as_deref().unwrap_or(default),
        &splits,
    )?;
    let condition = match &raw.condition {
        Some(word) => {
            let conditions = Condition::ALL.map(|condition| (condition.name(), condition));
            Some(one_of(&at("condition"), word, &conditions)?)
        }
        None => None,
    };
    let part = match raw.kind.as_str() {
        "gta" => Published::Gta,
        "synthia" => Published::Synthia,
        "cityscapes" => Published::Cityscapes(split),
        "acdc" => Published::Acdc(split, condition),
        _ => Published::DarkZurich(split),
    };
    if matches!(part, Published::Gta | Published::Synthia) && raw.split.is_some() {
        let expected = "no split, as the set has none; name the images in a text file with list";
        return refuse(&at("split"), format!("{:?}", raw.split), expected);
    }
    if condition.is_some() && !matches!(part, Published::Acdc(..)) {
        let expected = "this key for kind = \"acdc\" only";
        return refuse(&at("condition"), "set", expected);
    }
    let root = required(&at("root"), raw.root.as_ref(), "the folder of the set")?;
    let root = PathBuf::from(root);
    Ok(SetKind::Published {
        list: raw.list.as_ref().map(|list| root.join(list)),
        root,
        part,
    })
}

fn folder(role: Role, raw: &RawSet, classes: &Classes) -> Result<FolderSource> {
    let at = |name: &str| format!("{}.{name}", role.key());
    let root = required(&at("root"), raw.root.as_ref(), "the folder of the set")?;
    let root = PathBuf::from(root);
    let labelled = role != Role::Target;
    let patterns = patterns(role, raw)?;
    if labelled && patterns.is_none() && raw.list.is_none() {
        let why = "the label folder below the root (or label_glob, or a list)";
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
    let map = raw.label_map.as_ref();
    Ok(FolderSource {
        images: match &raw.images {
            Some(below) => root.join(below),
            None => root.clone(),
        },
        labels: raw.labels.as_ref().map(|below| root.join(below)),
        image_suffix,
        label_suffix,
        map: map
            .map(|map| label_map(&at("label_map"), map, classes))
            .transpose()?,
        list: raw.list.as_ref().map(|list| root.join(list)),
        patterns,
        root,
    })
}

fn patterns(role: Role, raw: &RawSet) -> Result<Option<(Pattern, Option<Pattern>)>> {
    let at = |name: &str| format!("{}.{name}", role.key());
    let parse = |name: &str, text: &Option<String>| {
        let pattern = text.as_deref().map(Pattern::parse).transpose();
        pattern.map_err(|error| Error::Config(format!("{}: {error}", at(name))))
    };
    let images = parse("image_glob", &raw.image_glob)?;
    let labels = parse("label_glob", &raw.label_glob)?;
    let Some(images) = images else {
        if labels.is_some() {
            required(&at("image_glob"), None::<&()>, "label_glob goes with it")?;
        }
        return Ok(None);
    };
    let others = [
        ("images", raw.images.is_some()),
        ("labels", raw.labels.is_some()),
        ("image_suffix", raw.image_suffix.is_some()),
        ("label_suffix", raw.label_suffix.is_some()),
        ("list", raw.list.is_some()),
    ];
    if let Some((name, _)) = others.iter().find(|(_, given)| *given) {
        let expected = format!("no {name} beside it; one way to name the files is enough");
        return refuse(&at("image_glob"), format!("{:?}", images.text()), expected);
    }
    if role != Role::Target {
        let why = "the pattern of the labels, with the wildcards of image_glob";
        required(&at("label_glob"), labels.as_ref(), why)?;
    }
    Ok(Some((images, labels)))
}
