//! A configuration that can be run.

use std::path::PathBuf;

use mic_run::RunOptions;

use super::raw::{RawConfig, RawTrain};
use super::{DataConfig, MaskOptions, Method, ModelConfig, OptimizerConfig};
use crate::Result;
use mic_run::config::check::{self, at_least, one_of, refuse};
use mic_run::config::{Evaluated, to_toml};

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// As written, with every default filled in.
    pub raw: RawConfig,
    /// Seed of every random stream of the run.
    pub seed: u64,
    /// The network; the number of classes is that of the source images.
    pub model: ModelConfig,
    /// The images.
    pub data: DataConfig,
    /// The training method.
    pub method: Method,
    /// Masked image consistency.
    pub mask: Option<MaskOptions>,
    /// Optimiser and schedule.
    pub optimizer: OptimizerConfig,
    /// Length and evaluation.
    pub train: TrainConfig,
    /// What the run writes and when it stops.
    pub run: RunOptions,
}

/// Length and evaluation of a run; a batch has at least 2 images of each domain.
pub type TrainConfig = mic_run::config::TrainConfig<Selection>;

/// What the best checkpoint is chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Share of images that are classified right.
    Top1,
    /// Mean of the classes' accuracies.
    MeanClass,
}

impl RawConfig {
    /// Checks every value.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Config`] names the key, what was found and what is allowed.
    pub fn check(self) -> Result<Config> {
        let method = Method::check(&self.method)?;
        let needs_target = method.needs_target() || self.mask.is_some();
        let data = DataConfig::check(&self.data, needs_target)?;
        let model = ModelConfig::check(&self.model, data.size)?;
        let pretrained = model.pretrained.is_some();
        let mask = self.mask.as_ref();
        Ok(Config {
            seed: self.seed,
            method,
            mask: mask
                .map(|mask| MaskOptions::check(mask, data.size))
                .transpose()?,
            optimizer: OptimizerConfig::check(&self.optimizer, pretrained)?,
            train: train(&self.train, mask.is_some())?,
            run: self.run.checked()?,
            model,
            data,
            raw: self,
        })
    }
}

impl Config {
    /// The configuration with the names of the classes, which are those of the source.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Config`] if it has other names already.
    pub fn with_classes(mut self, classes: &[String]) -> Result<Self> {
        check::classes(&self.raw.data.classes, classes)?;
        self.raw.data.classes = classes.to_vec();
        self.data.classes = classes.to_vec();
        Ok(self)
    }

    /// The configuration as TOML, with every default filled in; reading it gives this
    /// configuration again.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Config`] if a number does not fit into TOML (a seed above 2^63 - 1).
    pub fn to_toml(&self) -> Result<String> {
        Ok(to_toml(&self.raw)?)
    }
}

fn train(raw: &RawTrain, masked: bool) -> Result<TrainConfig> {
    let batch = raw.batch;
    if batch < 2 {
        let expected = "at least 2, as batch norm needs the statistics of several images";
        return refuse("train.batch", batch, expected);
    }
    let measures = [
        ("top1", Selection::Top1),
        ("mean_class", Selection::MeanClass),
    ];
    let evaluate = Evaluated::check(&raw.evaluate, masked)?;
    Ok(TrainConfig {
        iterations: at_least("train.iterations", raw.iterations, 1)?,
        batch,
        eval_every: raw.eval_every,
        select: one_of("train.select", &raw.select, &measures)?,
        evaluate,
        recompute: raw.recompute,
        init_from: raw.init_from.as_ref().map(PathBuf::from),
    })
}
