//! How the network is trained.

use super::raw::RawMethod;
use crate::Result;
use crate::losses::DomainLoss;
use crate::uda::Statistics;
use mic_run::config::check::{at_least, not_negative, one_of, positive};

/// The training method: source cross-entropy alone without the optional parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Method {
    /// Factor of the target losses where they update the weights, at least 0.
    pub trade_off: f64,
    /// Temperature of minimum class confusion, above 0.
    pub mcc: Option<f64>,
    /// Adversarial adaptation.
    pub adversarial: Option<Adversarial>,
    /// Sharpness-aware task losses.
    pub sharpness: Option<Sharpness>,
    /// Which passes move the running statistics.
    pub statistics: Statistics,
}

/// Adversarial adaptation (CDAN).
#[derive(Clone, Debug, PartialEq)]
pub struct Adversarial {
    /// Width of the discriminator's hidden layers, at least 1.
    pub hidden: usize,
    /// Width of the randomised map; `None` for the multilinear one.
    pub randomized: Option<usize>,
    /// Whether certain predictions count more.
    pub entropy: bool,
    /// How the discriminator's errors are measured.
    pub loss: DomainLoss,
    /// Steepness of the gradient reversal's rise, above 0.
    pub reversal_alpha: f64,
    /// Its unit of time in steps, at least 1.
    pub reversal_steps: usize,
}

/// Sharpness-aware task losses (SDAT).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sharpness {
    /// Length of the step upwards, at least 0.
    pub rho: f64,
    /// Whether it is relative to each weight's magnitude.
    pub adaptive: bool,
    /// Whether the trade-off scales its losses.
    pub trade_off: bool,
}

/// CDAN, MCC, SAM.
type Parts = (bool, bool, bool);

const KINDS: [(&str, Parts); 5] = [
    ("source_only", (false, false, false)),
    ("cdan", (true, false, false)),
    ("cdan_mcc", (true, true, false)),
    ("cdan_sdat", (true, false, true)),
    ("sdat", (true, true, true)),
];

const LOSSES: [(&str, DomainLoss); 2] = [
    ("probabilities", DomainLoss::Probabilities),
    ("logits", DomainLoss::Logits),
];

const STATISTICS: [(&str, Statistics); 2] = [
    ("every_pass", Statistics::EveryPass),
    ("clean_pass", Statistics::CleanPass),
];

impl Method {
    /// Whether it trains on target images, masked ones aside.
    pub fn needs_target(&self) -> bool {
        self.mcc.is_some() || self.adversarial.is_some()
    }

    pub(super) fn check(raw: &RawMethod) -> Result<Self> {
        let (cdan, mcc, sam) = one_of("method.kind", &raw.kind, &KINDS)?;
        let temperature = positive("method.temperature", raw.temperature)?;
        let sharpness = Sharpness {
            rho: not_negative("method.rho", raw.rho)?,
            adaptive: raw.adaptive,
            trade_off: raw.ascent_trade_off,
        };
        let randomized = raw
            .randomized
            .map(|dim| at_least("method.randomized", dim, 1));
        let adversarial = Adversarial {
            hidden: at_least("method.discriminator", raw.discriminator, 1)?,
            randomized: randomized.transpose()?,
            entropy: raw.entropy,
            loss: one_of(
                "method.discriminator_loss",
                &raw.discriminator_loss,
                &LOSSES,
            )?,
            reversal_alpha: positive("method.reversal_alpha", raw.reversal_alpha)?,
            reversal_steps: at_least("method.reversal_steps", raw.reversal_steps, 1)?,
        };
        let statistics_key = "method.running_statistics";
        Ok(Self {
            trade_off: not_negative("method.trade_off", raw.trade_off)?,
            mcc: mcc.then_some(temperature),
            adversarial: cdan.then_some(adversarial),
            sharpness: sam.then_some(sharpness),
            statistics: one_of(statistics_key, &raw.running_statistics, &STATISTICS)?,
        })
    }
}
