//! Backbone and head together.

use candle_core::{Result, Tensor};
use mic_nn::forward::Forward;
use mic_nn::ops;
use mic_nn::params::Scope;

use super::hrda::Hrda;
use super::{Backbone, BackboneConfig, CropBox, Detail, Head, HeadConfig, HrdaConfig};

/// Shape of a [`Segmentor`].
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentorConfig {
    /// The backbone.
    pub backbone: BackboneConfig,
    /// The head.
    pub head: HeadConfig,
    /// Detail and context at once; `None` for one resolution.
    pub hrda: Option<HrdaConfig>,
}

impl SegmentorConfig {
    /// A network of one resolution.
    pub fn new(backbone: impl Into<BackboneConfig>, head: impl Into<HeadConfig>) -> Self {
        Self {
            backbone: backbone.into(),
            head: head.into(),
            hrda: None,
        }
    }

    /// The same network over two resolutions.
    pub fn with_hrda(self, hrda: HrdaConfig) -> Self {
        Self {
            hrda: Some(hrda),
            ..self
        }
    }

    /// Pixels between neighbouring logits of the head.
    pub fn stride(&self) -> f64 {
        let strides = self.backbone.strides();
        let stride = match self.head.on_last_level() {
            true => strides.last(),
            false => strides.first(),
        };
        stride.copied().unwrap_or(1.0)
    }

    /// Checks that the options fit together.
    ///
    /// # Errors
    /// Names the option that does not fit.
    pub fn check(&self) -> Result<()> {
        self.backbone.check()?;
        match &self.hrda {
            Some(hrda) => hrda.check(self.stride()),
            None => Ok(()),
        }
    }
}

/// What one forward pass yields.
pub struct Output {
    /// Maps of the backbone's stages, finest first; with HRDA those of the context.
    pub features: Vec<Tensor>,
    /// Logits (B, classes, h, w): DAFormer's at a quarter of the image's size.
    pub logits: Tensor,
    /// What a training pass of HRDA yields about its detail crop.
    pub detail: Option<Detail>,
}

#[allow(clippy::large_enum_variant)] // one a network: its size is nothing beside its tensors
enum Decoder {
    Plain(Head),
    Hrda(Box<Hrda>),
}

/// An encoder-decoder segmentation network. Student and teacher are both of this type.
pub struct Segmentor {
    backbone: Backbone,
    decoder: Decoder,
}

impl Segmentor {
    /// Declares `backbone.*` and `decode_head.*` below `scope`.
    pub fn new(config: &SegmentorConfig, scope: &Scope) -> Result<Self> {
        config.check()?;
        let backbone = Backbone::new(&config.backbone, &scope.sub("backbone"))?;
        let scope = scope.sub("decode_head");
        let decoder = match &config.hrda {
            Some(hrda) => Decoder::Hrda(Box::new(Hrda::new(hrda, config, &scope)?)),
            None => Decoder::Plain(Head::new(&config.head, &scope)?),
        };
        Ok(Self { backbone, decoder })
    }

    /// The options of HRDA, if the network has it.
    pub fn hrda(&self) -> Option<&HrdaConfig> {
        match &self.decoder {
            Decoder::Plain(_) => None,
            Decoder::Hrda(hrda) => Some(hrda.config()),
        }
    }

    /// The same network with a constant share of HRDA's detail in place of its attention: 0 shows
    /// what the context predicts, 1 what the detail does. Others stay as they are.
    pub fn with_detail_share(mut self, share: f64) -> Self {
        if let Decoder::Hrda(hrda) = &mut self.decoder {
            hrda.fix_attention(share);
        }
        self
    }

    /// Features and low-resolution logits of an image batch (B, 3, H, W), as for predictions: HRDA
    /// covers the whole image with detail crops. That has no gradient; train with
    /// [`forward_train`](Self::forward_train).
    ///
    /// # Errors
    /// When the image does not fit.
    pub fn forward(&self, image: &Tensor, mode: &Forward) -> Result<Output> {
        match &self.decoder {
            Decoder::Plain(head) => self.plain(head, image, mode),
            Decoder::Hrda(hrda) => hrda.predict(&self.backbone, image, mode),
        }
    }

    /// The same as in training: HRDA sees one detail crop, which is the same for the whole batch.
    /// Other networks need none.
    ///
    /// # Errors
    /// When the image does not fit, or HRDA gets no crop.
    pub fn forward_train(
        &self,
        image: &Tensor,
        crop: Option<&CropBox>,
        mode: &Forward,
    ) -> Result<Output> {
        match (&self.decoder, crop) {
            (Decoder::Plain(head), _) => self.plain(head, image, mode),
            (Decoder::Hrda(hrda), Some(crop)) => hrda.train(&self.backbone, image, crop, mode),
            (Decoder::Hrda(_), None) => {
                candle_core::bail!("HRDA trains on a detail crop, got none")
            }
        }
    }

    fn plain(&self, head: &Head, image: &Tensor, mode: &Forward) -> Result<Output> {
        let features = self.backbone.forward(image, mode)?;
        let logits = head.forward(&features, mode)?;
        Ok(Output {
            features,
            logits,
            detail: None,
        })
    }

    /// Views of an image batch (B, 3, H, W) as the backbone sees them for the features that stand
    /// for the network, and the part of the image that each one shows (`None` for all of it).
    ///
    /// # Errors
    /// When the image does not fit.
    pub fn feature_views(
        &self,
        image: &Tensor,
        crop: Option<&CropBox>,
    ) -> Result<Vec<(Tensor, Option<CropBox>)>> {
        let Decoder::Hrda(hrda) = &self.decoder else {
            return Ok(vec![(image.clone(), None)]);
        };
        let context = hrda.scaled(image, hrda.config().context_scale)?;
        let mut views = vec![(context, None)];
        if let (super::DetailFeatures::All, Some(crop)) = (hrda.config().features, crop) {
            views.push((crop.of(&hrda.scaled(image, 1.0)?)?, Some(*crop)));
        }
        Ok(views)
    }

    /// Logits (B, classes, H, W) at the image's own size, for predictions.
    ///
    /// # Errors
    /// When the image does not fit.
    pub fn encode_decode(&self, image: &Tensor, mode: &Forward) -> Result<Tensor> {
        let (_, _, height, width) = image.dims4()?;
        ops::resize_bilinear(&self.forward(image, mode)?.logits, (height, width), false)
    }
}
