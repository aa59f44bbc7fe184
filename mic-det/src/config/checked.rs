//! A configuration that can be run.

use std::path::PathBuf;

use mic_run::RunOptions;
use mic_run::config::check::{self, at_least, one_of, refuse};
use mic_run::config::{Evaluated, to_toml};

use super::raw::{RawConfig, RawTrain};
use super::{DataConfig, Method, ModelConfig, mask, method, optimizer};
use crate::Result;
use crate::detector::DetectorConfig;
use crate::sada::SadaConfig;
use crate::uda::{MaskedConsistency, SgdOptions};

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
    /// The domain heads, with [`Method::Sada`].
    pub sada: Option<SadaConfig>,
    /// Masked image consistency.
    pub mask: Option<MaskedConsistency>,
    /// Optimiser and schedule.
    pub optimizer: SgdOptions,
    /// Length and evaluation.
    pub train: TrainConfig,
    /// What the run writes and when it stops.
    pub run: RunOptions,
}

/// Length and evaluation of a run.
pub type TrainConfig = mic_run::config::TrainConfig<Selection>;

/// What the best checkpoint is chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Average precision at an overlap of 0.5.
    Ap50,
    /// Average precision over overlaps from 0.5 to 0.95.
    Ap,
}

impl Selection {
    /// The score's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ap50 => "AP50",
            Self::Ap => "AP",
        }
    }
}

impl RawConfig {
    /// Checks every value.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Config`] names the key, what was found and what is allowed.
    pub fn check(self) -> Result<Config> {
        let method = Method::check(&self.method)?;
        let mask = self.mask.as_ref().map(mask::check).transpose()?;
        if method == Method::Oracle && mask.is_some() {
            let expected = "\"source_only\" or \"sada\": an oracle knows the target's boxes and has \
                            no use for the table mask";
            return refuse("method.kind", "\"oracle\"", expected);
        }
        let needs_target = method.needs_target() || mask.is_some();
        let run = self.run.checked();
        let sada = method::check_sada(&self.sada)?;
        Ok(Config {
            seed: self.seed,
            model: ModelConfig::check(&self.model, &self.inference)?,
            data: DataConfig::check(&self.data, method, needs_target)?,
            sada: (method == Method::Sada).then_some(sada),
            method,
            optimizer: optimizer::check(&self.optimizer)?,
            train: train(&self.train, mask.is_some())?,
            mask,
            run: run?,
            raw: self,
        })
    }
}

impl Config {
    /// The network for `classes` classes without counting the background.
    pub fn detector(&self, classes: usize) -> DetectorConfig {
        DetectorConfig {
            domain: self.sada.clone(),
            ..self.model.detector(classes)
        }
    }

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
    let measures = [Selection::Ap50, Selection::Ap].map(|measure| (measure.name(), measure));
    let evaluate = Evaluated::check(&raw.evaluate, masked)?;
    Ok(TrainConfig {
        iterations: at_least("train.iterations", raw.iterations, 1)?,
        batch: at_least("train.batch", raw.batch, 1)?,
        eval_every: raw.eval_every,
        select: one_of("train.select", &raw.select, &measures)?,
        evaluate,
        recompute: raw.recompute,
        init_from: raw.init_from.as_ref().map(PathBuf::from),
    })
}
