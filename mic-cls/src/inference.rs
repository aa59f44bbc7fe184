//! From images of any size to class probabilities.

use std::path::Path;

use candle_core::{Device, Tensor};
use image::RgbImage;
use mic_data::classification::SourceConfig;
use mic_data::transform::ValueTables;
use mic_nn::forward::Forward;
use mic_nn::ops;
use rand::SeedableRng;

use crate::config::{Config, Evaluated};
use crate::evaluate::logits;
use crate::model::{ClassifierConfig, Network, Output};
use crate::{Error, Result, weights};

/// A trained network with the pipeline around it.
pub struct Predictor {
    network: Network,
    config: Config,
    tables: ValueTables,
}

/// The classes of a published data set need no list.
fn with_published_classes(config: &Config) -> Result<Config> {
    match &config.data.source.images {
        SourceConfig::Published { set, .. } => config.clone().with_classes(&set.class_names()),
        _ => Ok(config.clone()),
    }
}

impl Predictor {
    /// Loads a checkpoint that `mic-cls train` wrote, with its own configuration; or a published one
    /// with `config`, whose source is a published data set or whose `data.classes` names the classes.
    /// `train.evaluate` says which network of
    /// the checkpoint it is.
    ///
    /// # Errors
    /// A file that cannot be read or does not fit the configuration; a checkpoint without
    /// configuration, and none given.
    pub fn load(checkpoint: &Path, config: Option<&Config>) -> Result<Self> {
        let own = weights::read_config(checkpoint)?;
        let config = match (own, config) {
            (Some(text), _) => {
                let name = format!("configuration in {}", checkpoint.display());
                Config::from_toml_str(&text, &name, &[])?
            }
            (None, Some(config)) => with_published_classes(config)?,
            (None, None) => {
                return Err(Error::Config(format!(
                    "{} has no configuration, as mic-cls train did not write it; name one with \
                     --config",
                    checkpoint.display()
                )));
            }
        };
        let classes = config.data.classes.len();
        if classes < 2 {
            let missing = "data.classes is missing: the names of the checkpoint's classes, in the \
                           order of their ids";
            return Err(Error::Config(missing.into()));
        }
        // Every value is overwritten by the checkpoint's, so that the seed does not matter.
        let rng = rand::rngs::StdRng::seed_from_u64(0);
        let network = Network::new(&ClassifierConfig::of(&config, classes), rng)?;
        match config.train.evaluate {
            Evaluated::Student => weights::load_all(&network, checkpoint)?,
            Evaluated::Teacher => weights::load_teacher(&network, checkpoint)?,
        };
        Ok(Self {
            network: network.frozen_copy()?,
            tables: config.data.transform.tables(),
            config,
        })
    }

    /// The configuration the network was trained with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The names of the classes.
    pub fn classes(&self) -> &[String] {
        &self.config.data.classes
    }

    /// The probability of every class for every image.
    ///
    /// # Errors
    /// An image without pixels.
    pub fn probabilities(&self, images: &[RgbImage]) -> Result<Vec<Vec<f32>>> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let logits = logits(&self.network, &self.input(images)?)?;
        Ok(ops::softmax(&logits, 1)?.to_vec2()?)
    }

    /// What the head sees of every image, and its class scores. At least one image.
    ///
    /// # Errors
    /// An image without pixels.
    pub fn features(&self, images: &[RgbImage]) -> Result<Output> {
        let mode = Forward::eval();
        Ok(self.network.net.forward(&self.input(images)?, &mode)?)
    }

    fn input(&self, images: &[RgbImage]) -> Result<Tensor> {
        let transform = &self.config.data.transform;
        let side = transform.size as usize;
        let mut data = vec![0f32; images.len() * 3 * side * side];
        for (image, out) in images.iter().zip(data.chunks_exact_mut(3 * side * side)) {
            if image.width() == 0 || image.height() == 0 {
                let message = "an image without pixels cannot be classified";
                return Err(Error::Run(message.into()));
            }
            let image = transform.apply_evaluation(image);
            let size = (transform.size, transform.size);
            self.tables.write(&image, false, size, out);
        }
        let shape = (images.len(), 3, side, side);
        Ok(Tensor::from_vec(data, shape, &Device::Cpu)?)
    }
}
