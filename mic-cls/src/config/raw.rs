//! The configuration file as written: one TOML table a concept, every key with a default.

use mic_run::RunOptions;
use serde::{Deserialize, Serialize};

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
    /// Length, evaluation, selection.
    pub train: RawTrain,
    /// Checkpoints, records and early ends.
    pub run: RunOptions,
}

/// The network: a backbone, a bottleneck and a linear head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawModel {
    /// `resnet18`, `34`, `50`, `101`, `152`, `resnext50_32x4d`, `resnext101_32x8d`,
    /// `wide_resnet50_2`, `wide_resnet101_2`; `vit_tiny_patch16_224`, `small`, `base`, `large`;
    /// `mae_base_patch16_224`, `mae_large_patch16_224`; `vit_small_patch14_dinov2`, `base`, `large`,
    /// each also as `patch14_reg4_dinov2`; `lenet`; or `resnet` and `vit` with a table of that name.
    pub backbone: String,
    /// What the bottleneck sees: `average` of the map (ResNet), `class` token or `mean` of the
    /// patches (ViT), `none` (LeNet); absent: the backbone's own.
    pub pool: Option<String>,
    /// Features of the bottleneck; 0 for no bottleneck.
    pub bottleneck: usize,
    /// A safetensors or PyTorch file with backbone weights to start from.
    pub pretrained: Option<String>,
    /// Whether ResNets keep the 1000-class layer of their ImageNet weights, which nothing uses but
    /// the published checkpoints have.
    pub keep_fc: bool,
    /// Sizes of `backbone = "resnet"`.
    pub resnet: Option<RawResNet>,
    /// Sizes of `backbone = "vit"`.
    pub vit: Option<RawVit>,
}

impl Default for RawModel {
    fn default() -> Self {
        Self {
            backbone: "vit_base_patch16_224".into(),
            pool: None,
            bottleneck: 256,
            pretrained: None,
            keep_fc: true,
            resnet: None,
            vit: None,
        }
    }
}

/// A ResNet of any size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawResNet {
    /// `basic` or `bottleneck`.
    pub block: String,
    /// Blocks of each stage.
    pub depths: Vec<usize>,
    /// Channels of the first stage.
    pub width: usize,
}

impl Default for RawResNet {
    fn default() -> Self {
        Self {
            block: "basic".into(),
            depths: vec![1, 1, 1, 1],
            width: 16,
        }
    }
}

/// A ViT of any size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawVit {
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Channels.
    pub dim: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads; they divide the channels.
    pub heads: usize,
}

impl Default for RawVit {
    fn default() -> Self {
        Self {
            patch: 16,
            dim: 192,
            depth: 4,
            heads: 3,
        }
    }
}

/// Where the images come from and how they become batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawData {
    /// Labelled images of the source domain.
    pub source: RawSet,
    /// Images of the target domain; labels, if there are any, never reach training. `source_only`
    /// without `mask` needs none.
    pub target: Option<RawSet>,
    /// Labelled images that evaluation reports on.
    pub test: Option<RawSet>,
    /// Names of the classes in the order of their ids. Training writes those of the source here;
    /// where there are some already, the source must have the same.
    pub classes: Vec<String>,
    /// Side of the square images that the network sees.
    pub size: usize,
    /// Side to which images are scaled, whatever their shape, before they are cropped to `size`.
    pub resize: usize,
    /// From `resize` to `size` in training: `random_resized_crop`, `center_crop`, `random_crop`, or
    /// `resize` (scaled to `size` at once, also in evaluation).
    pub crop: String,
    /// Random horizontal flip in training.
    pub flip: bool,
    /// Channel means, 0 to 255, RGB.
    pub mean: [f64; 3],
    /// Channel standard deviations, 0 to 255, RGB.
    pub std: [f64; 3],
    /// Threads that prepare batches; 0 prepares them in the training thread.
    pub loader_threads: usize,
}

impl Default for RawData {
    fn default() -> Self {
        Self {
            source: RawSet::default(),
            target: None,
            test: None,
            classes: Vec::new(),
            size: 224,
            resize: 256,
            crop: "random_resized_crop".into(),
            flip: true,
            mean: [123.675, 116.28, 103.53],
            std: [58.395, 57.12, 57.375],
            loader_threads: 2,
        }
    }
}

/// One set of images.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawSet {
    /// `visda2017`, `office_home`, `domainnet`, `digits` (built in), `folder` (one folder a class),
    /// `list` (a text file with a path and a class id a line), `idx` (MNIST's format) or, for the
    /// target only, `images` (files without classes).
    pub kind: String,
    /// Folder of the data set or of the images; with `list` that of relative paths.
    pub root: Option<String>,
    /// Published sets: one domain or more, such as `["Ar"]`, joined in this order.
    pub domains: Vec<String>,
    /// `domainnet`, `digits`: `train` or `test`; absent: `train`.
    pub split: Option<String>,
    /// `digits`: `mnist` (a sample of it) or `optdigits`.
    pub set: Option<String>,
    /// `list`: the text file.
    pub list: Option<String>,
    /// `list`: names of the classes, in the order of their ids. `folder`: the same, where another
    /// order than the alphabetical one is wanted. `idx`: the same, where they are no digits.
    pub class_names: Vec<String>,
    /// `idx`: the file of images.
    pub images: Option<String>,
    /// `idx`: the file of labels.
    pub labels: Option<String>,
    /// `images`: the end of the file names, such as `.jpg`.
    pub suffix: Option<String>,
}

