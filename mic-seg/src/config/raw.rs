//! The configuration file as written: one TOML table a concept, every key with a default.

use std::collections::BTreeMap;

use mic_data::LoadingOptions;
use mic_run::RunOptions;
use serde::{Deserialize, Serialize};

pub use super::raw_model::{RawHrda, RawLayer, RawLayerTable, RawMit, RawModel, RawResnet, RawVit};

/// A whole run. Unknown keys are errors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Seed of every random stream of the run.
    pub seed: u64,
    /// The network.
    pub model: RawModel,
    /// Source, target and test images.
    pub data: RawData,
    /// How the network is trained.
    pub method: RawMethod,
    /// Masked image consistency; absent for none.
    pub mask: Option<RawMask>,
    /// Optimiser and schedule.
    pub optimizer: RawOptimizer,
    /// How trained networks see whole images.
    pub inference: RawInference,
    /// Length and evaluation.
    pub train: RawTrain,
    /// Checkpoints, records and early ends.
    pub run: RunOptions,
}

/// Where the images come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawData {
    /// `cityscapes` (19 classes), `camvid` (11) or `custom` (then `class_names` counts).
    pub classes: String,
    /// Names of `custom` classes, in the order of their train ids.
    pub class_names: Vec<String>,
    /// A colour `"#rrggbb"` for each of the classes, in the same order; empty: the published
    /// colours, or colours that differ.
    pub palette: Vec<String>,
    /// Labelled images of the source domain.
    pub source: RawSet,
    /// Images of the target domain; labels, if there are any, are never read. Needed by `dacs`.
    pub target: Option<RawSet>,
    /// Labelled images that evaluation reports on.
    pub test: Option<RawSet>,
    /// `[width, height]` of the random crop; absent: whole images.
    pub crop: Option<[usize; 2]>,
    /// A crop is redrawn while one class covers more than this share of it (1 accepts all).
    pub cat_max_ratio: f64,
    /// Random horizontal flip.
    pub flip: bool,
    /// Channel means, 0 to 255, RGB.
    pub mean: [f64; 3],
    /// Channel standard deviations, 0 to 255, RGB.
    pub std: [f64; 3],
    /// Photometric distortion of images after the flip: `none`, `source` or `both` domains.
    pub photometric_distortion: String,
    /// Rare class sampling on the source; absent: every image equally often.
    pub rare_class_sampling: Option<RawRcs>,
    /// Folder for class statistics where the set's own folder cannot be written to.
    pub stats_cache: Option<String>,
    /// How images are read and batches are made.
    #[serde(flatten)]
    pub loading: LoadingOptions,
}

impl Default for RawData {
    fn default() -> Self {
        Self {
            classes: "cityscapes".into(),
            class_names: Vec::new(),
            palette: Vec::new(),
            source: RawSet::default(),
            target: None,
            test: None,
            crop: None,
            cat_max_ratio: 1.0,
            flip: true,
            mean: [123.675, 116.28, 103.53],
            std: [58.395, 57.12, 57.375],
            photometric_distortion: "none".into(),
            rare_class_sampling: None,
            stats_cache: None,
            loading: LoadingOptions::default(),
        }
    }
}

/// One set of images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawSet {
    /// `scenes` (built in), `camvid`, `folder`, or a published set: `gta`, `synthia`, `cityscapes`,
    /// `acdc`, `dark_zurich`.
    pub kind: String,
    /// Folder of the set (`scenes` have none).
    pub root: Option<String>,
    /// `scenes`: `source` or `target` style. `camvid`: `day`, `dusk-train` or `dusk-test`.
    pub domain: Option<String>,
    /// `scenes`: which disjoint part (`train`, `val`, `test`); absent: `train`. `cityscapes`,
    /// `acdc`, `dark_zurich`: which split; absent: `train`, in `data.test` `val`.
    pub split: Option<String>,
    /// `scenes`: number of images.
    pub count: Option<usize>,
    /// `scenes`: `[width, height]`; absent: `[128, 64]`.
    pub size: Option<[usize; 2]>,
    /// `scenes`: seed of the set (apart from the run's seed).
    pub scene_seed: u64,
    /// `folder`: image folder below the root; absent: the root.
    pub images: Option<String>,
    /// `folder`: label folder below the root.
    pub labels: Option<String>,
    /// `folder`: ending of image files; absent: `.png`.
    pub image_suffix: Option<String>,
    /// `folder`: ending of label files, in place of the image's; absent: `.png`.
    pub label_suffix: Option<String>,
    /// `folder`: from the ids or colours in the label files to classes; absent: they are train ids
    /// already (and 255 for ignored pixels).
    pub label_map: Option<RawLabelMap>,
    /// Images are scaled to fit `[width, height]`, keeping their shape.
    pub resize: Option<[usize; 2]>,
    /// `acdc`: `fog`, `night`, `rain` or `snow` alone.
    pub condition: Option<String>,
    /// `folder` and published sets: a text file (below the root, or an absolute path) with one
    /// image a line: its name, or for `folder` also `image<TAB>label`, paths below the root.
    pub list: Option<String>,
    /// `folder`: pattern for image paths below the root, in place of folders and suffixes.
    pub image_glob: Option<String>,
    /// `folder`: pattern for label paths; its wildcards stand for what those of `image_glob` do.
    pub label_glob: Option<String>,
    /// `data.target`: `[top, bottom, left, right]` borders, in pixels of the stored image, in which
    /// pseudo-labels do not count.
    pub crop_pseudo_margins: Option<[u32; 4]>,
}

