//! The network's tables of the configuration file as written.

use serde::{Deserialize, Serialize};

/// The network: any backbone with any head, in one resolution or in two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawModel {
    /// `mit_b0` ... `mit_b5`, `mit_mini`; `resnet50_v1c`, `resnet101_v1c`; `dinov2_s`, `dinov2_b`,
    /// `dinov2_l`, each also with `_reg4`; or `custom`, `custom_resnet`, `custom_vit` (then the
    /// `mit`, `resnet`, `vit` table counts).
    pub backbone: String,
    /// `daformer`, `segformer`, `deeplabv2`, or `linear` (batch norm and a 1x1 convolution).
    pub head: String,
    /// Channels of the head and of its per-level embeddings (DAFormer: 256; SegFormer: 768).
    pub head_channels: usize,
    /// Dilations of the ASPP that `embedding` and `fusion` name, and of `deeplabv2`; absent:
    /// `[1, 6, 12, 18]`, of `deeplabv2` `[6, 12]`.
    pub dilations: Option<Vec<usize>>,
    /// `daformer`: how every level but the last is embedded: `mlp`, `id`, `conv1`, `conv3`,
    /// `sep_conv`, `aspp`, `sepaspp`, `isa`, or a table.
    pub embedding: RawLayer,
    /// `daformer`: how the last level is embedded; absent: as the others.
    pub last_embedding: Option<RawLayer>,
    /// `daformer`: how the embeddings are fused: as `embedding`, or `sepaspp_bottleneck`, which puts
    /// a separable ASPP on the last level, 8 times enlarged, and fuses with `conv1`.
    pub fusion: RawLayer,
    /// `daformer`: a SegFormer adapter that enlarges the last level this many times.
    pub adapter: Option<usize>,
    /// Channel dropout before the classifier; `deeplabv2` has none.
    pub dropout: f64,
    /// Largest stochastic-depth rate of the backbone; a ResNet has none.
    pub drop_path: f64,
    /// Whether the backbone's blocks are computed again in the backward pass: less memory, more time,
    /// the same numbers up to rounding.
    pub recompute: bool,
    /// A safetensors or PyTorch file with backbone weights to start from.
    pub pretrained: Option<String>,
    /// Widths and depths of a `custom` backbone.
    pub mit: Option<RawMit>,
    /// Widths and depths of a `custom_resnet` backbone.
    pub resnet: Option<RawResnet>,
    /// Widths and depths of a `custom_vit` backbone.
    pub vit: Option<RawVit>,
    /// A detail crop in high and the image in low resolution (HRDA); absent: one resolution.
    pub hrda: Option<RawHrda>,
}

impl Default for RawModel {
    fn default() -> Self {
        Self {
            backbone: "mit_b5".into(),
            head: "daformer".into(),
            head_channels: 256,
            dilations: None,
            embedding: RawLayer::Name("mlp".into()),
            last_embedding: None,
            fusion: RawLayer::Name("sepaspp".into()),
            adapter: None,
            dropout: 0.1,
            drop_path: 0.1,
            recompute: false,
            pretrained: None,
            mit: None,
            resnet: None,
            vit: None,
            hrda: None,
        }
    }
}

/// A layer of a DAFormer head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RawLayer {
    /// One of the usual ones.
    Name(String),
    /// One with its options.
    Table(RawLayerTable),
}

/// A layer of a DAFormer head, option by option.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawLayerTable {
    /// `id`, `mlp`, `conv`, `sep_conv`, `aspp`, `rawconv_and_aspp` or `isa`.
    pub kind: String,
    /// `conv`, `sep_conv`, `rawconv_and_aspp`: side of the kernel, odd.
    pub kernel: usize,
    /// `aspp`, `rawconv_and_aspp`: dilations; absent: those of the model.
    pub dilations: Option<Vec<usize>>,
    /// `aspp`, `rawconv_and_aspp`: whether dilated convolutions are separable.
    pub separable: bool,
    /// `aspp`, `rawconv_and_aspp`: whether there is a branch for the mean of the image.
    pub pool: bool,
    /// `isa`: channels of queries and keys; absent: those of the head.
    pub channels: Option<usize>,
    /// `isa`: side of a cell.
    pub cell: usize,
}

