//! The batch of a training step.

use std::sync::Arc;

use image::RgbImage;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::batch::{BoxedBatch, DetectionBatch, ImageBatch, pad_images};
use super::boxes::Objects;
use super::sample::{Annotated, DetectionImages, DetectionSet};
use crate::bad_samples::Checked;
use crate::reading::{BatchPipeline, Reading};
use crate::sample::Unlabelled;
use crate::samplers::{BatchSampler, Incomplete, SamplerConfig, aspect_groups};
use crate::transform::{DetectionResize, Flip, PilFilter, ValueTables, pil_resize};
use crate::{Error, Result};

/// Pixels beyond which an image is not resized.
const MAX_PIXELS: u64 = 1 << 28;

/// In which order a network sees colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// Blue, green, red, as Detectron's weights need it.
    #[default]
    Bgr,
    /// Red, green, blue, as torchvision's do.
    Rgb,
}

/// From a decoded image to what a detector sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DetectionTransform {
    /// Size of the image.
    pub resize: DetectionResize,
    /// Probability of mirroring a training image.
    pub flip: f64,
    /// Order of the colours.
    pub channels: Channels,
    /// Means of the colours in this order on the scale 0 to 255.
    pub mean: [f32; 3],
    /// Standard deviations of the colours in this order on the scale 0 to 255.
    pub std: [f32; 3],
    /// Batches are padded to sides that are multiples of this.
    pub divisor: u32,
}

impl Default for DetectionTransform {
    /// 800 to 1600 pixels, half the images mirrored, the inputs of the Caffe2 weights.
    fn default() -> Self {
        Self {
            resize: DetectionResize::default(),
            flip: 0.5,
            channels: Channels::Bgr,
            mean: [102.9801, 115.9465, 122.7717],
            std: [1.0; 3],
            divisor: 32,
        }
    }
}

impl DetectionTransform {
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the key for sizes of 0, a probability outside 0 to 1, a standard
    /// deviation that is not positive and a divisor of 0.
    pub fn check(&self) -> Result<()> {
        self.resize.check()?;
        let invalid = |reason: String| Err(Error::Invalid(reason));
        if !(0.0..=1.0).contains(&self.flip) {
            return invalid(format!("flip = {} is no probability", self.flip));
        }
        let positive = |std: &f32| *std > 0.0 && std.is_finite();
        if !self.std.iter().all(positive) || !self.mean.iter().all(|mean| mean.is_finite()) {
            return invalid(format!(
                "mean = {:?} must be finite and std = {:?} positive",
                self.mean, self.std
            ));
        }
        if !(1..=4096).contains(&self.divisor) {
            return invalid(format!("divisor = {} must be 1 to 4096", self.divisor));
        }
        Ok(())
    }

    /// Draws the length of the shorter side and whether to mirror.
    pub fn sample(&self, rng: &mut impl Rng) -> (u32, Flip) {
        (self.resize.sample(rng), Flip::sample(rng, self.flip))
    }

    /// The image resized by Pillow's bilinear filter, not mirrored: [`ValueTables::write`] mirrors.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if a very long image would become one of more than 2^28 pixels.
    pub fn apply_image(&self, image: &RgbImage, short: u32) -> Result<RgbImage> {
        let (width, height) = self.resize.size(short, image.dimensions());
        if u64::from(width) * u64::from(height) > MAX_PIXELS {
            return Err(Error::Invalid(format!(
                "an image of {} x {} would be resized to {width} x {height}, which is too large; \
                 leave it out or set resize.max_size",
                image.width(),
                image.height()
            )));
        }
        Ok(pil_resize(image, width, height, PilFilter::Bilinear))
    }

    /// Moves the boxes with the image.
    pub fn apply_objects(&self, objects: &mut Objects, short: u32, flip: Flip) {
        let size = self.resize.size(short, objects.boxes.size);
        objects.boxes.resize(size);
        if flip.0 {
            objects.boxes.flip();
        }
    }