/// From ids or colours in label files to classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RawLabelMap {
    /// A known map: `cityscapes` (also GTA's), `synthia`, `camvid`, or `binary` (two classes stored
    /// as 0 and 255).
    Published(String),
    /// Id, or colour `"#rrggbb"`, to class name or `ignore`. Values without a line are errors; the
    /// line `other = "ignore"` ignores them.
    Table(BTreeMap<String, String>),
}

/// Rare class sampling (DAFormer, sec. 3.2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawRcs {
    /// An image is a candidate for a class if it has more pixels of it than this.
    pub min_pixels: u64,
    /// Temperature of the class distribution; smaller prefers rare classes more.
    pub temperature: f64,
    /// A crop needs more than `min_pixels * min_crop_ratio` pixels of the drawn class.
    pub min_crop_ratio: f64,
}

impl Default for RawRcs {
    fn default() -> Self {
        Self {
            min_pixels: 3000,
            temperature: 0.01,
            min_crop_ratio: 0.5,
        }
    }
}

/// How the network is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawMethod {
    /// `supervised` (labelled source images only; with the target's labelled images as the
    /// source this is the target-supervised ceiling), `dacs` (self-training with ClassMix),
    /// `advseg` (adversarial training in output space) or `minent` (entropy minimisation).
    pub kind: String,
    /// Teacher momentum; of `advseg` and `minent` that of masked consistency's teacher.
    pub alpha: f64,
    /// A pixel is confident if its largest class probability reaches this.
    pub pseudo_threshold: f64,
    /// Rows at the top of the target image without pseudo-labels.
    pub ignore_top: usize,
    /// Rows at the bottom of the target image without pseudo-labels.
    pub ignore_bottom: usize,
    /// Colour jitter strength of mixed images; 0 for none.
    pub color_jitter: f64,
    /// Jitter is applied when a uniform draw exceeds this (0.2: four times out of five).
    pub color_jitter_threshold: f64,
    /// Gaussian blur of mixed images, half of the time.
    pub blur: bool,
    /// The same colour jitter and blur on source images (`supervised`; the paper's runs: false).
    pub augment_source: bool,
    /// Factor of the distance to ImageNet features (needs `model.pretrained`); 0 for none.
    pub feature_distance: f64,
    /// Classes (train ids) that the feature distance counts.
    pub feature_distance_classes: Vec<u8>,
    /// Share of a class that a downscaled label needs there.
    pub feature_distance_min_ratio: f64,
    /// `advseg`: factor of the adversarial loss.
    pub adversarial_lambda: f64,
    /// `advseg`: `ls` (squared distance) or `vanilla` (cross-entropy).
    pub adversarial_loss: String,
    /// `advseg`: learning rate of the discriminator's Adam; it falls with power 0.9.
    pub discriminator_lr: f64,
    /// `advseg`: channels of the discriminator's first layer.
    pub discriminator_channels: usize,
    /// `minent`: factor of the entropy.
    pub entropy_lambda: f64,
}

impl Default for RawMethod {
    fn default() -> Self {
        Self {
            kind: "dacs".into(),
            alpha: 0.999,
            pseudo_threshold: 0.968,
            ignore_top: 0,
            ignore_bottom: 0,
            color_jitter: 0.2,
            color_jitter_threshold: 0.2,
            blur: true,
            augment_source: false,
            feature_distance: 0.0,
            feature_distance_classes: vec![6, 7, 11, 12, 13, 14, 15, 16, 17, 18],
            feature_distance_min_ratio: 0.75,
            adversarial_lambda: 0.001,
            adversarial_loss: "ls".into(),
            discriminator_lr: 1e-4,
            discriminator_channels: 64,
            entropy_lambda: 0.001,
        }
    }
}

