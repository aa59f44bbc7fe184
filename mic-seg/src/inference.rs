//! From an image of any size to a label map of that size.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use image::{GrayImage, RgbImage};
use mic_data::transform::{Normalise, keep_ratio, resize_image};
use mic_nn::forward::Forward;
use mic_nn::ops;
use mic_nn::params::Store;
use rand::SeedableRng;

use crate::config::{Config, Inference};
use crate::model::{Segmentor, SegmentorConfig};
use crate::slide::{Canvas, windows};
use crate::weights::{Loaded, Part, Unmatched};
use crate::{Error, Result, weights};

/// Smaller images are enlarged: below this side the backbone's coarsest maps would vanish.
const SMALLEST_SIDE: u32 = 32;

/// What a network says about an image, pixel by pixel, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Segmented {
    /// Train ids.
    pub ids: GrayImage,
    /// The probability of that class (softmax over the classes), 0 to 1.
    pub confidence: Vec<f32>,
}

/// A trained network with the pipeline around it.
pub struct Predictor {
    net: Segmentor,
    config: Config,
    normalise: Normalise,
    resize: Option<(u32, u32)>,
}

impl Predictor {
    /// Loads a checkpoint that `mic-seg train` wrote.
    ///
    /// # Errors
    /// A file that is not such a checkpoint, or whose tensors do not fit its configuration.
    pub fn load(checkpoint: &Path) -> Result<Self> {
        Ok(Self::load_any(checkpoint, None, Unmatched::Refuse)?.0)
    }

    /// Loads a checkpoint that `mic-seg train` wrote, with the configuration in it, or a file of
    /// another program with the network of `config`; tells what was found in the file.
    ///
    /// # Errors
    /// A file of another program without `config`; tensors that do not fit, unless that is allowed.
    pub fn load_any(
        checkpoint: &Path,
        config: Option<&Config>,
        unmatched: Unmatched,
    ) -> Result<(Self, Loaded)> {
        let own = weights::own_config(checkpoint)?.map(|text| {
            let name = format!("configuration in {}", checkpoint.display());
            Config::from_toml_str(&text, &name, &[])
        });
        let config = match (own, config) {
            (Some(Ok(own)), _) => own,
            // What is called a configuration there is not one of ours.
            (None | Some(Err(_)), Some(config)) => config.clone(),
            (Some(Err(error)), None) => return Err(error),
            (None, None) => {
                return Err(Error::Config(format!(
                    "{} was not written by mic-seg train and does not say which network it is of; \
                     give a configuration with that [model] and the classes: --config FILE",
                    checkpoint.display()
                )));
            }
        };
        let model = SegmentorConfig::of(&config)?;
        // Every value is overwritten by the checkpoint's, so that the seed does not matter.
        let rng = rand::rngs::StdRng::seed_from_u64(0);
        let store = Store::trainable(rng, DType::F32, &Device::Cpu);
        Segmentor::new(&model, &store.root())?;
        let found = weights::open(checkpoint)?;
        let loaded = found.fill(&model, &store, Part::Network, unmatched)?;
        Ok((Self::over(&store, &config)?, loaded))
    }

    /// A predictor over a copy of the weights in `store`.
    ///
    /// # Errors
    /// A store without the model's tensors.
    pub fn over(store: &Store, config: &Config) -> Result<Self> {
        let frozen = store.frozen_copy()?;
        Ok(Self {
            net: Segmentor::new(&SegmentorConfig::of(config)?, &frozen.root())?,
            normalise: config.data.pipeline.normalise,
            resize: config.data.test.as_ref().and_then(|set| set.resize),
            config: config.clone(),
        })
    }

    /// The configuration the network was trained with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// That configuration with `sets` (`key.path=value`) on top; `checkpoint` stands for the file in
    /// messages.
    ///
    /// # Errors
    /// Keys and values that a configuration does not have.
    pub fn configured(&self, checkpoint: &Path, sets: &[String]) -> Result<Config> {
        let name = format!("configuration in {}", checkpoint.display());
        Config::from_toml_str(&self.config.to_toml()?, &name, sets)
    }