    /// Images as an evaluation sees them, with the first of the sizes and unmirrored.
    ///
    /// # Errors
    ///
    /// Those of [`DetectionTransform::apply_image`].
    pub fn evaluation(&self, images: &[RgbImage], names: Vec<String>) -> Result<ImageBatch> {
        let short = self.resize.min_sizes.first().copied().unwrap_or(1);
        let original = images.iter().map(RgbImage::dimensions).collect();
        let images = images
            .iter()
            .map(|image| Ok((self.apply_image(image, short)?, false)));
        let images: Vec<_> = images.collect::<Result<_>>()?;
        Ok(ImageBatch {
            image: pad_images(&images, &self.tables(), self.divisor)?,
            sizes: images.iter().map(|(image, _)| image.dimensions()).collect(),
            original,
            names,
        })
    }

    /// The network's inputs from 8-bit colours.
    pub fn tables(&self) -> ValueTables {
        match self.channels {
            Channels::Bgr => ValueTables::bgr(self.mean, self.std),
            Channels::Rgb => {
                let unit = |scale: [f32; 3]| scale.map(|value| value / 255.0);
                ValueTables::rgb(unit(self.mean), unit(self.std))
            }
        }
    }
}

/// Batches and transforms of a training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DetectionPipelineConfig {
    /// Images of each domain in a batch of one rank.
    pub batch: usize,
    /// Whether a batch holds only wide or only high images.
    pub group_by_aspect: bool,
    /// Batches at the end of a pass: `"fill"`, `"drop"`, or `"keep"` as the reference does, which
    /// works with one rank alone. Without effect on batches of one image.
    pub incomplete: Incomplete,
    /// From files to network inputs.
    pub transform: DetectionTransform,
}

impl Default for DetectionPipelineConfig {
    fn default() -> Self {
        Self {
            batch: 1,
            group_by_aspect: true,
            incomplete: Incomplete::Fill,
            transform: DetectionTransform::default(),
        }
    }
}

/// Source images with objects and target images without, drawn and augmented by step number.
///
/// Each domain runs through its images in random order, without repetition, and then again in
/// another order, independently of the other domain.
pub struct DetectionPipeline {
    source: Arc<dyn DetectionSet>,
    target: Option<Arc<dyn DetectionImages>>,
    config: DetectionPipelineConfig,
    tables: ValueTables,
    source_draws: BatchSampler,
    target_draws: Option<BatchSampler>,
    seed: u64,
}

