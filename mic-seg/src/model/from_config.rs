//! The network that a configuration names.

use mic_nn::models::mit::{MitConfig, Stem};

use super::{DaformerHeadConfig, SegmentorConfig};
use crate::Result;
use crate::config::{self, Backbone, Config};

impl SegmentorConfig {
    /// The network of a checked configuration.
    ///
    /// # Errors
    /// A backbone that cannot be built.
    pub fn of(config: &Config) -> Result<Self> {
        let model = &config.model;
        let mut backbone = match &model.backbone {
            Backbone::Mit(number) => MitConfig::variant(usize::from(*number))?,
            Backbone::Mini => mini(),
            Backbone::Custom(custom) => MitConfig {
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
            },
        };
        backbone.drop_path_rate = model.drop_path;
        backbone.check()?;
        let head = DaformerHeadConfig {
            in_channels: backbone.embed_dims.clone(),
            embed: model.head_channels,
            channels: model.head_channels,
            dilations: model.dilations.clone(),
            dropout: model.dropout,
            classes: config.classes.len(),
        };
        Ok(Self { backbone, head })
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
