//! Which images a step sees, and how they are augmented.

use std::sync::Arc;

use image::{GrayImage, RgbImage};
use rand::Rng;

use super::assemble::{source_batch, target_batch};
use super::config::PipelineConfig;
use crate::batch::UdaBatch;
use crate::class_stats::ClassStats;
use crate::permutation::Permutation;
use crate::rare_class_sampling::RareClassSampler;
use crate::rng::stream;
use crate::sample::{Labelled, LabelledSet, Unlabelled, UnlabelledSet};
use crate::transform::{
    CROP_TRIES, Crop, Flip, PhotometricDistortion, keep_ratio, resize_image, resize_nearest,
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
        let batch = self.config.batch as u64;
        let draws = step * batch..(step + 1) * batch;
        let (size, normalise) = (self.config.crop, &self.config.normalise);
        let sources: Vec<_> = draws
            .clone()
            .map(|k| self.source_sample(k))
            .collect::<Result<_>>()?;
        let source = source_batch(&sources, size, normalise)?;
        let target = match &self.target {
            None => None,
            Some(set) => {
                let targets = draws.map(|k| self.target_sample(set.as_ref(), k));
                let targets: Vec<_> = targets.collect::<Result<_>>()?;
                Some(target_batch(&targets, size, normalise)?)
            }
        };
        Ok(UdaBatch { source, target })
    }

    fn source_sample(&self, draw: u64) -> Result<Labelled> {
        let mut rng = stream(self.seed, "source", draw);
        let rare = self
            .rare_classes
            .as_ref()
            .map(|sampler| (sampler, sampler.sample(&mut rng)));
        let index = match &rare {
            Some((_, rare)) => rare.image,
            None => self.pair(draw).0,
        };
        let mut sample = self.source.get(index)?;
        check_size(&sample.name, &sample.image, &sample.label, "label")?;
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
        if let Some(scale) = self.config.source_resize {
            let (width, height) = keep_ratio(sample.image.dimensions(), scale);
            sample.image = resize_image(&sample.image, width, height);
            sample.label = resize_nearest(&sample.label, width, height);
        }
        if let Some(size) = self.config.crop {
            let mut crop = self.source_crop(&mut rng, &sample.label, size);
            let mut label = crop.apply_grey(&sample.label);
            if let Some((sampler, rare)) = &rare {
                for _ in 0..CROP_TRIES {
                    if sampler.accepts(&label, rare.class) {
                        break;
                    }
                    crop = self.source_crop(&mut rng, &sample.label, size);
                    label = crop.apply_grey(&sample.label);
                }
            }
            sample.image = crop.apply_image(&sample.image);
            sample.label = label;
        }
        let flip = Flip::sample(&mut rng, self.config.flip);
        flip.apply_image(&mut sample.image);
        flip.apply_grey(&mut sample.label);
        if self.config.photometric_distortion.source {
            PhotometricDistortion::sample(&mut rng).apply(&mut sample.image);
        }
        Ok(sample)
    }

    fn source_crop(&self, rng: &mut impl Rng, label: &GrayImage, size: (u32, u32)) -> Crop {
        match self.config.cat_max_ratio {
            Some(ratio) => Crop::sample_varied(rng, label, size, ratio),
            None => Crop::sample(rng, label.dimensions(), size),
        }
    }

    fn target_sample(&self, set: &dyn UnlabelledSet, draw: u64) -> Result<Unlabelled> {
        let mut rng = stream(self.seed, "target", draw);
        let index = match self.rare_classes {
            Some(_) => rng.random_range(0..set.len()),
            None => self.pair(draw).1,
        };
        let mut sample = set.get(index)?;
        if let Some(valid) = &sample.valid {
            check_size(&sample.name, &sample.image, valid, "validity mask")?;
        }
        if let Some(scale) = self.config.target_resize {
            let (width, height) = keep_ratio(sample.image.dimensions(), scale);
            sample.image = resize_image(&sample.image, width, height);
            sample.valid = sample
                .valid
                .map(|valid| resize_nearest(&valid, width, height));
        }
        if let Some(size) = self.config.crop {
            let crop = Crop::sample(&mut rng, sample.image.dimensions(), size);
            sample.image = crop.apply_image(&sample.image);
            sample.valid = sample.valid.map(|valid| crop.apply_grey(&valid));
        }
        let flip = Flip::sample(&mut rng, self.config.flip);
        flip.apply_image(&mut sample.image);
        if let Some(valid) = &mut sample.valid {
            flip.apply_grey(valid);
        }
        if self.config.photometric_distortion.target {
            PhotometricDistortion::sample(&mut rng).apply(&mut sample.image);
        }
        Ok(sample)
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