/// How the network is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawMethod {
    /// `source_only`, `cdan`, `cdan_mcc`, `cdan_sdat` (CDAN with SAM on the source loss) or `sdat`
    /// (CDAN and MCC with SAM on the task losses).
    pub kind: String,
    /// Factor of the target losses where they update the weights.
    pub trade_off: f64,
    /// `cdan_mcc`, `sdat`: temperature of minimum class confusion.
    pub temperature: f64,
    /// `cdan_sdat`, `sdat`: length of the step upwards.
    pub rho: f64,
    /// `cdan_sdat`, `sdat`: whether that step is relative to each weight's magnitude.
    pub adaptive: bool,
    /// `sdat`: whether `trade_off` scales the losses of that step, too (published code: false).
    pub ascent_trade_off: bool,
    /// Whether certain predictions count more for the discriminator (CDAN+E).
    pub entropy: bool,
    /// Width of the discriminator's hidden layers.
    pub discriminator: usize,
    /// How its errors are measured: `probabilities` (published code; certain and wrong answers have
    /// almost no gradient) or `logits`.
    pub discriminator_loss: String,
    /// Width of a randomised map in place of the multilinear one; absent: multilinear.
    pub randomized: Option<usize>,
    /// Gradient reversal rises as `2 / (1 + exp(-alpha step / steps)) - 1`: alpha.
    pub reversal_alpha: f64,
    /// Gradient reversal: steps.
    pub reversal_steps: usize,
    /// Which passes move the running statistics that evaluation uses: `every_pass` (published code:
    /// also those at perturbed weights and on masked images) or `clean_pass`.
    pub running_statistics: String,
}

impl Default for RawMethod {
    fn default() -> Self {
        Self {
            kind: "sdat".into(),
            trade_off: 1.0,
            temperature: 2.0,
            rho: 0.02,
            adaptive: false,
            ascent_trade_off: false,
            entropy: false,
            discriminator: 1024,
            discriminator_loss: "probabilities".into(),
            randomized: None,
            reversal_alpha: 1.0,
            reversal_steps: 1000,
            running_statistics: "every_pass".into(),
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
    /// Bound of the teacher's momentum.
    pub alpha: f64,
    /// Weight of a pseudo-label: `prob` (the teacher's probability) or `none` (1).
    pub pseudo_label_weight: String,
    /// Which losses it enters: `ascent` (published code: only that of SAM's step upwards) or `both`.
    /// Methods without SAM have one loss, and it is weighted.
    pub weighted: String,
    /// The teacher's batch norm: `batch` (published code: statistics of the target batch) or
    /// `running` (the student's running statistics).
    pub teacher_norm: String,
    /// Colour jitter strength of masked images; 0 for none.
    pub color_jitter: f64,
    /// Jitter is applied when a uniform draw exceeds this (0.2: four times out of five).
    pub color_jitter_threshold: f64,
    /// Gaussian blur of masked images, half of the time.
    pub blur: bool,
    /// When jitter and blur are drawn: `run` (published code: once, from the seed, for all steps) or
    /// `step`.
    pub gates: String,
}

impl Default for RawMask {
    fn default() -> Self {
        Self {
            block: 64,
            ratio: 0.7,
            alpha: 0.9,
            pseudo_label_weight: "prob".into(),
            weighted: "ascent".into(),
            teacher_norm: "batch".into(),
            color_jitter: 0.2,
            color_jitter_threshold: 0.2,
            blur: true,
            gates: "run".into(),
        }
    }
}

/// Stochastic gradient descent, learning rate `lr (1 + gamma step)^-power`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawOptimizer {
    /// Learning rate at the start.
    pub lr: f64,
    /// Learning-rate factor of the backbone; absent: 0.1 with pretrained weights, else 1.
    pub backbone_lr_mult: Option<f64>,
    /// Weight decay.
    pub weight_decay: f64,
    /// Whether norms and biases decay, too (published code: true).
    pub decay_all: bool,
    /// Momentum.
    pub momentum: f64,
    /// Whether the momentum looks ahead.
    pub nesterov: bool,
    /// How fast the decay of the learning rate sets in.
    pub gamma: f64,
    /// Power of the decay.
    pub power: f64,
}

impl Default for RawOptimizer {
    fn default() -> Self {
        Self {
            lr: 0.002,
            backbone_lr_mult: None,
            weight_decay: 1e-3,
            decay_all: true,
            momentum: 0.9,
            nesterov: true,
            gamma: 0.001,
            power: 0.75,
        }
    }
}

/// Length and bookkeeping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawTrain {
    /// Iterations.
    pub iterations: u64,
    /// Images of each domain in a batch, at least 2.
    pub batch: usize,
    /// Iterations between evaluations; 0 evaluates at the end only.
    pub eval_every: u64,
    /// The measure that the best checkpoint is chosen by: `top1` or `mean_class`.
    pub select: String,
    /// The network that is evaluated and kept: `student` or `teacher` (needs `mask`).
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
            iterations: 15_000,
            batch: 32,
            eval_every: 1_000,
            select: "top1".into(),
            evaluate: "student".into(),
            recompute: false,
            init_from: None,
        }
    }
}
