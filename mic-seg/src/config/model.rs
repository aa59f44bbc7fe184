//! The network's shape.

use std::path::PathBuf;

use mic_nn::models::vit::VitSize;

use super::layer::{self, Inherited};
use super::raw::{RawHrda, RawLayer, RawMit, RawModel};
use crate::Result;
use crate::model::{
    AsppConfig, DetailCrop, DetailFeatures, HrdaConfig, LayerConfig, ScaleAttention,
};
use mic_run::config::check::{
    at_least_one, below_one, one_of, positive, refuse, required, share, size,
};

/// The network.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The backbone.
    pub backbone: Backbone,
    /// The head.
    pub head: Head,
    /// Channels of the head and of its per-level embeddings, at least 1.
    pub head_channels: usize,
    /// Channel dropout before the classifier, 0 to below 1.
    pub dropout: f64,
    /// Largest stochastic-depth rate of the backbone, 0 to below 1.
    pub drop_path: f64,
    /// Whether the backbone's blocks are computed again in the backward pass.
    pub recompute: bool,
    /// Detail and context at once.
    pub hrda: Option<HrdaConfig>,
    /// Backbone weights to start from.
    pub pretrained: Option<PathBuf>,
}

/// The backbone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backbone {
    /// A published Mix Transformer, MiT-B0 to MiT-B5, by its number.
    Mit(u8),
    /// The small one for small images.
    Mini,
    /// One of a given shape.
    Custom(CustomMit),
    /// A published ResNet-V1c by its number of layers.
    Resnet(usize),
    /// One of a given shape.
    CustomResnet(CustomResnet),
    /// A published DINOv2 by its size and number of registers.
    Dinov2(VitSize, usize),
    /// A vision transformer of a given shape.
    CustomVit(CustomVit),
}

/// The head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// DAFormer's.
    Daformer {
        /// Embedding of every level but the last.
        embedding: LayerConfig,
        /// Embedding of the last level.
        last_embedding: LayerConfig,
        /// Fusion of the embeddings.
        fusion: LayerConfig,
        /// How many times a SegFormer adapter enlarges the last level.
        adapter: Option<usize>,
    },
    /// SegFormer's.
    Segformer,
    /// DeepLabV2's.
    Deeplab {
        /// Dilation of each convolution, at least one, each at least 1.
        dilations: Vec<usize>,
    },
    /// Batch norm and a 1x1 convolution.
    Linear,
}

/// Shape of a custom ResNet-V1c; all lists have one entry a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomResnet {
    /// Blocks.
    pub depths: Vec<usize>,
    /// Channels behind the stem.
    pub stem_channels: usize,
    /// Channels of the 3x3 convolutions of the first stage.
    pub width: usize,
    /// Strides.
    pub strides: Vec<usize>,
    /// Dilations.
    pub dilations: Vec<usize>,
}

/// Shape of a custom vision transformer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomVit {
    /// Channels.
    pub dim: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Side of the images of the position embeddings in pixels.
    pub image_size: usize,
    /// Register tokens.
    pub registers: usize,
}

/// Shape of a custom Mix Transformer; all lists have one entry a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomMit {
    /// Channels.
    pub embed_dims: Vec<usize>,
    /// Blocks.
    pub depths: Vec<usize>,
    /// Attention heads; they divide the channels.
    pub num_heads: Vec<usize>,
    /// Spatial reduction of the keys.
    pub sr_ratios: Vec<usize>,
    /// How pixels become tokens.
    pub stem: Stem,
}

/// How pixels become tokens; both have stride 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stem {
    /// One overlapping 7 x 7 convolution (the published one).
    Overlap,
    /// Two 3 x 3 convolutions of stride 2, for small images.
    Conv,
}

const STEMS: [(&str, Stem); 2] = [("overlap", Stem::Overlap), ("conv", Stem::Conv)];

#[derive(Clone, Copy)]
enum Kind {
    Daformer,
    Segformer,
    Deeplab,
    Linear,
}

const HEADS: [(&str, Kind); 4] = [
    ("daformer", Kind::Daformer),
    ("segformer", Kind::Segformer),
    ("deeplabv2", Kind::Deeplab),
    ("linear", Kind::Linear),
];

