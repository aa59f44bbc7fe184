//! From images of any size to detections in their own pixels.

use std::path::Path;
use std::sync::Arc;

use image::RgbImage;
use mic_data::OrderedLoader;
use mic_data::detection::{DetectionSet, DetectionTransform, ImageBatch};
use mic_nn::params::Store;
use rand::SeedableRng;

use crate::boxes::{Size, resize};
use crate::config::{Config, Evaluated};
use crate::conventions::Conventions;
use crate::detector::Model;
use crate::roi::Detections;
use crate::weights::Part;
use crate::{Error, Result, checkpoint};

/// A trained network with the pipeline around it.
pub struct Predictor {
    model: Model,
    config: Config,
}

impl Predictor {
    /// Loads a checkpoint that `mic-det train` wrote (a run folder or a file), with its own
    /// configuration; or a published one
    /// with `config`, whose `data.classes` names the classes. `train.evaluate` says which network of
    /// the checkpoint it is.
    ///
    /// # Errors
    /// A file that cannot be read or does not fit the configuration; a checkpoint without
    /// configuration, and none given.
    pub fn load(file: &Path, config: Option<&Config>) -> Result<Self> {
        Self::load_with(file, config, &[])
    }

    /// As [`Predictor::load`], with `sets` (`key.path=value`) on top of the checkpoint's own
    /// configuration, such as another threshold.
    ///
    /// # Errors
    /// Those of [`Predictor::load`].
    pub fn load_with(file: &Path, config: Option<&Config>, sets: &[String]) -> Result<Self> {
        let own = checkpoint::read_config(file)?;
        let config = match (own, config) {
            (Some(text), _) => {
                let name = format!("configuration in {}", file.display());
                Config::from_toml_str(&text, &name, sets)?
            }
            (None, Some(config)) => config.clone(),
            (None, None) => {
                return Err(Error::Config(format!(
                    "{} has no configuration, as mic-det train did not write it; name one with \
                     --config",
                    file.display()
                )));
            }
        };
        let classes = config.data.classes.len();
        if classes == 0 {
            let missing = "data.classes is missing: the names of the checkpoint's classes, in the \
                           order of their labels";
            return Err(Error::Config(missing.into()));
        }
        // Every value is overwritten by the checkpoint's, so that the seed does not matter.
        let rng = rand::rngs::StdRng::seed_from_u64(0);
        let store = Store::trainable(rng, candle_core::DType::F32, &candle_core::Device::Cpu);
        let model = Model::new(&config.detector(classes), store)?;
        match config.train.evaluate {
            Evaluated::Student => checkpoint::load_student(&model, file, Part::Whole)?,
            Evaluated::Teacher => checkpoint::load_teacher(&model, file)?,
        };
        Ok(Self {
            model: model.frozen_copy()?,
            config,
        })
    }

    /// The configuration the network was trained with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The network.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The names of the classes; label `l` has the name at place `l - 1`.
    pub fn classes(&self) -> &[String] {
        &self.config.data.classes
    }

    /// What boxes mean.
    pub fn conventions(&self) -> Conventions {
        self.model.net.config().conventions
    }

    /// What is found in each image, in its own pixels.
    ///
    /// # Errors
    /// An image without pixels, or one that would be too large.
    pub fn detect(&self, images: &[RgbImage]) -> Result<Vec<Detections>> {
        let transform = &self.config.data.transform;
        images
            .iter()
            .map(|image| detect_image(&self.model, transform, image))
            .collect()
    }
}

/// What is found in an image, in its own pixels.
///
/// # Errors
/// An image without pixels, or one that would be too large.
pub fn detect_image(
    model: &Model,
    transform: &DetectionTransform,
    image: &RgbImage,
) -> Result<Detections> {
    if image.width() == 0 || image.height() == 0 {
        return Err(Error::Run(
            "nothing can be found in an image without pixels".into(),
        ));
    }
    let batch = transform.evaluation(std::slice::from_ref(image), vec![String::new()])?;
    Ok(detect_batch(model, &batch)?.pop().unwrap_or_default())
}

/// What is found in each image of a batch, in the pixels that it had before it was scaled.
///
/// # Errors
/// A batch that does not fit the network.
pub fn detect_batch(model: &Model, batch: &ImageBatch) -> Result<Vec<Detections>> {
    let size = |&(width, height): &(u32, u32)| -> Size { (height as usize, width as usize) };
    let sizes: Vec<Size> = batch.sizes.iter().map(size).collect();
    let mut found = model.net.detect(&batch.image, &sizes)?;
    for ((found, &seen), original) in found.iter_mut().zip(&sizes).zip(&batch.original) {
        for corners in &mut found.boxes {
            *corners = resize(*corners, seen, size(original));
        }
    }
    Ok(found)
}

/// What is found in every image of a set, in its order, each in its own pixels. Images are read and
/// scaled ahead by `threads` threads; `done` hears the number of images after each.
///
/// Images go through the network one by one: what is found in an image depends on it alone.
///
/// # Errors
/// An image that cannot be read.
pub fn detect_all(
    model: &Model,
    transform: &DetectionTransform,
    set: &Arc<dyn DetectionSet>,
    threads: usize,
    done: &dyn Fn(usize),
) -> Result<Vec<Detections>> {
    let count = set.len();
    let (images, transform) = (Arc::clone(set), transform.clone());
    let loader = OrderedLoader::new(0, threads.min(count), move |index| {
        // The loader works ahead of the last image, too.
        let index = (index as usize).min(count.saturating_sub(1));
        let image = images.pixels(index)?;
        transform.evaluation(&[image], vec![images.name(index)])
    });
    let mut found = Vec::with_capacity(count);
    for batch in loader.take(count) {
        found.extend(detect_batch(model, &batch?)?);
        done(found.len());
    }
    Ok(found)
}
