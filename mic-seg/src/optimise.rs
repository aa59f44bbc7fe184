//! Optimiser and schedule of a run.

use std::collections::HashMap;

use candle_core::{Tensor, Var};
use mic_nn::optim::{AdamW, AdamWConfig, Grads, GroupRules, Optimizer, Rule, Sgd, SgdConfig};
use mic_nn::schedule::{LinearDecay, PolyWarmup, Schedule};
use mic_run::NonFinite;
use mic_run::record::Scalars;
use mic_run::state::{below, prefixed};

use crate::Result;
use crate::config::{self, Config, OptimizerKind};

/// Begins the names of the optimiser's state in a checkpoint.
const OPTIMIZER: &str = "optimizer.";

/// An optimiser with its learning rates.
pub(crate) struct Optimisation {
    optimizer: Box<dyn Optimizer>,
    schedule: Schedule,
    base: f64,
    /// Largest norm of the gradient.
    clip_norm: Option<f64>,
}

impl Optimisation {
    /// As the configuration says: the head has its own factor, norms of the backbone no decay
    /// (where the head's factor applies, its norms decay, as in the reference).
    pub(crate) fn new(config: &Config, parameters: &[(String, Var)]) -> Self {
        let options = &config.optimizer;
        let rule = |key: &str, lr_mult, decay_mult| Rule {
            key: key.into(),
            lr_mult,
            decay_mult,
        };
        let rules = match options.kind {
            OptimizerKind::AdamW { .. } => vec![
                rule("head", options.head_lr_mult, 1.0),
                rule("norm", 1.0, 0.0),
            ],
            OptimizerKind::Sgd { .. } => vec![rule("head", options.head_lr_mult, 1.0)],
        };
        let rules = GroupRules {
            base_lr: options.lr,
            base_weight_decay: options.weight_decay,
            rules,
        };
        let optimizer: Box<dyn Optimizer> = match options.kind {
            OptimizerKind::AdamW { betas } => {
                let betas = (betas[0], betas[1]);
                let config = AdamWConfig {
                    betas,
                    ..AdamWConfig::default()
                };
                Box::new(AdamW::new(parameters, &rules, config))
            }
            OptimizerKind::Sgd { momentum } => {
                let config = SgdConfig {
                    momentum,
                    nesterov: false,
                };
                Box::new(Sgd::new(parameters, &rules, config))
            }
        };
        Self {
            optimizer,
            schedule: schedule(options.schedule, config.train.iterations as usize),
            base: options.lr,
            clip_norm: config.train.clip_norm,
        }
    }

    /// Clips and applies the gradient of `step`; returns the base learning rate used, and reports
    /// the gradient's norm as `grad_norm`.
    ///
    /// # Errors
    /// A gradient that is not finite; nothing is changed then.
    pub(crate) fn apply(
        &mut self,
        step: u64,
        grads: &mut Grads,
        scalars: &mut Scalars,
    ) -> Result<f64> {
        let norm = grads.global_norm()?;
        if !norm.is_finite() {
            let tensors = grads.first_not_finite()?;
            return Err(NonFinite {
                name: "the gradient's norm".into(),
                value: norm,
                tensors: tensors
                    .iter()
                    .map(|name| format!("gradient of {name}"))
                    .collect(),
            }
            .into());
        }
        scalars.insert("grad_norm".into(), norm);
        if let Some(max) = self.clip_norm
            && norm > max
        {
            grads.scale(max / (norm + 1e-6))?;
        }
        let (schedule, step) = (&self.schedule, step as usize);
        self.optimizer
            .step(grads, &|base| schedule.lr(step, base))?;
        Ok(schedule.lr(step, self.base))
    }

    /// The optimiser's state, by names that begin with [`OPTIMIZER`].
    pub(crate) fn state(&self) -> Result<Vec<(String, Tensor)>> {
        Ok(prefixed(OPTIMIZER, self.optimizer.state()?))
    }

    /// Takes back what [`state`](Self::state) gave.
    pub(crate) fn restore(&mut self, content: &HashMap<String, Tensor>) -> Result<()> {
        Ok(self.optimizer.load_state(&below(content, OPTIMIZER))?)
    }
}

fn schedule(schedule: config::Schedule, max_iters: usize) -> Schedule {
    match schedule {
        config::Schedule::Poly {
            power,
            warmup,
            warmup_ratio,
        } => Schedule::PolyWarmup(PolyWarmup {
            max_iters,
            power,
            min_lr: 0.0,
            warmup_iters: warmup as usize,
            warmup_ratio,
        }),
        config::Schedule::Linear {
            warmup,
            final_ratio,
        } => Schedule::Linear(LinearDecay {
            max_iters,
            ramp_iters: warmup as usize,
            final_ratio,
        }),
    }
}
