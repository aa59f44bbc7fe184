//! The heads of HRDA and how their predictions become one.

use candle_core::{Result, Tensor};
use mic_nn::forward::{Forward, NormMode};
use mic_nn::ops;
use mic_nn::params::Scope;

use super::{CropBox, HrdaConfig, ScaleAttention};
use crate::model::segmentor::{Output, SegmentorConfig};
use crate::model::{Backbone, Head};
use crate::slide::{Canvas, windows};

/// What a training pass yields about the detail crop.
pub struct Detail {
    /// Where the crop lay.
    pub crop: CropBox,
    /// Logits of the crop (B, classes, h, w).
    pub logits: Tensor,
    /// Logits of the context, weighted with what the attention leaves to it.
    pub context: Tensor,
    /// The same without weights.
    pub unweighted: Tensor,
    /// The share of the detail (B, classes or 1, h, w) at the context's positions, not confined to
    /// the crop.
    pub attention: Tensor,
    /// The backbone's maps of the crop.
    pub features: Vec<Tensor>,
}

/// One head for both resolutions, and the attention.
pub(crate) struct Hrda {
    config: HrdaConfig,
    head: Head,
    attention: Option<Head>,
    /// A share of the detail in place of the attention's.
    share: Option<f64>,
    /// Pixels between neighbouring logits.
    stride: f64,
    classes: usize,
    mixes_images: bool,
}

impl Hrda {
    /// Declares `head` and `scale_attention` below `scope`.
    pub(crate) fn new(
        config: &HrdaConfig,
        segmentor: &SegmentorConfig,
        scope: &Scope,
    ) -> Result<Self> {
        let stride = segmentor.stride();
        config.check(stride)?;
        let head = &segmentor.head;
        let outputs = match config.attention {
            ScaleAttention::ClassWise => Some(head.classes()),
            ScaleAttention::Single => Some(1),
            ScaleAttention::Fixed(_) => None,
        };
        let built = Head::new(head, &scope.sub("head"))?;
        let attention = outputs.map(|outputs| {
            let head = head.attention(outputs, config.attention_channels);
            Head::new(&head, &scope.sub("scale_attention"))
        });
        Ok(Self {
            config: config.clone(),
            head: built,
            attention: attention.transpose()?,
            share: match config.attention {
                ScaleAttention::Fixed(share) => Some(share),
                _ => None,
            },
            stride,
            classes: head.classes(),
            mixes_images: segmentor.backbone.mixes_images(),
        })
    }

    /// Takes this share of the detail everywhere from now on.
    pub(crate) fn fix_attention(&mut self, share: f64) {
        self.share = Some(share);
    }

    pub(crate) fn config(&self) -> &HrdaConfig {
        &self.config
    }

    /// The image at a share of its size.
    pub(crate) fn scaled(&self, image: &Tensor, scale: f64) -> Result<Tensor> {
        let (_, _, h, w) = image.dims4()?;
        let size = |scale: f64| ((h as f64 * scale) as usize, (w as f64 * scale) as usize);
        if scale != 1.0 {
            return ops::resize_bilinear(image, size(scale), false);
        }
        if !self.config.blur {
            return Ok(image.clone());
        }
        let small = ops::resize_bilinear(image, size(0.5), false)?;
        let (_, _, h, w) = small.dims4()?;
        ops::resize_bilinear(&small, (2 * h, 2 * w), false)
    }

    /// One training pass: the whole image in low, the crop in high resolution.
    pub(crate) fn train(
        &self,
        backbone: &Backbone,
        image: &Tensor,
        crop: &CropBox,
        mode: &Forward,
    ) -> Result<Output> {
        let features = backbone.forward(&self.scaled(image, self.config.context_scale)?, mode)?;
        let detail_image = crop.of(&self.scaled(image, 1.0)?)?;
        let detail_features = backbone.forward(&detail_image, mode)?;
        // The order in which batch norm sees the two.
        let unweighted = self.head.forward(&features, mode)?;
        let logits = self.head.forward(&detail_features, mode)?;
        let attention = self.attention(&features, &unweighted, mode)?;

        let confined = attention.broadcast_mul(&self.mask(&unweighted, crop)?)?;
        let (context, up, attention_up) = self.enlarged(&unweighted, &confined)?;
        let place = crop.coarse(self.stride);
        let fused = (attention_up.broadcast_mul(&inserted(&logits, &place, &up)?)? + up)?;
        Ok(Output {
            features,
            logits: fused,
            detail: Some(Detail {
                crop: *crop,
                logits,
                context,
                unweighted,
                attention,
                features: detail_features,
            }),
        })
    }

    /// One pass for predictions: the whole image in both resolutions.
    pub(crate) fn predict(
        &self,
        backbone: &Backbone,
        image: &Tensor,
        mode: &Forward,
    ) -> Result<Output> {
        let features = backbone.forward(&self.scaled(image, self.config.context_scale)?, mode)?;
        let context = self.head.forward(&features, mode)?;
        let detail = self.detail(backbone, &self.scaled(image, 1.0)?, mode)?;
        let attention = self.attention(&features, &context, mode)?;
        let (_, up, attention) = self.enlarged(&context, &attention)?;
        let (_, _, h, w) = up.dims4()?;
        // Equal unless the image's sides are no multiples of the context's stride.
        let detail = ops::resize_bilinear(&detail, (h, w), false)?;
        Ok(Output {
            features,
            logits: (attention.broadcast_mul(&detail)? + up)?,
            detail: None,
        })
    }