impl DetectionPipeline {
    /// Checks the configuration and the sets. This process is rank `rank.0` of `rank.1`. With
    /// `group_by_aspect` and a target without annotations the headers of all its images are read.
    ///
    /// # Errors
    ///
    /// Those of [`DetectionTransform::check`], [`BatchSampler::new`] and
    /// [`DetectionImages::size`].
    pub fn new(
        source: Arc<dyn DetectionSet>,
        target: Option<Arc<dyn DetectionImages>>,
        config: DetectionPipelineConfig,
        seed: u64,
        rank: (usize, usize),
    ) -> Result<Self> {
        config.transform.check()?;
        let grouped = config.group_by_aspect && config.batch * rank.1 > 1;
        let sampler = |len: usize, domain, size: &dyn Fn(usize) -> Result<(u32, u32)>| {
            let sampler = SamplerConfig {
                rank: rank.0,
                ranks: rank.1,
                incomplete: config.incomplete,
                ..SamplerConfig::new(config.batch, seed, domain)
            };
            if !grouped {
                return BatchSampler::new(len, sampler);
            }
            let sizes: Vec<_> = (0..len).map(size).collect::<Result<_>>()?;
            BatchSampler::grouped(aspect_groups(sizes), sampler)
        };
        let source_draws = sampler(source.len(), "source", &|index| Ok(source.size(index)))?;
        let target_draws = target
            .as_ref()
            .map(|set| sampler(set.len(), "target", &|index| set.size(index)))
            .transpose()?;
        Ok(Self {
            source_draws,
            target_draws,
            tables: config.transform.tables(),
            source,
            target,
            config,
            seed,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &DetectionPipelineConfig {
        &self.config
    }

    /// The batch of a step, the same at every call. Its tensors are on the CPU.
    ///
    /// # Errors
    ///
    /// Those of the sets.
    pub fn batch(&self, step: u64) -> Result<DetectionBatch> {
        Ok(self.read_batch(step, &Reading::STRICT)?.value)
    }

    fn augment_source(&self, sample: Annotated, mut rng: ChaCha8Rng) -> Result<BoxedSample> {
        let transform = &self.config.transform;
        let (short, flip) = transform.sample(&mut rng);
        let mut objects = sample.objects.for_training();
        transform.apply_objects(&mut objects, short, flip);
        let image = self.resized(&sample.name, &sample.image, short)?;
        Ok(((image, flip.0), objects, sample.name))
    }

    fn augment_target(&self, sample: Unlabelled, mut rng: ChaCha8Rng) -> Result<TargetSample> {
        let (short, flip) = self.config.transform.sample(&mut rng);
        let original = sample.image.dimensions();
        let image = self.resized(&sample.name, &sample.image, short)?;
        Ok(((image, flip.0), original, sample.name))
    }

    fn resized(&self, name: &str, image: &RgbImage, short: u32) -> Result<RgbImage> {
        let resized = self.config.transform.apply_image(image, short);
        resized.map_err(|error| Error::Invalid(format!("{name:?}: {error}")))
    }

    fn tensor(
        &self,
        images: &[(RgbImage, bool)],
    ) -> Result<(candle_core::Tensor, Vec<(u32, u32)>)> {
        let sizes = images.iter().map(|(image, _)| image.dimensions()).collect();
        let image = pad_images(images, &self.tables, self.config.transform.divisor)?;
        Ok((image, sizes))
    }
}

/// A source image, whether to mirror it, its objects and its name.
type BoxedSample = ((RgbImage, bool), Objects, String);

/// A target image, whether to mirror it, its size before it was resized and its name.
type TargetSample = ((RgbImage, bool), (u32, u32), String);

impl BatchPipeline for DetectionPipeline {
    type Batch = DetectionBatch;

    fn read_batch(&self, step: u64, reading: &Reading) -> Result<Checked<DetectionBatch>> {
        let (seed, sources) = (self.seed, &self.source_draws);
        let read = reading.samples(
            "source",
            &sources.batch(step),
            |draw, attempt| sources.attempt(seed, "source image", *draw, attempt),
            |index| self.source.get(index),
            |sample, rng, _| self.augment_source(sample, rng),
        )?;
        let mut bad = read.bad;
        let (mut images, mut objects, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for (image, of_image, name) in read.value {
            images.push(image);
            objects.push(of_image);
            names.push(name);
        }
        let (image, sizes) = self.tensor(&images)?;
        let source = BoxedBatch {
            image,
            sizes,
            objects,
            names,
        };
        let target = match (&self.target, &self.target_draws) {
            (Some(set), Some(targets)) => {
                let read = reading.samples(
                    "target",
                    &targets.batch(step),
                    |draw, attempt| targets.attempt(seed, "target image", *draw, attempt),
                    |index| set.get(index),
                    |sample, rng, _| self.augment_target(sample, rng),
                )?;
                bad.extend(read.bad);
                let (mut images, mut original, mut names) = (Vec::new(), Vec::new(), Vec::new());
                for (image, size, name) in read.value {
                    images.push(image);
                    original.push(size);
                    names.push(name);
                }
                let (image, sizes) = self.tensor(&images)?;
                Some(ImageBatch {
                    image,
                    sizes,
                    original,
                    names,
                })
            }
            _ => None,
        };
        let value = DetectionBatch { source, target };
        Ok(Checked { value, bad })
    }
}
