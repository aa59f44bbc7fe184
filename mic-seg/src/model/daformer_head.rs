//! DAFormer head: every level embedded to one width, resized to the finest level, concatenated in
//! the order of the levels, fused, classified (DAFormer, sec. 3.2).

use candle_core::{Result, Tensor};
use mic_nn::forward::Forward;
use mic_nn::layers::{Conv2d, Dropout2d};
use mic_nn::params::Scope;

use super::adapter::adapt;
use super::aspp::AsppConfig;
use super::conv_module::classifier;
use super::head::{check_levels, concatenate};
use super::layer::{Layer, LayerConfig};

/// Shape of a [`DaformerHead`].
#[derive(Clone, Debug, PartialEq)]
pub struct DaformerHeadConfig {
    /// Channels of each level of the backbone.
    pub in_channels: Vec<usize>,
    /// Width of every level's embedding.
    pub embed: usize,
    /// Channels of the fusion and of its output.
    pub channels: usize,
    /// The embedding of every level but the last.
    pub embedding: LayerConfig,
    /// The embedding of the last level.
    pub last_embedding: LayerConfig,
    /// The fusion of all embeddings.
    pub fusion: LayerConfig,
    /// Whether a SegFormer adapter puts the last level, enlarged this many times, in its place.
    pub adapter: Option<usize>,
    /// Drop probability of a channel before the classifier.
    pub dropout: f64,
    /// Number of classes.
    pub classes: usize,
}

impl DaformerHeadConfig {
    /// The published head: linear embeddings and a separable ASPP of dilations 1, 6, 12 and 18, 256
    /// channels, dropout 0.1.
    pub fn new(in_channels: &[usize], classes: usize) -> Self {
        Self {
            in_channels: in_channels.to_vec(),
            embed: 256,
            channels: 256,
            embedding: LayerConfig::Mlp,
            last_embedding: LayerConfig::Mlp,
            fusion: separable_aspp(&[1, 6, 12, 18]),
            adapter: None,
            dropout: 0.1,
            classes,
        }
    }
}

/// A separable ASPP of these dilations without pooling: the published fusion.
pub fn separable_aspp(dilations: &[usize]) -> LayerConfig {
    LayerConfig::Aspp(AsppConfig {
        dilations: dilations.to_vec(),
        separable: true,
        pool: false,
    })
}

/// The head: levels (B, C_i, H_i, W_i) to logits (B, classes, H_0, W_0).
pub struct DaformerHead {
    embeddings: Vec<Layer>,
    fusion: Layer,
    dropout: Dropout2d,
    classifier: Conv2d,
    adapter: Option<usize>,
}

impl DaformerHead {
    /// Declares the head's parameters below `scope`, named as in the published checkpoints.
    pub fn new(config: &DaformerHeadConfig, scope: &Scope) -> Result<Self> {
        let (channels, embed) = (config.channels, config.embed);
        let classifier = classifier(&scope.sub("conv_seg"), channels, config.classes)?;
        let levels = config.in_channels.len();
        let mut embeddings = Vec::with_capacity(levels);
        let mut fused = 0;
        for (i, &inputs) in config.in_channels.iter().enumerate() {
            let layer = match i + 1 == levels {
                true => &config.last_embedding,
                false => &config.embedding,
            };
            let scope = scope.sub("embed_layers").sub(i);
            embeddings.push(Layer::new(layer, &scope, inputs, embed)?);
            fused += layer.channels(inputs, embed);
        }
        let outputs = config.fusion.channels(fused, channels);
        if outputs != channels {
            candle_core::bail!(
                "the fusion changes nothing, so that the classifier's {channels} channels have to \
                 be those of all embeddings, {fused}"
            )
        }
        Ok(Self {
            embeddings,
            fusion: Layer::new(&config.fusion, &scope.sub("fuse_layer"), fused, channels)?,
            dropout: Dropout2d::new(scope.sub("dropout").path(), config.dropout),
            classifier,
            adapter: config.adapter,
        })
    }

    /// Logits at the finest level's size.
    pub fn forward(&self, features: &[Tensor], mode: &Forward) -> Result<Tensor> {
        check_levels(features, self.embeddings.len())?;
        let adapted = adapt(features, self.adapter)?;
        let embedded = self.embeddings.iter().zip(&adapted);
        let embedded = embedded
            .map(|(embed, x)| embed.forward(x, mode))
            .collect::<Result<Vec<_>>>()?;
        let fused = concatenate(&embedded)?;
        // Without a graph they are free now: the fusion needs the most memory.
        drop(embedded);
        let x = self.fusion.forward(&fused, mode)?;
        self.classifier.forward(&self.dropout.forward(&x, mode)?)
    }
}
