//! Where the images come from and how they become batches.

use std::path::PathBuf;

use mic_data::LoadingOptions;
use mic_data::detection::{
    Channels, DetectionConfig, DetectionPipelineConfig, DetectionTransform, Difficult,
};
use mic_data::samplers::Incomplete;
use mic_data::scenes::{Fog, SceneConfig, SceneObjectsConfig, Split, Style};
use mic_data::transform::DetectionResize;
use mic_run::config::check::{self, at_least, one_of, refuse, required};

use super::Method;
use super::raw::{RawData, RawSet};
use crate::{Error, Result};

/// The images of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct DataConfig {
    /// Images whose annotations train the detector: the source's, or the target's of an oracle.
    pub source: SetConfig,
    /// Images of the target domain, where the method has use for them.
    pub target: Option<SetConfig>,
    /// Annotated images that evaluation reports on.
    pub test: Option<SetConfig>,
    /// Names of the classes, once they are known.
    pub classes: Vec<String>,
    /// Whether source images without an object worth training on are left out.
    pub source_usable_only: bool,
    /// Whether target images are chosen by their annotations.
    pub target_usable_only: bool,
    /// From files to network inputs.
    pub transform: DetectionTransform,
    /// Whether a batch holds only wide or only high images.
    pub group_by_aspect: bool,
    /// How images are read and batches are made.
    pub loading: LoadingOptions,
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
    /// In files.
    Files(DetectionConfig),
    /// Built-in street scenes.
    Scenes(SceneObjectsConfig),
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Scenes,
    Cityscapes,
    FoggyCityscapes,
    Catalogue,
    Coco,
    Voc,
    Images,
}

const KINDS: [(&str, Kind); 7] = [
    ("scenes", Kind::Scenes),
    ("cityscapes", Kind::Cityscapes),
    ("foggy_cityscapes", Kind::FoggyCityscapes),
    ("catalogue", Kind::Catalogue),
    ("coco", Kind::Coco),
    ("voc", Kind::Voc),
    ("images", Kind::Images),
];

const DIFFICULT: [(&str, Difficult); 3] = [
    ("ignore", Difficult::Ignore),
    ("drop", Difficult::Drop),
    ("keep", Difficult::Keep),
];

const COLORS: [(&str, Channels); 2] = [("bgr", Channels::Bgr), ("rgb", Channels::Rgb)];

/// Strides of the pyramid's maps; sides of images are multiples of it.
const STRIDE: u32 = 32;

impl DataConfig {
    pub(super) fn check(raw: &RawData, method: Method, needs_target: bool) -> Result<Self> {
        let set = |key: &str, set: &Option<RawSet>| {
            let set = set.as_ref();
            set.map(|set| SetConfig::check(key, set, &raw.classes))
                .transpose()
        };
        let mut target = check::target(needs_target, set("data.target", &raw.target)?)?;
        let source = match (method, target.take_if(|_| method == Method::Oracle)) {
            (Method::Oracle, Some(target)) => target,
            _ => SetConfig::check("data.source", &raw.source, &raw.classes)?,
        };
        let test = set("data.test", &raw.test)?;
        for set in [Some(&source), test.as_ref()].into_iter().flatten() {
            if let SetKind::Files(DetectionConfig::Images { .. }) = set.kind {
                let expected = "a kind with annotations; \"images\" is for data.target, and not \
                                with method.kind = \"oracle\"";
                return refuse(&format!("{}.kind", set.key), "\"images\"", expected);
            }
        }
        Ok(Self {
            source,
            target: target.filter(|_| needs_target),
            test,
            classes: raw.classes.clone(),
            source_usable_only: raw.source_usable_only,
            target_usable_only: raw.target_usable_only,
            transform: transform(raw)?,
            group_by_aspect: raw.group_by_aspect,
            loading: loading(&raw.loading)?,
        })
    }

    /// Batches of `batch` images of each domain.
    pub fn pipeline(&self, batch: usize) -> DetectionPipelineConfig {
        DetectionPipelineConfig {
            batch,
            group_by_aspect: self.group_by_aspect,
            incomplete: Incomplete::Fill,
            transform: self.transform.clone(),
        }
    }
}

fn loading(options: &LoadingOptions) -> Result<LoadingOptions> {
    let checked = options.check();
    checked.map_err(|error| Error::Config(error.to_string()))?;
    Ok(options.clone())
}

fn transform(raw: &RawData) -> Result<DetectionTransform> {
    at_least("data.divisor", raw.divisor, STRIDE)?;
    if !raw.divisor.is_multiple_of(STRIDE) {
        let expected = format!("a multiple of {STRIDE}, the stride of the coarsest map");
        return refuse("data.divisor", raw.divisor, expected);
    }
    let transform = DetectionTransform {
        resize: DetectionResize {
            min_sizes: raw.min_sizes.clone(),
            max_size: (raw.max_size > 0).then_some(raw.max_size),
        },
        flip: raw.flip,
        channels: one_of("data.colors", &raw.colors, &COLORS)?,
        mean: raw.mean,
        std: raw.std,
        divisor: raw.divisor,
    };
    let checked = transform.check();
    checked.map_err(|error| Error::Config(format!("data: {error}")))?;
    Ok(transform)
}

