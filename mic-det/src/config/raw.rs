//! The configuration file as written: one TOML table a concept, every key with a default.

use mic_data::LoadingOptions;
use mic_run::RunOptions;
use serde::{Deserialize, Serialize};

use crate::matcher::Matcher;
use crate::roi::RoiConfig;
use crate::rpn::RpnConfig;
use crate::sada::SadaConfig;
use crate::sampler::BalancedSampler;

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
    /// The domain heads of `method.kind = "sada"`.
    pub sada: SadaConfig,
    /// Masked image consistency; absent for none.
    pub mask: Option<RawMask>,
    /// Optimiser and schedule.
    pub optimizer: RawOptimizer,
    /// Length, evaluation, selection.
    pub train: RawTrain,
    /// From predictions to detections.
    pub inference: RawInference,
    /// Checkpoints, records and early ends.
    pub run: RunOptions,
}

/// Faster R-CNN: a ResNet, a feature pyramid, and heads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawModel {
    /// `resnet18`, `34`, `50`, `101`, `152`, or `resnet` with a table of that name.
    pub backbone: String,
    /// What boxes mean and how proposals are chosen: `legacy` (maskrcnn-benchmark, which SADA and
    /// MIC were published with) or `modern` (torchvision). Weights of one do not work with the other.
    pub conventions: String,
    /// The ResNet's own conventions: `detectron` (stride in the first convolution of a bottleneck,
    /// as the weights R-50.pkl need it) or `torchvision`; absent: `detectron` for bottlenecks with
    /// the conventions `legacy`, else `torchvision`.
    pub body: Option<String>,
    /// The ResNet's norm: `frozen` (constants), `running` (trained weights, running statistics) or
    /// `batch` (statistics of the batch); absent: `frozen` with `pretrained`, else `batch`.
    pub norm: Option<String>,
    /// What a frozen norm adds to the variance; absent: 0 for `detectron`, 1e-5 for `torchvision`.
    pub norm_eps: Option<f64>,
    /// How many parts of the ResNet are not trained, from the image on: 1 is the stem, 2 the stem
    /// and the first stage; absent: 2 with `pretrained`, else 0.
    pub frozen: Option<usize>,
    /// A file with backbone weights to start from (Detectron's .pkl, torchvision's .pth,
    /// safetensors).
    pub pretrained: Option<String>,
    /// Channels of the pyramid.
    pub channels: usize,
    /// Side of a square anchor of each level in pixels, finest first: five of them.
    pub anchor_sizes: Vec<f64>,
    /// Height over width of the anchors of a cell.
    pub anchor_ratios: Vec<f64>,
    /// Proposals.
    pub rpn: RpnConfig,
    /// The region head.
    pub roi: RawRoi,
    /// Sizes of `backbone = "resnet"`.
    pub resnet: Option<RawResNet>,
}

impl Default for RawModel {
    fn default() -> Self {
        let anchors = crate::anchors::AnchorConfig::default();
        Self {
            backbone: "resnet50".into(),
            conventions: "legacy".into(),
            body: None,
            norm: None,
            norm_eps: None,
            frozen: None,
            pretrained: None,
            channels: 256,
            anchor_sizes: anchors.sizes,
            anchor_ratios: anchors.ratios,
            rpn: RpnConfig::default(),
            roi: RawRoi::default(),
            resnet: None,
        }
    }
}

/// The region head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawRoi {
    /// Width of the two hidden layers.
    pub hidden: usize,
    /// Bins of a region in each direction.
    pub resolution: usize,
    /// Samples of a bin in each direction; 0 takes as many as it has pixels of the map.
    pub sampling_ratio: usize,
    /// Which proposals learn what.
    #[serde(deserialize_with = "crate::config::partial::region_matcher")]
    pub matcher: Matcher,
    /// How many of them learn.
    #[serde(deserialize_with = "crate::config::partial::region_sampler")]
    pub sampler: BalancedSampler,
    /// Where the loss of the offsets turns from quadratic to linear; absent: 1 with the conventions
    /// `legacy`, 1/9 with `modern`.
    pub smooth_l1_beta: Option<f64>,
}

