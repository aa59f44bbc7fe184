//! SegFormer head: every level embedded linearly, resized to the finest one, fused by a 1x1
//! convolution (SegFormer, sec. 3.2), concatenated in the order of the levels.

use candle_core::{Result, Tensor};
use mic_nn::forward::Forward;
use mic_nn::init::Init;
use mic_nn::layers::{Conv2d, Conv2dConfig, Dropout2d};
use mic_nn::params::Scope;

use super::conv_module::{ConvModule, classifier};
use super::head::{check_levels, concatenate};
use super::layer::Embedding;

/// Shape of a [`SegformerHead`].
#[derive(Clone, Debug, PartialEq)]
pub struct SegformerHeadConfig {
    /// Channels of each level of the backbone.
    pub in_channels: Vec<usize>,
    /// Width of every level's embedding and of the fusion: 256 for B0 and B1, 768 for the others.
    pub embed: usize,
    /// Channels of a classifier that the published checkpoints have and nothing uses.
    pub unused: usize,
    /// Drop probability of a channel before the classifier.
    pub dropout: f64,
    /// Number of classes.
    pub classes: usize,
}

impl SegformerHeadConfig {
    /// The published head: 768 channels, dropout 0.1.
    pub fn new(in_channels: &[usize], classes: usize) -> Self {
        Self {
            in_channels: in_channels.to_vec(),
            embed: 768,
            unused: 128,
            dropout: 0.1,
            classes,
        }
    }
}

/// The head: levels (B, C_i, H_i, W_i) to logits (B, classes, H_0, W_0).
pub struct SegformerHead {
    embeddings: Vec<Embedding>,
    fusion: ConvModule,
    dropout: Dropout2d,
    classifier: Conv2d,
}

impl SegformerHead {
    /// Declares the head's parameters below `scope`, named as in the published checkpoints. The
    /// `conv_seg` among them is in those and never gets a gradient.
    pub fn new(config: &SegformerHeadConfig, scope: &Scope) -> Result<Self> {
        let embed = config.embed;
        classifier(&scope.sub("conv_seg"), config.unused, config.classes)?;
        let embeddings = config.in_channels.iter().enumerate().map(|(i, &inputs)| {
            Embedding::new(&scope.sub("linear_c").sub(i).sub("proj"), inputs, embed)
        });
        let embeddings = embeddings.collect::<Result<Vec<_>>>()?;
        let fused = embed * embeddings.len();
        let init = Init::torch_default(embed);
        let prediction = Conv2dConfig {
            bias: Some(init),
            ..Conv2dConfig::same(1, init)
        };
        let (fuse, predict) = (scope.sub("linear_fuse"), scope.sub("linear_pred"));
        Ok(Self {
            embeddings,
            fusion: ConvModule::square(&fuse, fused, embed, (1, 1))?,
            dropout: Dropout2d::new(scope.sub("dropout").path(), config.dropout),
            classifier: Conv2d::new(&predict, embed, config.classes, &prediction)?,
        })
    }

    /// Logits at the finest level's size.
    pub fn forward(&self, features: &[Tensor], mode: &Forward) -> Result<Tensor> {
        check_levels(features, self.embeddings.len())?;
        let embedded = self.embeddings.iter().zip(features);
        let embedded = embedded
            .map(|(embed, x)| embed.forward(x))
            .collect::<Result<Vec<_>>>()?;
        let fused = concatenate(&embedded)?;
        // Without a graph they are free now: the fusion needs the most memory.
        drop(embedded);
        let x = self.fusion.forward(&fused, mode)?;
        self.classifier.forward(&self.dropout.forward(&x, mode)?)
    }
}