    /// The share of the detail at the context's positions, 0 to 1.
    fn attention(&self, features: &[Tensor], context: &Tensor, mode: &Forward) -> Result<Tensor> {
        let share = match (&self.attention, self.share) {
            (Some(head), None) => return ops::sigmoid(&head.forward(features, mode)?),
            (None, None) => candle_core::bail!("the scale attention has no head"),
            (_, Some(share)) => share,
        };
        let (b, _, h, w) = context.dims4()?;
        Tensor::full(share, (b, 1, h, w), context.device())?.to_dtype(context.dtype())
    }

    /// 1 inside the crop, 0 outside, (1, 1, h, w) at the context's positions.
    fn mask(&self, context: &Tensor, crop: &CropBox) -> Result<Tensor> {
        let (_, _, h, w) = context.dims4()?;
        let inside = crop.coarse(self.stride / self.config.context_scale);
        let mut mask = vec![0f32; h * w];
        for line in mask.chunks_mut(w).take(inside.y2).skip(inside.y1) {
            line[inside.x1.min(w)..inside.x2.min(w)].fill(1.0);
        }
        Tensor::from_vec(mask, (1, 1, h, w), context.device())?.to_dtype(context.dtype())
    }

    /// The context weighted with `1 - attention`; the same and the attention at the detail's
    /// resolution. The attention is confined and multiplied before it is enlarged, so that it
    /// bleeds over the crop's border, as in the reference.
    fn enlarged(&self, context: &Tensor, attention: &Tensor) -> Result<(Tensor, Tensor, Tensor)> {
        let weighted = context.broadcast_mul(&attention.affine(-1.0, 1.0)?)?;
        let (_, _, h, w) = context.dims4()?;
        let factor = 1.0 / self.config.context_scale;
        let size = ((h as f64 * factor) as usize, (w as f64 * factor) as usize);
        let up = ops::resize_bilinear(&weighted, size, false)?;
        let attention = ops::resize_bilinear(attention, size, false)?;
        Ok((weighted, up, attention))
    }

    /// Logits of the image in full resolution, the mean of those of overlapping crops.
    fn detail(&self, backbone: &Backbone, image: &Tensor, mode: &Forward) -> Result<Tensor> {
        if !self.config.slide {
            return self.head.forward(&backbone.forward(image, mode)?, mode);
        }
        let (b, _, height, width) = image.dims4()?;
        let size = self.config.crop.size;
        let stride = match self.config.overlap {
            true => (size.0 / 2, size.1 / 2),
            false => size,
        };
        let crops = windows((height, width), size, stride);
        let images = crops.iter().map(|crop| crop.of(image));
        let place = |crop: &CropBox| {
            let place = crop.coarse(self.stride);
            (place.y1, place.x1)
        };
        let places: Vec<(usize, usize)> = crops.iter().map(place).collect();
        let mut canvas = Canvas::new(b, self.classes);
        if mode.norm == NormMode::Running {
            // Crops do not influence each other: one after the other needs the least memory.
            for (image, place) in images.zip(places) {
                let logits = self.head.forward(&backbone.forward(&image?, mode)?, mode)?;
                canvas.add(&logits, place)?;
            }
        } else {
            // Batch norm sees all crops of all images as one batch, crop after crop.
            let features = self.features_of_crops(backbone, images, mode)?;
            let logits = self.head.forward(&features, mode)?;
            for (index, place) in places.into_iter().enumerate() {
                canvas.add(&logits.narrow(0, index * b, b)?, place)?;
            }
        }
        canvas.mean(image.device())
    }

    /// The backbone's maps of all crops in one batch. A backbone without batch norm takes one crop
    /// at a time, which needs less memory and gives the same.
    fn features_of_crops(
        &self,
        backbone: &Backbone,
        images: impl Iterator<Item = Result<Tensor>>,
        mode: &Forward,
    ) -> Result<Vec<Tensor>> {
        if self.mixes_images {
            let images = images.collect::<Result<Vec<_>>>()?;
            return backbone.forward(&Tensor::cat(&images, 0)?, mode);
        }
        let maps = images
            .map(|image| backbone.forward(&image?, mode))
            .collect::<Result<Vec<_>>>()?;
        let levels = maps.first().map_or(0, Vec::len);
        (0..levels)
            .map(|level| {
                let level: Vec<&Tensor> = maps.iter().map(|maps| &maps[level]).collect();
                Tensor::cat(&level, 0)
            })
            .collect()
    }
}

/// `logits` at a place in zeros of the size of `like`.
fn inserted(logits: &Tensor, place: &CropBox, like: &Tensor) -> Result<Tensor> {
    let (_, _, h, w) = logits.dims4()?;
    let (_, _, height, width) = like.dims4()?;
    if place.y1 + h > height || place.x1 + w > width {
        candle_core::bail!(
            "the detail's {h} x {w} logits at {:?} do not fit into {height} x {width}",
            (place.y1, place.x1)
        )
    }
    let logits = logits.pad_with_zeros(2, place.y1, height - place.y1 - h)?;
    logits.pad_with_zeros(3, place.x1, width - place.x1 - w)
}