impl Default for RawRoi {
    fn default() -> Self {
        let paper = RoiConfig::default();
        Self {
            hidden: paper.hidden,
            resolution: paper.resolution,
            sampling_ratio: paper.sampling_ratio,
            matcher: paper.matcher,
            sampler: paper.sampler,
            smooth_l1_beta: None,
        }
    }
}

/// A ResNet of any size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawResNet {
    /// `basic` or `bottleneck`.
    pub block: String,
    /// Blocks of each of the four stages.
    pub depths: Vec<usize>,
    /// Channels of the stem.
    pub stem: usize,
    /// Channels of the first stage; every stage has twice as many as the one before.
    pub width: usize,
}

impl Default for RawResNet {
    fn default() -> Self {
        Self {
            block: "basic".into(),
            depths: vec![1, 1, 1, 1],
            stem: 16,
            width: 16,
        }
    }
}

/// Where the images come from and how they become batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawData {
    /// Annotated images of the source domain.
    pub source: RawSet,
    /// Images of the target domain; annotations, if there are any, never reach training (but for
    /// `method.kind = "oracle"`). `source_only` without `mask` needs none.
    pub target: Option<RawSet>,
    /// Annotated images that evaluation reports on.
    pub test: Option<RawSet>,
    /// Names of the classes in the order of their labels; objects of other classes are left out.
    /// Training writes those of the source here where there are none; `voc` needs them.
    pub classes: Vec<String>,
    /// Lengths of the shorter side of an image, of which every training image draws one; evaluation
    /// takes the first.
    pub min_sizes: Vec<u32>,
    /// Bound of the longer side; 0: none.
    pub max_size: u32,
    /// Probability of mirroring a training image.
    pub flip: f64,
    /// Order of the colours that the network sees: `bgr` (Detectron's weights) or `rgb`
    /// (torchvision's).
    pub colors: String,
    /// Means of the colours, 0 to 255, in that order.
    pub mean: [f32; 3],
    /// Standard deviations of the colours, in that order.
    pub std: [f32; 3],
    /// Images are padded to sides that are multiples of this, at least 32.
    pub divisor: u32,
    /// Whether a batch holds only wide or only high images.
    pub group_by_aspect: bool,
    /// Train on those source images alone that have an object worth training on.
    pub source_usable_only: bool,
    /// Choose the target's training images in the same way, as the published code does: by
    /// annotations that a true target does not have.
    pub target_usable_only: bool,
    /// How images are read and batches are made.
    #[serde(flatten)]
    pub loading: LoadingOptions,
}

impl Default for RawData {
    fn default() -> Self {
        Self {
            source: RawSet::default(),
            target: None,
            test: None,
            classes: Vec::new(),
            min_sizes: vec![800],
            max_size: 1600,
            flip: 0.5,
            colors: "bgr".into(),
            mean: [102.9801, 115.9465, 122.7717],
            std: [1.0; 3],
            divisor: 32,
            group_by_aspect: true,
            source_usable_only: true,
            target_usable_only: false,
            loading: LoadingOptions::default(),
        }
    }
}

/// One set of images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawSet {
    /// `scenes` (built-in street scenes), `cityscapes`, `foggy_cityscapes`, `catalogue` (the published code's name for a set), `coco`,
    /// `voc`, or, for the target only, `images` (files without annotations).
    pub kind: String,
    /// Folder: of all data sets (`cityscapes`, `foggy_cityscapes`, `catalogue`), of the set (`voc`),
    /// or of the images (`images`).
    pub root: Option<String>,
    /// `scenes`, `cityscapes`, `foggy_cityscapes`: `train`, `val` or `test`, absent: `train`. `voc`: a list in
    /// `ImageSets/Main`, absent: all annotated images.
    pub split: Option<String>,
    /// `catalogue`: such as `sim10k_cocostyle`.
    pub name: Option<String>,
    /// `coco`: folder of the images.
    pub images: Option<String>,
    /// `coco`: the annotation file.
    pub annotations: Option<String>,
    /// `voc`: what becomes of difficult objects: `ignore`, `drop` or `keep`; absent: `ignore`.
    pub difficult: Option<String>,
    /// `voc`: coordinate of the first pixel; absent: 1.
    pub origin: Option<u32>,
    /// `images`: the end of the file names; absent: `.jpg`.
    pub suffix: Option<String>,
    /// `scenes`: number of images.
    pub count: Option<usize>,
    /// `scenes`: `[width, height]`; absent: `[256, 128]`.
    pub size: Option<[u32; 2]>,
    /// `scenes`: seed of the set (apart from the run's seed).
    pub scene_seed: u64,
    /// `scenes`: attenuation of the fog by metre, such as 0.06; absent or 0: clear.
    pub fog: Option<f32>,
    /// `scenes`: things with a shorter side in pixels have no box; absent: 6.
    pub min_box: Option<u32>,
}

