//! Which images a step sees, and how they are augmented.

use std::sync::Arc;

use image::{GrayImage, RgbImage};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::assemble::{Drawn, source_batch, target_batch};
use super::config::PipelineConfig;
use crate::bad_samples::Checked;
use crate::batch::UdaBatch;
use crate::class_stats::ClassStats;
use crate::permutation::Permutation;
use crate::rare_class_sampling::{RareClassSampler, RareDraw};
use crate::reading::{BatchPipeline, Reading};
use crate::rng::stream;
use crate::sample::{Labelled, LabelledSet, Unlabelled, UnlabelledSet};
use crate::transform::{
    CROP_TRIES, Crop, Flip, PhotometricDistortion, keep_ratio, resize_image_window, resize_nearest,
};
use crate::{Error, Result};

/// Source and target images, drawn and augmented by step number.
///
/// Image `i` of step `s` is draw `k = s * batch + i` of an endless sequence. Without rare class
/// sampling the sequence runs through all (source, target) pairs, or all source images if there is
/// no target, without repetition and then again in another order. (Batches may span two rounds;
/// the reference drops the last, partial batch of a round.) With it, draws are independent.
pub struct UdaPipeline {
    source: Arc<dyn LabelledSet>,
    target: Option<Arc<dyn UnlabelledSet>>,
    config: PipelineConfig,
    rare_classes: Option<RareClassSampler>,
    seed: u64,
}