/// Masked image consistency (MIC, sec. 3.2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawMask {
    /// Which images are masked and whether their colours change: `separate`, `separateaug`,
    /// `separatesrc`, `separatesrcaug`, `separatetrg`, `separatetrgaug`. `supervised` training
    /// has source images only and masks those in every mode.
    pub mode: String,
    /// Side of a square mask block in pixels.
    pub block: usize,
    /// Share of hidden blocks, 0 to 1.
    pub ratio: f64,
    /// Factor of the masked loss.
    pub lambda: f64,
    /// Momentum of a teacher of its own; absent: the method's teacher.
    pub alpha: Option<f64>,
    /// Confidence threshold of its own: a number, or `"none"` for weight 1 everywhere; absent:
    /// the method's.
    pub pseudo_threshold: Option<RawThreshold>,
}

/// A confidence threshold or its absence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RawThreshold {
    /// Share of pixels whose confidence reaches the value.
    Value(f64),
    /// The word `none`.
    Word(String),
}

impl Default for RawMask {
    fn default() -> Self {
        Self {
            mode: "separatetrgaug".into(),
            block: 64,
            ratio: 0.7,
            lambda: 1.0,
            alpha: None,
            pseudo_threshold: None,
        }
    }
}

/// Optimiser and learning-rate schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawOptimizer {
    /// `adamw` or `sgd`.
    pub kind: String,
    /// Base learning rate (the backbone's).
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// AdamW: decay rates of the two moments.
    pub betas: [f64; 2],
    /// SGD: momentum.
    pub momentum: f64,
    /// Learning-rate factor of the head.
    pub head_lr_mult: f64,
    /// `poly` (warm-up times polynomial decay) or `linear` (ramp, then linear to a share).
    pub schedule: String,
    /// `poly`: power.
    pub power: f64,
    /// Steps of the warm-up.
    pub warmup: u64,
    /// `poly`: first factor of the warm-up.
    pub warmup_ratio: f64,
    /// `linear`: share of the base rate reached at the last step.
    pub final_ratio: f64,
}

impl Default for RawOptimizer {
    fn default() -> Self {
        Self {
            kind: "adamw".into(),
            lr: 6e-5,
            weight_decay: 0.01,
            betas: [0.9, 0.999],
            momentum: 0.9,
            head_lr_mult: 10.0,
            schedule: "poly".into(),
            power: 1.0,
            warmup: 1500,
            warmup_ratio: 1e-6,
            final_ratio: 0.0,
        }
    }
}

/// How a trained network sees images of any size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawInference {
    /// `whole` (the image at once) or `slide` (the mean over overlapping windows).
    pub mode: String,
    /// `slide`: `[width, height]` of a window; absent: the training crop.
    pub window: Option<[usize; 2]>,
    /// `slide`: `[x, y]` steps between windows; absent: half a window.
    pub stride: Option<[usize; 2]>,
    /// `slide`: windows that pass through the network together.
    pub batch: usize,
}

impl Default for RawInference {
    fn default() -> Self {
        Self {
            mode: "whole".into(),
            window: None,
            stride: None,
            batch: 1,
        }
    }
}

/// Length and bookkeeping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawTrain {
    /// Iterations.
    pub iterations: u64,
    /// Images of each domain in a batch.
    pub batch: usize,
    /// Iterations between evaluations; 0 evaluates at the end only.
    pub eval_every: u64,
    /// Batches whose gradients are averaged into one step.
    pub accumulate: usize,
    /// Largest norm of the gradient; larger ones are scaled down. 0: no limit.
    pub clip_norm: f64,
    /// A checkpoint to start from (weights only).
    pub init_from: Option<String>,
    /// Whether `init_from` fills the head as well as the backbone; `false` keeps the head's random
    /// weights, as another number of classes needs.
    pub init_head: bool,
}

impl Default for RawTrain {
    fn default() -> Self {
        Self {
            iterations: 40_000,
            batch: 2,
            eval_every: 4_000,
            accumulate: 1,
            clip_norm: 0.0,
            init_from: None,
            init_head: true,
        }
    }
}
