//! The network's shape.

use std::path::PathBuf;

use mic_nn::models::resnet::{BlockKind, ResNetConfig};
use mic_nn::models::vit::{Pool, VitConfig, VitSize};

use super::raw::{RawModel, RawResNet, RawVit};
use crate::model::{BackboneConfig, LeNetConfig};
use crate::{Error, Result};
use mic_run::config::check::{at_least, one_of, refuse, required};

/// The network.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The backbone, for images of the configuration's size.
    pub backbone: BackboneConfig,
    /// Features of the bottleneck.
    pub bottleneck: Option<usize>,
    /// Backbone weights to start from.
    pub pretrained: Option<PathBuf>,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Depth, channels of a 3x3 convolution as a multiple of the usual, groups.
    ResNet(usize, usize, usize),
    Vit(VitSize),
    Mae(VitSize),
    /// Size and registers.
    DinoV2(VitSize, usize),
    LeNet,
    OwnResNet,
    OwnVit,
}

use VitSize::{Base, Large, Small, Tiny};

const BACKBONES: [(&str, Kind); 24] = [
    ("resnet18", Kind::ResNet(18, 1, 1)),
    ("resnet34", Kind::ResNet(34, 1, 1)),
    ("resnet50", Kind::ResNet(50, 1, 1)),
    ("resnet101", Kind::ResNet(101, 1, 1)),
    ("resnet152", Kind::ResNet(152, 1, 1)),
    ("resnext50_32x4d", Kind::ResNet(50, 2, 32)),
    ("resnext101_32x8d", Kind::ResNet(101, 4, 32)),
    ("wide_resnet50_2", Kind::ResNet(50, 2, 1)),
    ("wide_resnet101_2", Kind::ResNet(101, 2, 1)),
    ("vit_tiny_patch16_224", Kind::Vit(Tiny)),
    ("vit_small_patch16_224", Kind::Vit(Small)),
    ("vit_base_patch16_224", Kind::Vit(Base)),
    ("vit_large_patch16_224", Kind::Vit(Large)),
    ("mae_base_patch16_224", Kind::Mae(Base)),
    ("mae_large_patch16_224", Kind::Mae(Large)),
    ("vit_small_patch14_dinov2", Kind::DinoV2(Small, 0)),
    ("vit_base_patch14_dinov2", Kind::DinoV2(Base, 0)),
    ("vit_large_patch14_dinov2", Kind::DinoV2(Large, 0)),
    ("vit_small_patch14_reg4_dinov2", Kind::DinoV2(Small, 4)),
    ("vit_base_patch14_reg4_dinov2", Kind::DinoV2(Base, 4)),
    ("vit_large_patch14_reg4_dinov2", Kind::DinoV2(Large, 4)),
    ("lenet", Kind::LeNet),
    ("resnet", Kind::OwnResNet),
    ("vit", Kind::OwnVit),
];

/// Classes of the ImageNet weights.
const IMAGENET: usize = 1000;