impl UdaPipeline {
    /// Checks the configuration and the sets. `stats` are the class statistics of `source` at its
    /// stored size; they are needed if `config.rcs` is set and ignored otherwise.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an unusable configuration (see [`PipelineConfig::check`] and
    /// [`RareClassSampler::new`]), an empty set, and missing statistics or those of another set.
    pub fn new(
        source: Arc<dyn LabelledSet>,
        target: Option<Arc<dyn UnlabelledSet>>,
        config: PipelineConfig,
        stats: Option<&ClassStats>,
        seed: u64,
    ) -> Result<Self> {
        config.check()?;
        let empty = |domain: &str| Error::Invalid(format!("the {domain} set has no image"));
        if source.is_empty() {
            return Err(empty("source"));
        }
        if target.as_ref().is_some_and(|target| target.is_empty()) {
            return Err(empty("target"));
        }
        let rare_classes = match (&config.rcs, stats) {
            (None, _) => None,
            (Some(rcs), Some(stats)) if stats.names().len() == source.len() => {
                Some(RareClassSampler::new(stats, rcs)?)
            }
            (Some(_), Some(stats)) => {
                return Err(Error::Invalid(format!(
                    "class statistics of {} images for a source set of {}; count them again",
                    stats.names().len(),
                    source.len()
                )));
            }
            (Some(_), None) => {
                return Err(Error::Invalid(
                    "rcs is set, but there are no class statistics of the source; count them"
                        .to_owned(),
                ));
            }
        };
        Ok(Self {
            source,
            target,
            config,
            rare_classes,
            seed,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &PipelineConfig {
        &self.config
    }

    /// The batch of a step, the same at every call. Its tensors are on the CPU.
    ///
    /// # Errors
    ///
    /// Those of the data sets; [`Error::Invalid`] if an image and its label or mask, or (without
    /// `crop`) the images of a domain, differ in size.
    pub fn batch(&self, step: u64) -> Result<UdaBatch> {
        Ok(self.read_batch(step, &Reading::STRICT)?.value)
    }

    /// The generator of a draw, its image and its rare class.
    fn pick_source(&self, draw: u64, attempt: u64) -> (usize, (ChaCha8Rng, Option<RareDraw>)) {
        let mut rng = self.rng("source", draw, attempt);
        let rare = self.rare_classes.as_ref().map(|s| s.sample(&mut rng));
        let index = match rare {
            Some(rare) => rare.image,
            None if attempt == 0 => self.pair(draw).0,
            None => rng.random_range(0..self.source.len()),
        };
        (index, (rng, rare))
    }

    fn read_source(&self, index: usize) -> Result<(usize, Labelled)> {
        let sample = self.source.get(index)?;
        check_size(&sample.name, &sample.image, &sample.label, "label")?;
        Ok((index, sample))
    }

    fn augment_source(
        &self,
        (index, mut sample): (usize, Labelled),
        (mut rng, rare): (ChaCha8Rng, Option<RareDraw>),
    ) -> Result<Drawn<Labelled>> {
        let rare = self.rare_classes.as_ref().zip(rare);
        if let Some((sampler, _)) = &rare
            && sampler.names()[index] != sample.name
        {
            return Err(Error::Invalid(format!(
                "source image {index} is {:?}, but {:?} in the class statistics; they are of \
                 another set, count them again",
                sample.name,
                sampler.names()[index]
            )));
        }
        let size = scaled(&sample.image, self.config.source_resize);
        if size != sample.label.dimensions() {
            sample.label = resize_nearest(&sample.label, size.0, size.1);
        }
        let mut crop = Crop::whole(size);
        if let Some(crop_size) = self.config.crop {
            crop = self.source_crop(&mut rng, &sample.label, crop_size);
            let mut label = crop.apply_grey(&sample.label);
            if let Some((sampler, rare)) = &rare {
                for _ in 0..CROP_TRIES {
                    if sampler.accepts(&label, rare.class) {
                        break;
                    }
                    crop = self.source_crop(&mut rng, &sample.label, crop_size);
                    label = crop.apply_grey(&sample.label);
                }
            }
            sample.label = label;
        }
        sample.image = cut(sample.image, size, &crop);
        let flip = Flip::sample(&mut rng, self.config.flip);
        // It changes pixels one by one, so mirroring can follow.
        if self.config.photometric_distortion.source {
            PhotometricDistortion::sample(&mut rng).apply(&mut sample.image);
        }
        Ok(Drawn { sample, flip })
    }

    fn source_crop(&self, rng: &mut impl Rng, label: &GrayImage, size: (u32, u32)) -> Crop {
        match self.config.cat_max_ratio {
            Some(ratio) => Crop::sample_varied(rng, label, size, ratio),
            None => Crop::sample(rng, label.dimensions(), size),
        }
    }

    /// The generator of a draw and its image among `targets`.
    fn pick_target(&self, targets: usize, draw: u64, attempt: u64) -> (usize, ChaCha8Rng) {
        let mut rng = self.rng("target", draw, attempt);
        let index = match self.rare_classes {
            None if attempt == 0 => self.pair(draw).1,
            _ => rng.random_range(0..targets),
        };
        (index, rng)
    }

    fn augment_target(
        &self,
        mut sample: Unlabelled,
        mut rng: ChaCha8Rng,
    ) -> Result<Drawn<Unlabelled>> {
        let size = scaled(&sample.image, self.config.target_resize);
        let crop = match self.config.crop {
            Some(crop_size) => Crop::sample(&mut rng, size, crop_size),
            None => Crop::whole(size),
        };
        sample.valid = sample.valid.map(|valid| {
            let valid = resize_nearest(&valid, size.0, size.1);
            crop.apply_grey(&valid)
        });
        sample.image = cut(sample.image, size, &crop);
        let flip = Flip::sample(&mut rng, self.config.flip);
        // It changes pixels one by one, so mirroring can follow.
        if self.config.photometric_distortion.target {
            PhotometricDistortion::sample(&mut rng).apply(&mut sample.image);
        }
        Ok(Drawn { sample, flip })
    }

    /// The generator of a draw; that of a later attempt is another one.
    fn rng(&self, purpose: &str, draw: u64, attempt: u64) -> ChaCha8Rng {
        match attempt {
            0 => stream(self.seed, purpose, draw),
            _ => stream(self.seed, &format!("{purpose} again {attempt}"), draw),
        }
    }

    /// The (source, target) indices of a draw: DAFormer numbers the pairs of both sets, and every
    /// round takes them in another order.
    fn pair(&self, draw: u64) -> (usize, usize) {
        let targets = self.target.as_ref().map_or(1, |target| target.len() as u64);
        let pairs = self.source.len() as u64 * targets;
        let order = Permutation::new(pairs, self.seed, "pairs", draw / pairs);
        let pair = order.get(draw % pairs);
        ((pair / targets) as usize, (pair % targets) as usize)
    }
}

impl BatchPipeline for UdaPipeline {
    type Batch = UdaBatch;

    fn read_batch(&self, step: u64, reading: &Reading) -> Result<Checked<UdaBatch>> {
        let batch = self.config.batch as u64;
        let draws: Vec<u64> = (step * batch..(step + 1) * batch).collect();
        let (size, normalise) = (self.config.crop, &self.config.normalise);
        let sources = reading.samples(
            "source",
            &draws,
            |draw, attempt| self.pick_source(*draw, attempt),
            |index| self.read_source(index),
            |sample, drawn, _| self.augment_source(sample, drawn),
        )?;
        let source = source_batch(&sources.value, size, normalise)?;
        let mut bad = sources.bad;
        let target = match &self.target {
            None => None,
            Some(set) => {
                let targets = reading.samples(
                    "target",
                    &draws,
                    |draw, attempt| self.pick_target(set.len(), *draw, attempt),
                    |index| read_target(set.as_ref(), index),
                    |sample, rng, _| self.augment_target(sample, rng),
                )?;
                bad.extend(targets.bad);
                Some(target_batch(&targets.value, size, normalise)?)
            }
        };
        let value = UdaBatch { source, target };
        Ok(Checked { value, bad })
    }
}

fn read_target(set: &dyn UnlabelledSet, index: usize) -> Result<Unlabelled> {
    let sample = set.get(index)?;
    if let Some(valid) = &sample.valid {
        check_size(&sample.name, &sample.image, valid, "validity mask")?;
    }
    Ok(sample)
}

/// The size of an image after resizing.
fn scaled(image: &RgbImage, scale: Option<(u32, u32)>) -> (u32, u32) {
    match scale {
        Some(scale) => keep_ratio(image.dimensions(), scale),
        None => image.dimensions(),
    }
}

/// The crop of the image scaled to `size`. Only the pixels of the crop are computed: the crop is
/// known by then, as it depends on the size and the label alone.
fn cut(image: RgbImage, size: (u32, u32), crop: &Crop) -> RgbImage {
    if image.dimensions() == size && *crop == Crop::whole(size) {
        return image;
    }
    resize_image_window(&image, size, crop)
}

fn check_size(name: &str, image: &RgbImage, other: &GrayImage, what: &str) -> Result<()> {
    if image.dimensions() == other.dimensions() {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "{name:?} is {} x {} but its {what} is {} x {}; both must have one size",
        image.width(),
        image.height(),
        other.width(),
        other.height()
    )))
}
