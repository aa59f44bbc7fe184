//! The batch of a training step.

use std::sync::Arc;

use image::RgbImage;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::batch::{
    ClassificationBatch, ClassificationSource, ClassificationTarget, classes_to_tensor,
    images_to_tensor,
};
use super::sample::{Classified, ClassifiedSet};
use super::transform::ImageTransform;
use crate::bad_samples::Checked;
use crate::reading::{BatchPipeline, Reading};
use crate::sample::UnlabelledSet;
use crate::samplers::{BatchSampler, SamplerConfig};
use crate::transform::ValueTables;
use crate::{Error, Result};

/// Batches and transforms of a training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClassificationPipelineConfig {
    /// Images of each domain in a batch of one rank. VisDA-2017: 32, Office-Home with ViT: 24.
    pub batch: usize,
    /// From files to network inputs.
    pub transform: ImageTransform,
}

impl Default for ClassificationPipelineConfig {
    fn default() -> Self {
        Self {
            batch: 32,
            transform: ImageTransform::default(),
        }
    }
}

/// Source and target images, drawn and augmented by step number.
///
/// Each domain runs through its images in random order, without repetition, and then again in
/// another order, independently of the other domain; the last, incomplete batch of a pass is left
/// out. Both domains have the same transforms.
pub struct ClassificationPipeline {
    source: Arc<dyn ClassifiedSet>,
    target: Option<Arc<dyn UnlabelledSet>>,
    config: ClassificationPipelineConfig,
    tables: ValueTables,
    source_draws: BatchSampler,
    target_draws: Option<BatchSampler>,
    seed: u64,
}

impl ClassificationPipeline {
    /// Checks the configuration and the sets. This process is rank `rank.0` of `rank.1`.
    ///
    /// # Errors
    ///
    /// Those of [`ImageTransform::check`] and [`BatchSampler::new`].
    pub fn new(
        source: Arc<dyn ClassifiedSet>,
        target: Option<Arc<dyn UnlabelledSet>>,
        config: ClassificationPipelineConfig,
        seed: u64,
        rank: (usize, usize),
    ) -> Result<Self> {
        config.transform.check()?;
        let sampler = |len, domain| {
            let config = SamplerConfig {
                rank: rank.0,
                ranks: rank.1,
                ..SamplerConfig::new(config.batch, seed, domain)
            };
            BatchSampler::new(len, config)
        };
        let target_draws = target.as_ref().map(|set| sampler(set.len(), "target"));
        Ok(Self {
            source_draws: sampler(source.len(), "source")?,
            target_draws: target_draws.transpose()?,
            tables: config.transform.tables(),
            source,
            target,
            config,
            seed,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &ClassificationPipelineConfig {
        &self.config
    }

    /// The batch of a step, the same at every call. Its tensors are on the CPU.
    ///
    /// # Errors
    ///
    /// Those of the sets; [`Error::Invalid`] for a class that is no place in the class names.
    pub fn batch(&self, step: u64) -> Result<ClassificationBatch> {
        Ok(self.read_batch(step, &Reading::STRICT)?.value)
    }

    fn read_source(&self, index: usize) -> Result<Classified> {
        let sample = self.source.get(index)?;
        let known = self.source.class_names().len();
        if sample.class as usize >= known {
            return Err(Error::Invalid(format!(
                "{:?} is of class {}, but there are {known} classes",
                sample.name, sample.class
            )));
        }
        Ok(sample)
    }

    fn augment(&self, image: &RgbImage, mut rng: ChaCha8Rng) -> (RgbImage, bool) {
        let drawn = self.config.transform.sample(&mut rng);
        (self.config.transform.apply(image, &drawn), drawn.flip)
    }

    fn tensor(&self, images: &[(RgbImage, bool)]) -> Result<candle_core::Tensor> {
        images_to_tensor(images, self.config.transform.size, &self.tables)
    }
}

impl BatchPipeline for ClassificationPipeline {
    type Batch = ClassificationBatch;

    fn read_batch(&self, step: u64, reading: &Reading) -> Result<Checked<ClassificationBatch>> {
        let (seed, sources) = (self.seed, &self.source_draws);
        let read = reading.samples(
            "source",
            &sources.batch(step),
            |draw, attempt| sources.attempt(seed, "source image", *draw, attempt),
            |index| self.read_source(index),
            |sample, rng, _| Ok((self.augment(&sample.image, rng), sample.name, sample.class)),
        )?;
        let mut bad = read.bad;
        let (mut images, mut names, mut classes) = (Vec::new(), Vec::new(), Vec::new());
        for (image, name, class) in read.value {
            images.push(image);
            names.push(name);
            classes.push(class);
        }
        let source = ClassificationSource {
            image: self.tensor(&images)?,
            class: classes_to_tensor(classes)?,
            names,
        };
        let target = match (&self.target, &self.target_draws) {
            (Some(set), Some(targets)) => {
                let read = reading.samples(
                    "target",
                    &targets.batch(step),
                    |draw, attempt| targets.attempt(seed, "target image", *draw, attempt),
                    |index| set.get(index),
                    |sample, rng, _| Ok((self.augment(&sample.image, rng), sample.name)),
                )?;
                bad.extend(read.bad);
                let (images, names): (Vec<_>, _) = read.value.into_iter().unzip();
                let image = self.tensor(&images)?;
                Some(ClassificationTarget { image, names })
            }
            _ => None,
        };
        let value = ClassificationBatch { source, target };
        Ok(Checked { value, bad })
    }
}