impl ModelConfig {
    /// For square images of `size` pixels.
    pub(super) fn check(raw: &RawModel, size: usize) -> Result<Self> {
        let mut backbone = match one_of("model.backbone", &raw.backbone, &BACKBONES)? {
            Kind::ResNet(depth, width, groups) => resnet(depth, width, groups)?,
            Kind::Vit(variant) => BackboneConfig::Vit(VitConfig::variant(variant)),
            Kind::Mae(variant) => BackboneConfig::Vit(VitConfig::mae(variant)),
            Kind::DinoV2(variant, registers) => {
                BackboneConfig::Vit(VitConfig::dinov2(variant, registers))
            }
            Kind::LeNet => BackboneConfig::LeNet(LeNetConfig {
                image_size: at_least("data.size", size, 16)?,
                ..LeNetConfig::default()
            }),
            Kind::OwnResNet => {
                let why = "model.backbone = \"resnet\" needs the table with its sizes";
                own_resnet(required("model.resnet", raw.resnet.as_ref(), why)?)?
            }
            Kind::OwnVit => {
                let why = "model.backbone = \"vit\" needs the table with its sizes";
                own_vit(required("model.vit", raw.vit.as_ref(), why)?)?
            }
        };
        pool(raw, &mut backbone)?;
        match &mut backbone {
            BackboneConfig::ResNet(config) => config.classes = raw.keep_fc.then_some(IMAGENET),
            BackboneConfig::Vit(config) => {
                config.image_size = (size, size);
                if !size.is_multiple_of(config.patch) {
                    let expected = format!(
                        "a multiple of the patches of {} ({} pixels)",
                        raw.backbone, config.patch
                    );
                    return refuse("data.size", size, expected);
                }
                let fits = config.check();
                fits.map_err(|error| Error::Config(format!("model.vit: {error}")))?;
            }
            BackboneConfig::LeNet(_) | BackboneConfig::Linear { .. } => {}
        }
        Ok(Self {
            backbone,
            bottleneck: (raw.bottleneck > 0).then_some(raw.bottleneck),
            pretrained: raw.pretrained.as_ref().map(PathBuf::from),
        })
    }
}

/// Torchvision's, with 3x3 convolutions `width` times as wide: ResNeXt and wide ResNets.
fn resnet(depth: usize, width: usize, groups: usize) -> Result<BackboneConfig> {
    let config = ResNetConfig::torchvision(depth)?;
    Ok(BackboneConfig::ResNet(ResNetConfig {
        width: config.width * width,
        expansion: config.expansion / width,
        groups,
        ..config
    }))
}

fn own_resnet(raw: &RawResNet) -> Result<BackboneConfig> {
    let stages = raw.depths.len();
    if !(1..=8).contains(&stages) || raw.depths.contains(&0) {
        let expected = "the number of blocks, at least 1, of each of 1 to 8 stages";
        return refuse("model.resnet.depths", format!("{:?}", raw.depths), expected);
    }
    let blocks = [
        ("basic", (BlockKind::Basic, 1)),
        ("bottleneck", (BlockKind::Bottleneck, 4)),
    ];
    let (block, expansion) = one_of("model.resnet.block", &raw.block, &blocks)?;
    let width = at_least("model.resnet.width", raw.width, 1)?;
    let strides = (0..stages).map(|stage| if stage == 0 { 1 } else { 2 });
    Ok(BackboneConfig::ResNet(ResNetConfig {
        block,
        depths: raw.depths.clone(),
        stem_channels: width,
        width,
        expansion,
        strides: strides.collect(),
        dilations: vec![1; stages],
        ..ResNetConfig::torchvision(50)?
    }))
}

fn own_vit(raw: &RawVit) -> Result<BackboneConfig> {
    Ok(BackboneConfig::Vit(VitConfig {
        patch: at_least("model.vit.patch", raw.patch, 1)?,
        dim: raw.dim,
        depth: raw.depth,
        heads: raw.heads,
        ..VitConfig::variant(Base)
    }))
}

/// Checks `model.pool` against the backbone; a ViT can be pooled either way.
fn pool(raw: &RawModel, backbone: &mut BackboneConfig) -> Result<()> {
    const KEY: &str = "model.pool";
    let Some(word) = &raw.pool else {
        return Ok(());
    };
    let found = format!("{word:?}");
    match backbone {
        BackboneConfig::Vit(config) => {
            let pools = [("class", Pool::Class), ("mean", Pool::Mean)];
            config.pool = one_of(KEY, word, &pools)?;
        }
        BackboneConfig::ResNet(_) if word != "average" => {
            let expected = "\"average\", as a ResNet ends in a map";
            return refuse(KEY, found, expected);
        }
        BackboneConfig::LeNet(_) | BackboneConfig::Linear { .. } if word != "none" => {
            let expected = "\"none\", as this backbone ends in a vector";
            return refuse(KEY, found, expected);
        }
        _ => {}
    }
    Ok(())
}