impl ModelConfig {
    pub(super) fn check(raw: &RawModel) -> Result<Self> {
        let head_channels = at_least_one("model.head_channels", raw.head_channels as u64)? as usize;
        if let Some(dilations) = &raw.dilations
            && (dilations.is_empty() || dilations.contains(&0))
        {
            let expected = "at least one dilation, each at least 1";
            return refuse("model.dilations", format!("{dilations:?}"), expected);
        }
        let hrda = raw.hrda.as_ref();
        Ok(Self {
            backbone: Backbone::check(raw)?,
            head: Head::check(raw)?,
            head_channels,
            dropout: below_one("model.dropout", raw.dropout)?,
            drop_path: below_one("model.drop_path", raw.drop_path)?,
            recompute: raw.recompute,
            hrda: hrda
                .map(|hrda| self::hrda(hrda, head_channels))
                .transpose()?,
            pretrained: raw.pretrained.as_ref().map(PathBuf::from),
        })
    }
}

impl Backbone {
    fn check(raw: &RawModel) -> Result<Self> {
        let dinov2 = |size, registers| Some(Self::Dinov2(size, registers));
        let backbones = [
            ("mit_b0", Some(Self::Mit(0))),
            ("mit_b1", Some(Self::Mit(1))),
            ("mit_b2", Some(Self::Mit(2))),
            ("mit_b3", Some(Self::Mit(3))),
            ("mit_b4", Some(Self::Mit(4))),
            ("mit_b5", Some(Self::Mit(5))),
            ("mit_mini", Some(Self::Mini)),
            ("custom", None),
            ("resnet50_v1c", Some(Self::Resnet(50))),
            ("resnet101_v1c", Some(Self::Resnet(101))),
            ("custom_resnet", None),
            ("dinov2_s", dinov2(VitSize::Small, 0)),
            ("dinov2_b", dinov2(VitSize::Base, 0)),
            ("dinov2_l", dinov2(VitSize::Large, 0)),
            ("dinov2_s_reg4", dinov2(VitSize::Small, 4)),
            ("dinov2_b_reg4", dinov2(VitSize::Base, 4)),
            ("dinov2_l_reg4", dinov2(VitSize::Large, 4)),
            ("custom_vit", None),
        ];
        if let Some(published) = one_of("model.backbone", &raw.backbone, &backbones)? {
            return Ok(published);
        }
        let why = format!(
            "model.backbone = {:?} needs the table with its widths and depths",
            raw.backbone
        );
        match raw.backbone.as_str() {
            "custom_resnet" => {
                let raw = required("model.resnet", raw.resnet.as_ref(), &why)?;
                Ok(Self::CustomResnet(CustomResnet {
                    depths: raw.depths.clone(),
                    stem_channels: raw.stem_channels,
                    width: raw.width,
                    strides: raw.strides.clone(),
                    dilations: raw.dilations.clone(),
                }))
            }
            "custom_vit" => {
                let raw = required("model.vit", raw.vit.as_ref(), &why)?;
                Ok(Self::CustomVit(CustomVit {
                    dim: raw.dim,
                    depth: raw.depth,
                    heads: raw.heads,
                    patch: raw.patch,
                    image_size: raw.image_size,
                    registers: raw.registers,
                }))
            }
            _ => CustomMit::check(required("model.mit", raw.mit.as_ref(), &why)?).map(Self::Custom),
        }
    }
}

impl Head {
    fn check(raw: &RawModel) -> Result<Self> {
        match one_of("model.head", &raw.head, &HEADS)? {
            Kind::Segformer => Ok(Self::Segformer),
            Kind::Linear => Ok(Self::Linear),
            Kind::Deeplab => Ok(Self::Deeplab {
                dilations: raw.dilations.clone().unwrap_or_else(|| vec![6, 12]),
            }),
            Kind::Daformer => Self::daformer(raw),
        }
    }

