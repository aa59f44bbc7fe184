//! The network that a configuration names.

use mic_nn::models::mit::{MitConfig, Stem};
use mic_nn::models::resnet::ResNetConfig;
use mic_nn::models::vit::{VitConfig, VitSize};

use super::{
    BackboneConfig, DaformerHeadConfig, DeeplabHeadConfig, HeadConfig, LinearHeadConfig,
    SegformerHeadConfig, SegmentorConfig, VitBackboneConfig,
};
use crate::Result;
use crate::config::{self, Backbone, Config, CustomMit, CustomVit, Head, ModelConfig};

impl SegmentorConfig {
    /// The network of a checked configuration.
    ///
    /// # Errors
    /// A backbone that cannot be built.
    pub fn of(config: &Config) -> Result<Self> {
        let model = &config.model;
        let backbone = backbone(model)?;
        backbone.check()?;
        let head = head(model, backbone.channels(), config.classes.len());
        Ok(Self {
            backbone,
            head,
            hrda: model.hrda.clone(),
        })
    }
}

fn backbone(model: &ModelConfig) -> Result<BackboneConfig> {
    let mit = |mit: MitConfig| {
        BackboneConfig::Mit(MitConfig {
            drop_path_rate: model.drop_path,
            ..mit
        })
    };
    let vit = |vit: VitConfig| {
        let vit = VitConfig {
            drop_path_rate: model.drop_path,
            ..vit
        };
        BackboneConfig::Vit(match model.head {
            Head::Linear | Head::Deeplab { .. } => VitBackboneConfig::last(vit),
            Head::Daformer { .. } | Head::Segformer => VitBackboneConfig::pyramid(vit),
        })
    };
    Ok(match &model.backbone {
        Backbone::Mit(number) => mit(MitConfig::variant(usize::from(*number))?),
        Backbone::Mini => mit(mini()),
        Backbone::Custom(custom) => mit(custom_mit(custom)),
        Backbone::Resnet(depth) => BackboneConfig::ResNet(ResNetConfig::v1c(*depth)?),
        Backbone::CustomResnet(custom) => BackboneConfig::ResNet(ResNetConfig {
            depths: custom.depths.clone(),
            stem_channels: custom.stem_channels,
            width: custom.width,
            strides: custom.strides.clone(),
            dilations: custom.dilations.clone(),
            ..ResNetConfig::v1c(50)?
        }),
        Backbone::Dinov2(size, registers) => vit(VitConfig::dinov2(*size, *registers)),
        Backbone::CustomVit(custom) => vit(custom_vit(custom)),
    })
}

fn custom_mit(custom: &CustomMit) -> MitConfig {
    MitConfig {
        embed_dims: custom.embed_dims.clone(),
        depths: custom.depths.clone(),
        num_heads: custom.num_heads.clone(),
        sr_ratios: custom.sr_ratios.clone(),
        mlp_ratio: 4,
        drop_path_rate: 0.0,
        stem: match custom.stem {
            config::Stem::Overlap => Stem::Overlap,
            config::Stem::Conv => Stem::Conv,
        },
    }
}

fn custom_vit(custom: &CustomVit) -> VitConfig {
    VitConfig {
        image_size: (custom.image_size, custom.image_size),
        patch: custom.patch,
        dim: custom.dim,
        depth: custom.depth,
        heads: custom.heads,
        ..VitConfig::dinov2(VitSize::Small, custom.registers)
    }
}

fn head(model: &ModelConfig, in_channels: Vec<usize>, classes: usize) -> HeadConfig {
    let (channels, dropout) = (model.head_channels, model.dropout);
    match &model.head {
        Head::Daformer {
            embedding,
            last_embedding,
            fusion,
            adapter,
        } => HeadConfig::Daformer(DaformerHeadConfig {
            in_channels,
            embed: channels,
            channels,
            embedding: embedding.clone(),
            last_embedding: last_embedding.clone(),
            fusion: fusion.clone(),
            adapter: *adapter,
            dropout,
            classes,
        }),
        Head::Segformer => HeadConfig::Segformer(SegformerHeadConfig {
            embed: channels,
            dropout,
            ..SegformerHeadConfig::new(&in_channels, classes)
        }),
        Head::Deeplab { dilations } => HeadConfig::Deeplab(DeeplabHeadConfig {
            in_channels: in_channels.last().copied().unwrap_or(0),
            dilations: dilations.clone(),
            classes,
        }),
        Head::Linear => HeadConfig::Linear(LinearHeadConfig {
            in_channels,
            dropout,
            classes,
        }),
    }
}

/// Three narrow stages for images of about 128x64 pixels.
fn mini() -> MitConfig {
    MitConfig {
        embed_dims: vec![24, 48, 96],
        depths: vec![1, 1, 2],
        num_heads: vec![1, 1, 3],
        sr_ratios: vec![4, 2, 1],
        mlp_ratio: 4,
        drop_path_rate: 0.0,
        stem: Stem::Conv,
    }
}