    /// The train id of every pixel, at the image's own size: the first largest of the
    /// [`logits`](Self::logits).
    ///
    /// # Errors
    /// An empty image, or one too large for the memory.
    pub fn predict(&self, image: &RgbImage) -> Result<GrayImage> {
        ids(&self.logits(image)?)
    }

    /// As [`predict`](Self::predict), with the network's confidence.
    ///
    /// # Errors
    /// Those of [`predict`](Self::predict).
    pub fn segment(&self, image: &RgbImage) -> Result<Segmented> {
        let logits = self.logits(image)?;
        Ok(Segmented {
            confidence: confidence(&logits)?,
            ids: ids(&logits)?,
        })
    }

    /// Logits (1, classes, H, W) at the image's own size.
    ///
    /// The image is scaled as the test images of the configuration are; logits are resized
    /// bilinearly to the network's input, in `slide` mode averaged over the windows, and then
    /// resized to the image.
    ///
    /// # Errors
    /// An empty image, or one too large for the memory.
    pub fn logits(&self, image: &RgbImage) -> Result<Tensor> {
        let (width, height) = image.dimensions();
        if width == 0 || height == 0 {
            return Err(Error::Run(
                "an image without pixels cannot be segmented".into(),
            ));
        }
        let tensor = input(&[image], self.resize, &self.normalise)?;
        let logits = logits(&self.net, &tensor, &self.config.inference)?;
        let size = (height as usize, width as usize);
        Ok(ops::resize_bilinear(&logits, size, false)?)
    }

    /// The same network with a constant share of HRDA's detail, 0 (context alone) to 1 (detail
    /// alone), in place of its attention. Networks without HRDA stay as they are.
    pub fn with_detail_share(self, share: f64) -> Self {
        Self {
            net: self.net.with_detail_share(share),
            ..self
        }
    }

    /// The same network with other windows over the image, or none.
    pub fn with_inference(mut self, inference: Inference) -> Self {
        self.config.inference = inference;
        self
    }

    /// The same network for images scaled to fit into `resize` (width, height), or not scaled.
    pub fn with_resize(self, resize: Option<(u32, u32)>) -> Self {
        Self { resize, ..self }
    }
}

/// Logits (B, classes, H, W) of images (B, 3, H, W) with running statistics: of the whole images, or
/// the mean over windows, of which `batch` are in memory at a time.
///
/// # Errors
/// When an image does not fit.
pub fn logits(net: &Segmentor, images: &Tensor, inference: &Inference) -> Result<Tensor> {
    let images = &enlarged(net, images)?;
    let &Inference::Slide {
        window,
        stride,
        batch,
    } = inference
    else {
        return Ok(net.encode_decode(images, &Forward::eval())?);
    };
    let (count, _, height, width) = images.dims4()?;
    let swap = |(width, height): (u32, u32)| (height as usize, width as usize);
    let windows = windows((height, width), swap(window), swap(stride));
    let mut canvas: Option<Canvas> = None;
    for windows in windows.chunks(batch.max(1)) {
        let parts = windows.iter().map(|window| window.of(images));
        let parts = parts.collect::<candle_core::Result<Vec<_>>>()?;
        let logits = net.encode_decode(&Tensor::cat(&parts, 0)?, &Forward::eval())?;
        let classes = logits.dim(1)?;
        let canvas = canvas.get_or_insert_with(|| Canvas::sized(count, classes, (height, width)));
        for (index, window) in windows.iter().enumerate() {
            let logits = logits.narrow(0, index * count, count)?;
            canvas.add(&logits, (window.y1, window.x1))?;
        }
    }
    match canvas {
        Some(canvas) => Ok(canvas.mean(images.device())?),
        None => Err(Error::Run("an image without windows".into())),
    }
}

