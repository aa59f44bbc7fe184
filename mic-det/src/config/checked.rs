//! A configuration that can be run.

use std::path::PathBuf;

use mic_run::RunOptions;
use mic_run::config::check::{at_least, one_of, refuse};

use super::raw::{RawConfig, RawTrain};
use super::{DataConfig, Method, ModelConfig, mask, method, optimizer};
use crate::detector::DetectorConfig;
use crate::sada::SadaConfig;
use crate::uda::{MaskedConsistency, SgdOptions};
use crate::{Error, Result};

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainConfig {
    /// Iterations, at least 1.
    pub iterations: u64,
    /// Images of each domain in a batch, at least 1.
    pub batch: usize,
    /// Iterations between evaluations; 0 evaluates at the end only.
    pub eval_every: u64,
    /// What the best checkpoint is chosen by.
    pub select: Selection,
    /// The network that is evaluated and kept.
    pub evaluate: Evaluated,
    /// Whether the backbone's activations are computed again in the backward pass.
    pub recompute: bool,
    /// A checkpoint whose weights to start from.
    pub init_from: Option<PathBuf>,
}

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

/// The network that is evaluated and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evaluated {
    /// The student.
    Student,
    /// The teacher.
    Teacher,
}

impl RawConfig {
    /// Checks every value.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] names the key, what was found and what is allowed.
    pub fn check(self) -> Result<Config> {
        let method = Method::check(&self.method)?;
        let mask = self.mask.as_ref().map(mask::check).transpose()?;
        if method == Method::Oracle && mask.is_some() {
            let expected = "\"source_only\" or \"sada\": an oracle knows the target's boxes and has \
                            no use for the table mask";
            return refuse("method.kind", "\"oracle\"", expected);
        }
        let needs_target = method.needs_target() || mask.is_some();
        let run = self.run.check().map(|()| self.run.clone());
        let sada = method::check_sada(&self.sada)?;
        Ok(Config {
            seed: self.seed,
            model: ModelConfig::check(&self.model, &self.inference)?,
            data: DataConfig::check(&self.data, method, needs_target)?,
            sada: (method == Method::Sada).then_some(sada),
            method,
            optimizer: optimizer::check(&self.optimizer)?,
            train: TrainConfig::check(&self.train, mask.is_some())?,
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
    /// [`Error::Config`] if it has other names already.
    pub fn with_classes(mut self, classes: &[String]) -> Result<Self> {
        let known = &self.raw.data.classes;
        if !known.is_empty() && known != classes {
            return refuse(
                "data.classes",
                format!("{known:?}"),
                format!("the classes of the source, {classes:?}; or leave the key out"),
            );
        }
        self.raw.data.classes = classes.to_vec();
        self.data.classes = classes.to_vec();
        Ok(self)
    }

    /// The configuration as TOML, with every default filled in; reading it gives this
    /// configuration again.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if a number does not fit into TOML (a seed above 2^63 - 1).
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(&self.raw)
            .map_err(|error| Error::Config(format!("cannot write the configuration: {error}")))
    }
}

impl TrainConfig {
    fn check(raw: &RawTrain, masked: bool) -> Result<Self> {
        let measures = [Selection::Ap50, Selection::Ap].map(|measure| (measure.name(), measure));
        let networks = [
            ("student", Evaluated::Student),
            ("teacher", Evaluated::Teacher),
        ];
        let evaluate = one_of("train.evaluate", &raw.evaluate, &networks)?;
        if evaluate == Evaluated::Teacher && !masked {
            let expected = "\"student\", as there is no teacher without the table mask";
            return refuse("train.evaluate", "\"teacher\"", expected);
        }
        Ok(Self {
            iterations: at_least("train.iterations", raw.iterations, 1)?,
            batch: at_least("train.batch", raw.batch, 1)?,
            eval_every: raw.eval_every,
            select: one_of("train.select", &raw.select, &measures)?,
            evaluate,
            recompute: raw.recompute,
            init_from: raw.init_from.as_ref().map(PathBuf::from),
        })
    }
}