impl SetConfig {
    fn check(key: &str, raw: &RawSet, classes: &[String]) -> Result<Self> {
        let at = |name: &str| format!("{key}.{name}");
        if raw.kind.is_empty() {
            let names = KINDS.map(|(name, _)| format!("{name:?}")).join(", ");
            let why = format!("say where the images are, one of {names}");
            required(&at("kind"), None::<&()>, &why)?;
        }
        let kind = one_of(&at("kind"), &raw.kind, &KINDS)?;
        Ok(Self {
            kind: match kind {
                Kind::Scenes => SetKind::Scenes(scenes(&at, raw)?),
                other => SetKind::Files(files(other, &at, raw, classes)?),
            },
            key: key.to_owned(),
        })
    }
}

fn files(
    kind: Kind,
    at: &dyn Fn(&str) -> String,
    raw: &RawSet,
    classes: &[String],
) -> Result<DetectionConfig> {
    let path = |name: &str, value: &Option<String>, why: &str| {
        required(&at(name), value.as_ref(), why).map(PathBuf::from)
    };
    let names = (!classes.is_empty()).then(|| classes.to_vec());
    let published = |prefix: &str, splits: &[&str]| -> Result<DetectionConfig> {
        let choices: Vec<(&str, &str)> = splits.iter().map(|&split| (split, split)).collect();
        let split = raw.split.as_deref().unwrap_or("train");
        let split = one_of(&at("split"), split, &choices)?;
        Ok(DetectionConfig::Catalogue {
            name: format!("{prefix}_fine_instanceonly_seg_{split}_cocostyle"),
            root: path("root", &raw.root, "the folder of all data sets")?,
            classes: names.clone(),
        })
    };
    Ok(match kind {
        // Those are no files.
        Kind::Scenes => return refuse(&at("kind"), "\"scenes\"", "a set in files"),
        Kind::Cityscapes => published("cityscapes", &["train", "val", "test"])?,
        Kind::FoggyCityscapes => published("foggy_cityscapes", &["train", "val"])?,
        Kind::Catalogue => DetectionConfig::Catalogue {
            name: required(&at("name"), raw.name.as_ref(), "the set's name")?.clone(),
            root: path("root", &raw.root, "the folder of all data sets")?,
            classes: names,
        },
        Kind::Coco => DetectionConfig::Coco {
            images: path("images", &raw.images, "the folder of the images")?,
            annotations: path("annotations", &raw.annotations, "the annotation file")?,
            classes: names,
        },
        Kind::Voc => DetectionConfig::Voc {
            root: path(
                "root",
                &raw.root,
                "the folder with JPEGImages, Annotations and ImageSets",
            )?,
            split: raw.split.clone(),
            classes: required(
                "data.classes",
                names.as_ref(),
                "kind = \"voc\" needs the names of the classes, in the order of their labels",
            )?
            .clone(),
            difficult: one_of(
                &at("difficult"),
                raw.difficult.as_deref().unwrap_or("ignore"),
                &DIFFICULT,
            )?,
            origin: raw.origin.unwrap_or(1),
        },
        Kind::Images => DetectionConfig::Images {
            root: path("root", &raw.root, "the folder of the images")?,
            suffix: raw.suffix.clone().unwrap_or_else(|| ".jpg".into()),
        },
    })
}

fn scenes(at: &dyn Fn(&str) -> String, raw: &RawSet) -> Result<SceneObjectsConfig> {
    const SPLITS: [(&str, Split); 3] = [
        ("train", Split::Train),
        ("val", Split::Val),
        ("test", Split::Test),
    ];
    let wrong = |name: &'static str| {
        move |error: mic_data::Error| Error::Config(format!("{}: {error}", at(name)))
    };
    let [width, height] = raw.size.unwrap_or([256, 128]);
    let scene = SceneConfig {
        min_box: raw.min_box.unwrap_or(6),
        ..SceneConfig::new(width, height, Style::Source)
    };
    scene.check().map_err(wrong("size"))?;
    let count = *required(&at("count"), raw.count.as_ref(), "the number of images")?;
    at_least(&at("count"), count, 1)?;
    let fog = raw.fog.filter(|&beta| beta != 0.0);
    Ok(SceneObjectsConfig {
        scene,
        split: one_of(
            &at("split"),
            raw.split.as_deref().unwrap_or("train"),
            &SPLITS,
        )?,
        count,
        seed: raw.scene_seed,
        fog: fog.map(Fog::new).transpose().map_err(wrong("fog"))?,
    })
}