    fn daformer(raw: &RawModel) -> Result<Self> {
        let dilations = raw.dilations.clone();
        let dilations = dilations.unwrap_or_else(|| vec![1, 6, 12, 18]);
        let inherited = Inherited {
            dilations: &dilations,
            channels: raw.head_channels,
        };
        let layer = |key: &str, raw: &RawLayer| layer::check(key, raw, &inherited);
        let adapter = match raw.adapter {
            Some(scale) => Some(at_least_one("model.adapter", scale as u64)? as usize),
            None => None,
        };
        let embedding = layer("model.embedding", &raw.embedding)?;
        let last = raw.last_embedding.as_ref();
        let last = last.map(|raw| layer("model.last_embedding", raw));
        let last = last.transpose()?;
        if raw.fusion == RawLayer::Name("sepaspp_bottleneck".into()) {
            let bottleneck = LayerConfig::ConvAspp {
                kernel: 1,
                aspp: AsppConfig {
                    dilations: dilations.clone(),
                    separable: true,
                    pool: false,
                },
            };
            return Ok(Self::Daformer {
                embedding,
                last_embedding: last.unwrap_or(bottleneck),
                fusion: LayerConfig::Conv { kernel: 1 },
                adapter: adapter.or(Some(8)),
            });
        }
        Ok(Self::Daformer {
            last_embedding: last.unwrap_or_else(|| embedding.clone()),
            embedding,
            fusion: layer("model.fusion", &raw.fusion)?,
            adapter,
        })
    }
}

fn hrda(raw: &RawHrda, head_channels: usize) -> Result<HrdaConfig> {
    let (width, height) = size("model.hrda.crop", raw.crop)?;
    let learned = [
        ("classwise", ScaleAttention::ClassWise),
        ("single", ScaleAttention::Single),
    ];
    let learned = one_of("model.hrda.attention", &raw.attention, &learned)?;
    let attention = match raw.fixed_attention {
        Some(value) => ScaleAttention::Fixed(share("model.hrda.fixed_attention", value)?),
        None => learned,
    };
    let channels = raw.attention_channels.unwrap_or(head_channels);
    let features = [
        ("context", DetailFeatures::Context),
        ("all", DetailFeatures::All),
    ];
    Ok(HrdaConfig {
        crop: DetailCrop {
            size: (height as usize, width as usize),
            divisible: at_least_one("model.hrda.crop_divisible", raw.crop_divisible as u64)?
                as usize,
        },
        context_scale: positive("model.hrda.context_scale", raw.context_scale)?,
        slide: raw.slide,
        overlap: raw.overlap,
        attention,
        attention_channels: at_least_one("model.hrda.attention_channels", channels as u64)?
            as usize,
        detail_loss: share("model.hrda.hr_loss_weight", raw.hr_loss_weight)?,
        context_loss: share("model.hrda.lr_loss_weight", raw.lr_loss_weight)?,
        blur: raw.blur,
        features: one_of("model.hrda.features", &raw.features, &features)?,
    })
}

impl CustomMit {
    fn check(raw: &RawMit) -> Result<Self> {
        let stages = raw.embed_dims.len();
        let lists = [
            ("model.mit.embed_dims", &raw.embed_dims),
            ("model.mit.depths", &raw.depths),
            ("model.mit.num_heads", &raw.num_heads),
            ("model.mit.sr_ratios", &raw.sr_ratios),
        ];
        for (key, list) in lists {
            if !(1..=4).contains(&list.len()) || list.len() != stages || list.contains(&0) {
                let expected = "one whole number of at least 1 for each stage, 1 to 4 stages, \
                                the same number of stages in all lists of model.mit";
                return refuse(key, format!("{list:?}"), expected);
            }
        }
        let mut heads = raw.embed_dims.iter().zip(&raw.num_heads);
        if let Some((channels, heads)) = heads.find(|(c, h)| *c % *h != 0) {
            let expected = format!("divisors of the stages' channels ({channels} is not)");
            return refuse("model.mit.num_heads", heads, expected);
        }
        let stem = one_of("model.mit.stem", &raw.stem, &STEMS)?;
        if stem == Stem::Conv && !raw.embed_dims[0].is_multiple_of(3) {
            let expected = "a multiple of 3 for the first stage, as the conv stem's inner layer \
                            has 2/3 of its channels";
            let found = format!("{:?}", raw.embed_dims);
            return refuse("model.mit.embed_dims", found, expected);
        }
        Ok(Self {
            embed_dims: raw.embed_dims.clone(),
            depths: raw.depths.clone(),
            num_heads: raw.num_heads.clone(),
            sr_ratios: raw.sr_ratios.clone(),
            stem,
        })
    }
}
