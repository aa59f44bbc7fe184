//! Backbone, bottleneck and head.

use candle_core::{DType, Device, Result, Tensor};
use mic_nn::forward::Forward;
use mic_nn::layers::Linear;
use mic_nn::params::{Scope, Store};
use rand::RngCore;

use super::{Backbone, BackboneConfig, BatchNorm1d};

/// Shape of a [`Classifier`].
#[derive(Clone, Debug, PartialEq)]
pub struct ClassifierConfig {
    /// The backbone.
    pub backbone: BackboneConfig,
    /// Features behind the bottleneck (256 in the paper); `None`: the head sees the backbone's
    /// features, as in CDAN's digits protocol.
    pub bottleneck: Option<usize>,
    /// Classes.
    pub classes: usize,
}

impl ClassifierConfig {
    /// Number of features that the head sees.
    pub fn features(&self) -> usize {
        self.bottleneck.unwrap_or(self.backbone.features())
    }
}

/// What one forward pass yields.
#[derive(Clone, Debug)]
pub struct Output {
    /// What the head sees, (B, F).
    pub features: Tensor,
    /// Class scores, (B, K).
    pub logits: Tensor,
}

impl Output {
    /// The images from `start` to before `start + count`.
    ///
    /// # Errors
    /// Fewer images.
    pub fn narrow(&self, start: usize, count: usize) -> Result<Self> {
        Ok(Self {
            features: self.features.narrow(0, start, count)?,
            logits: self.logits.narrow(0, start, count)?,
        })
    }
}

/// An image classifier: backbone, `linear -> batch norm -> relu`, linear head (CDAN, SDAT).
/// Student and teacher are both of this type.
pub struct Classifier {
    backbone: Backbone,
    bottleneck: Option<(Linear, BatchNorm1d)>,
    head: Linear,
}

impl Classifier {
    /// Declares `backbone.*`, `bottleneck.0`, `bottleneck.1` and `head` below `scope`; bottleneck
    /// and head with PyTorch's default initial values.
    ///
    /// # Errors
    /// A backbone that cannot be built.
    pub fn new(config: &ClassifierConfig, scope: &Scope) -> Result<Self> {
        let backbone = Backbone::new(&config.backbone, &scope.sub("backbone"))?;
        let inputs = config.backbone.features();
        let bottleneck = config.bottleneck.map(|outputs| -> Result<_> {
            let scope = scope.sub("bottleneck");
            let linear = Linear::torch_default(&scope.sub(0), inputs, outputs)?;
            Ok((linear, BatchNorm1d::new(&scope.sub(1), outputs)?))
        });
        Ok(Self {
            backbone,
            bottleneck: bottleneck.transpose()?,
            head: Linear::torch_default(&scope.sub("head"), config.features(), config.classes)?,
        })
    }

    /// Features and class scores of an image batch (B, 3, H, W).
    ///
    /// # Errors
    /// Images that do not fit the network; a batch of one with batch statistics.
    pub fn forward(&self, image: &Tensor, mode: &Forward) -> Result<Output> {
        let mut features = self.backbone.forward(image, mode)?;
        if let Some((linear, norm)) = &self.bottleneck {
            features = norm.forward_relu(&linear.forward(&features)?, mode)?;
        }
        let logits = self.head.forward(&features)?;
        Ok(Output { features, logits })
    }
}

/// A classifier with its parameters and buffers.
pub struct Network {
    /// Its shape.
    pub config: ClassifierConfig,
    /// The classifier.
    pub net: Classifier,
    /// Its parameters and buffers.
    pub store: Store,
}

impl Network {
    /// A trainable network with initial values from `rng`.
    ///
    /// # Errors
    /// A configuration that cannot be built.
    pub fn new(config: &ClassifierConfig, rng: impl RngCore + Send + 'static) -> Result<Self> {
        let store = Store::trainable(rng, DType::F32, &Device::Cpu);
        Ok(Self {
            config: config.clone(),
            net: Classifier::new(config, &store.root())?,
            store,
        })
    }

    /// A copy whose parameters record no graph.
    ///
    /// # Errors
    /// When the values cannot be copied.
    pub fn frozen_copy(&self) -> Result<Self> {
        let store = self.store.frozen_copy()?;
        Ok(Self {
            config: self.config.clone(),
            net: Classifier::new(&self.config, &store.root())?,
            store,
        })
    }
}