/// Images that HRDA's context can still be made of.
fn enlarged(net: &Segmentor, images: &Tensor) -> Result<Tensor> {
    let Some(hrda) = net.hrda() else {
        return Ok(images.clone());
    };
    let (_, _, height, width) = images.dims4()?;
    let smallest = f64::from(SMALLEST_SIDE) / hrda.context_scale;
    let scale = smallest / height.min(width) as f64;
    if scale <= 1.0 {
        return Ok(images.clone());
    }
    let side = |n: usize| (n as f64 * scale).ceil() as usize;
    Ok(ops::resize_bilinear(
        images,
        (side(height), side(width)),
        false,
    )?)
}

/// Images of one size as a batch (B, 3, H, W), scaled as the network wants them.
///
/// # Errors
/// Images that differ in size.
pub(crate) fn input(
    images: &[&RgbImage],
    resize: Option<(u32, u32)>,
    normalise: &Normalise,
) -> Result<Tensor> {
    let own = images.first().map_or((0, 0), |image| image.dimensions());
    let size = input_size(own, resize);
    let (w, h) = (size.0 as usize, size.1 as usize);
    let mut planes = vec![0f32; images.len() * 3 * w * h];
    for (image, out) in images
        .iter()
        .zip(planes.chunks_exact_mut((3 * w * h).max(1)))
    {
        if image.dimensions() != own {
            return Err(Error::Run(format!(
                "images of one batch differ in size: {own:?} and {:?}",
                image.dimensions()
            )));
        }
        if size == own {
            normalise.apply_into(image, size, out);
        } else {
            normalise.apply_into(&resize_image(image, size.0, size.1), size, out);
        }
    }
    Ok(Tensor::from_vec(
        planes,
        (images.len(), 3, h, w),
        &Device::Cpu,
    )?)
}

fn input_size(own: (u32, u32), resize: Option<(u32, u32)>) -> (u32, u32) {
    let (width, height) = match resize {
        Some(limit) => keep_ratio(own, limit),
        None => own,
    };
    let side = width.min(height);
    if side >= SMALLEST_SIDE {
        return (width, height);
    }
    let scale = f64::from(SMALLEST_SIDE) / f64::from(side.max(1));
    let enlarged = |n: u32| ((f64::from(n) * scale).round() as u32).max(SMALLEST_SIDE);
    (enlarged(width), enlarged(height))
}

/// The train ids of (1, C, H, W).
fn ids(logits: &Tensor) -> Result<GrayImage> {
    let (_, _, height, width) = logits.dims4()?;
    GrayImage::from_raw(width as u32, height as u32, argmax(logits)?)
        .ok_or_else(|| Error::Run("the prediction has another size than the image".into()))
}

/// The largest of the softmax over the classes at every pixel of (1, C, H, W).
fn confidence(logits: &Tensor) -> Result<Vec<f32>> {
    let (_, _, height, width) = logits.dims4()?;
    let values = logits
        .to_dtype(DType::F32)?
        .flatten_all()?
        .to_vec1::<f32>()?;
    let plane = height * width;
    let mut best = values[..plane].to_vec();
    for logits in values.chunks_exact(plane.max(1)) {
        let pairs = best.iter_mut().zip(logits);
        pairs.for_each(|(best, logit)| *best = best.max(*logit));
    }
    let mut sum = vec![0f32; plane];
    for logits in values.chunks_exact(plane.max(1)) {
        let pairs = sum.iter_mut().zip(logits.iter().zip(&best));
        pairs.for_each(|(sum, (logit, best))| *sum += (logit - best).exp());
    }
    sum.iter_mut().for_each(|sum| *sum = sum.recip());
    Ok(sum)
}

/// The first largest class of every pixel of (1, C, H, W).
pub(crate) fn argmax(logits: &Tensor) -> Result<Vec<u8>> {
    let (_, classes, h, w) = logits.dims4()?;
    let values = logits
        .to_dtype(DType::F32)?
        .flatten_all()?
        .to_vec1::<f32>()?;
    let plane = h * w;
    let mut best = values[..plane].to_vec();
    let mut label = vec![0u8; plane];
    for class in 1..classes {
        let logits = &values[class * plane..(class + 1) * plane];
        for ((best, label), &v) in best.iter_mut().zip(&mut label).zip(logits) {
            if v > *best {
                *best = v;
                *label = class as u8;
            }
        }
    }
    Ok(label)
}