impl Default for RawLayerTable {
    fn default() -> Self {
        Self {
            kind: "mlp".into(),
            kernel: 1,
            dilations: None,
            separable: true,
            pool: false,
            channels: None,
            cell: 8,
        }
    }
}

/// A custom MiT.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawMit {
    /// Channels of each stage.
    pub embed_dims: Vec<usize>,
    /// Blocks of each stage.
    pub depths: Vec<usize>,
    /// Attention heads of each stage.
    pub num_heads: Vec<usize>,
    /// Spatial reduction of the keys of each stage.
    pub sr_ratios: Vec<usize>,
    /// `overlap` (the published 7x7 stride 4) or `conv` (two 3x3 stride 2, for small images).
    #[serde(default = "overlap")]
    pub stem: String,
}

fn overlap() -> String {
    "overlap".into()
}

/// A custom ResNet-V1c of bottleneck blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawResnet {
    /// Blocks of each stage.
    pub depths: Vec<usize>,
    /// Channels behind the stem, even.
    pub stem_channels: usize,
    /// Channels of the 3x3 convolutions of the first stage.
    pub width: usize,
    /// Stride of each stage.
    pub strides: Vec<usize>,
    /// Dilation of each stage.
    pub dilations: Vec<usize>,
}

impl Default for RawResnet {
    fn default() -> Self {
        Self {
            depths: vec![3, 4, 6, 3],
            stem_channels: 64,
            width: 64,
            strides: vec![1, 2, 1, 1],
            dilations: vec![1, 1, 2, 4],
        }
    }
}

/// A custom vision transformer of DINOv2's kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawVit {
    /// Channels.
    pub dim: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads; they divide the channels.
    pub heads: usize,
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Side of the images that the position embeddings are for, in pixels.
    pub image_size: usize,
    /// Register tokens.
    pub registers: usize,
}

impl Default for RawVit {
    fn default() -> Self {
        Self {
            dim: 192,
            depth: 12,
            heads: 3,
            patch: 14,
            image_size: 518,
            registers: 0,
        }
    }
}

/// Detail and context at once (HRDA).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawHrda {
    /// `[width, height]` of the detail crop.
    pub crop: [usize; 2],
    /// Corners of training crops lie at multiples of this many pixels.
    pub crop_divisible: usize,
    /// Size of the context as a share of the image.
    pub context_scale: f64,
    /// Whether inference covers the image with detail crops.
    pub slide: bool,
    /// Whether these overlap by half.
    pub overlap: bool,
    /// `classwise` or `single`: one attention map a class, or one for all.
    pub attention: String,
    /// Channels of the attention's head; absent: those of the head.
    pub attention_channels: Option<usize>,
    /// A constant share of the detail in place of a learned attention.
    pub fixed_attention: Option<f64>,
    /// Weight of the detail crop's own loss.
    pub hr_loss_weight: f64,
    /// Weight of the context's own loss.
    pub lr_loss_weight: f64,
    /// Which features the feature distance compares: `context` or `all`.
    pub features: String,
    /// Whether the detail loses its fine detail first (an ablation).
    pub blur: bool,
}

impl Default for RawHrda {
    fn default() -> Self {
        Self {
            crop: [512, 512],
            crop_divisible: 8,
            context_scale: 0.5,
            slide: true,
            overlap: true,
            attention: "classwise".into(),
            attention_channels: None,
            fixed_attention: None,
            hr_loss_weight: 0.1,
            lr_loss_weight: 0.0,
            features: "context".into(),
            blur: false,
        }
    }
}