/// How the network is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawMethod {
    /// `source_only`; `sada` (domain heads on the source and the target); or `oracle` (supervised on
    /// the target's annotations: what adaptation could reach at best).
    pub kind: String,
}

impl Default for RawMethod {
    fn default() -> Self {
        Self {
            kind: "sada".into(),
        }
    }
}

/// Masked image consistency (MIC, sec. 3.2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawMask {
    /// Side of a square mask block in pixels.
    pub block: usize,
    /// Share of hidden blocks, 0 to 1.
    pub ratio: f64,
    /// Momentum of the teacher.
    pub alpha: f64,
    /// Detections of the teacher with at least this score become objects.
    pub threshold: f64,
    /// Factor of the masked losses of class and objectness; boxes do not learn from them.
    pub lambda: f64,
    /// Weight of a region in these losses: `prob` (the student's own probability) or `none` (1).
    pub weight: String,
    /// Whether masked images are blurred. The published code draws once a run whether to blur and
    /// whether to change colours; with its default seed it blurs and leaves colours alone.
    pub blur: bool,
}

impl Default for RawMask {
    fn default() -> Self {
        Self {
            block: 32,
            ratio: 0.5,
            alpha: 0.9,
            threshold: 0.8,
            lambda: 1.0,
            weight: "prob".into(),
            blur: true,
        }
    }
}

/// Stochastic gradient descent with a warm-up and steps. Biases do not decay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawOptimizer {
    /// Learning rate of weights.
    pub lr: f64,
    /// Learning-rate factor of biases.
    pub bias_lr_mult: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Momentum.
    pub momentum: f64,
    /// Iterations from which the learning rate is lower by another factor `gamma`.
    pub milestones: Vec<usize>,
    /// That factor.
    pub gamma: f64,
    /// Iterations of the warm-up, which is linear; 0 for none.
    pub warmup_iters: usize,
    /// Where the warm-up begins, as a part of the full rate.
    pub warmup_factor: f64,
}

impl Default for RawOptimizer {
    fn default() -> Self {
        let paper = crate::uda::SgdOptions::default();
        Self {
            lr: paper.lr,
            bias_lr_mult: paper.bias_lr_mult,
            weight_decay: paper.weight_decay,
            momentum: paper.momentum,
            milestones: paper.schedule.milestones,
            gamma: paper.schedule.gamma,
            warmup_iters: paper.schedule.warmup_iters,
            warmup_factor: paper.schedule.warmup_factor,
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
    /// The measure that the best checkpoint is chosen by: `AP50` or `AP`.
    pub select: String,
    /// The network that is evaluated and kept: `student` (published code) or `teacher` (needs
    /// `mask`).
    pub evaluate: String,
    /// Whether the backbone's activations are computed again in the backward pass: less memory, more
    /// time, the same numbers.
    pub recompute: bool,
    /// A checkpoint to start from (weights only).
    pub init_from: Option<String>,
}

impl Default for RawTrain {
    fn default() -> Self {
        Self {
            iterations: 60_000,
            batch: 1,
            eval_every: 10_000,
            select: "AP50".into(),
            evaluate: "student".into(),
            recompute: false,
            init_from: None,
        }
    }
}

/// From predictions to detections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawInference {
    /// Detections need a higher score.
    pub score: f64,
    /// Overlap above which the lower-scored detection of a class is dropped.
    pub nms: f64,
    /// Detections of an image at most.
    pub detections: usize,
}

impl Default for RawInference {
    fn default() -> Self {
        let paper = RoiConfig::default();
        Self {
            score: paper.score,
            nms: paper.nms,
            detections: paper.detections,
        }
    }
}
