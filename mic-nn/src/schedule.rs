//! Learning rates, and other coefficients, over the iterations of a run.
//!
//! A [`Schedule`] turns the base learning rate of a parameter into that of an iteration; optimisers
//! take any such function, so that a closure serves where none of these does:
//!
//! ```
//! use mic_nn::schedule::{Constant, InverseDecay, Schedule};
//!
//! let schedule = Schedule::InverseDecay(InverseDecay { gamma: 0.001, decay: 0.75 });
//! let half = Schedule::Constant(Constant { factor: 0.5 });
//! let schedules = vec![half, schedule];
//! assert_eq!(Schedule::Chain { schedules }.lr(0, 0.002), 0.001);
//! ```

use serde::{Deserialize, Serialize};

/// The learning rate of an iteration from a parameter's base learning rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Schedule {
    /// The same rate in all iterations.
    Constant(Constant),
    /// Polynomial decay with a linear warm-up.
    PolyWarmup(PolyWarmup),
    /// A linear ramp, then a linear decay to a part of the base rate.
    Linear(LinearDecay),
    /// Decay with a power of the iteration.
    InverseDecay(InverseDecay),
    /// Steps down at given iterations, with a linear warm-up.
    StepWarmup(StepWarmup),
    /// Each schedule's rate is the next one's base rate.
    Chain {
        /// The first one gets the parameter's base rate.
        schedules: Vec<Schedule>,
    },
}

impl Schedule {
    /// The learning rate of iteration `step`, counted from 0, for the base rate `base`.
    pub fn lr(&self, step: usize, base: f64) -> f64 {
        match self {
            Self::Constant(schedule) => schedule.lr(step, base),
            Self::PolyWarmup(schedule) => schedule.lr(step, base),
            Self::Linear(schedule) => schedule.lr(step, base),
            Self::InverseDecay(schedule) => schedule.lr(step, base),
            Self::StepWarmup(schedule) => schedule.lr(step, base),
            Self::Chain { schedules } => {
                let next = |base, schedule: &Schedule| schedule.lr(step, base);
                schedules.iter().fold(base, next)
            }
        }
    }
}

/// `base factor` in every iteration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constant {
    /// The part of the base rate.
    #[serde(default = "one")]
    pub factor: f64,
}

impl Constant {
    /// The learning rate of any iteration.
    pub fn lr(&self, _: usize, base: f64) -> f64 {
        base * self.factor
    }
}

/// `reg(t) = (base - min_lr) (1 - t / max_iters)^power + min_lr`; during the first `warmup_iters`
/// iterations `reg(t) (1 - (1 - t / warmup_iters) (1 - warmup_ratio))`. The warm-up scales the rate
/// that decays already (as in mmcv).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolyWarmup {
    /// Iterations of the run.
    pub max_iters: usize,
    /// Exponent of the decay.
    #[serde(default = "one")]
    pub power: f64,
    /// The rate at the end.
    #[serde(default)]
    pub min_lr: f64,
    /// Iterations of the warm-up; 0 for none.
    #[serde(default)]
    pub warmup_iters: usize,
    /// Where the warm-up begins, as a part of the full rate.
    #[serde(default = "tiny")]
    pub warmup_ratio: f64,
}

fn one() -> f64 {
    1.0
}

fn tiny() -> f64 {
    1e-6
}

impl PolyWarmup {
    /// The learning rate of iteration `step`, counted from 0; that of the end from there on.
    pub fn lr(&self, step: usize, base: f64) -> f64 {
        let regular =
            (base - self.min_lr) * remaining(step, self.max_iters).powf(self.power) + self.min_lr;
        if step >= self.warmup_iters {
            return regular;
        }
        let missing = 1.0 - step as f64 / self.warmup_iters as f64;
        regular * (1.0 - missing * (1.0 - self.warmup_ratio))
    }
}

/// `base min((t + 1) / ramp_iters, 1) (final_ratio + (1 - final_ratio) (1 - t / max_iters))`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearDecay {
    /// Iterations of the run.
    pub max_iters: usize,
    /// Iterations of the ramp; 0 for none.
    #[serde(default)]
    pub ramp_iters: usize,
    /// The rate at the end, as a part of the base rate.
    #[serde(default)]
    pub final_ratio: f64,
}

impl LinearDecay {
    /// The learning rate of iteration `step`, counted from 0; that of the end from there on.
    pub fn lr(&self, step: usize, base: f64) -> f64 {
        let ramp = ((step + 1) as f64 / self.ramp_iters.max(1) as f64).min(1.0);
        let left = remaining(step, self.max_iters);
        base * ramp * (self.final_ratio + (1.0 - self.final_ratio) * left)
    }
}

/// `base (1 + gamma t)^-decay`: the schedule of DANN and its successors, as TLLib's `LambdaLR` has
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InverseDecay {
    /// How fast the decay sets in.
    pub gamma: f64,
    /// Exponent of the decay.
    pub decay: f64,
}

impl InverseDecay {
    /// The learning rate of iteration `step`, counted from 0.
    pub fn lr(&self, step: usize, base: f64) -> f64 {
        base * (1.0 + self.gamma * step as f64).powf(-self.decay)
    }
}

/// `base gamma^k w(t)`, where k milestones are not later than t, and during the first
/// `warmup_iters` iterations `w(t) = warmup_factor (1 - t / warmup_iters) + t / warmup_iters`, 1
/// from there on (maskrcnn-benchmark's `WarmupMultiStepLR`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepWarmup {
    /// Iterations from which the rate is lower by another factor `gamma`, in any order.
    pub milestones: Vec<usize>,
    /// The factor of a milestone.
    #[serde(default = "tenth")]
    pub gamma: f64,
    /// Iterations of the warm-up; 0 for none.
    #[serde(default)]
    pub warmup_iters: usize,
    /// Where the warm-up begins, as a part of the full rate.
    #[serde(default = "third")]
    pub warmup_factor: f64,
}

fn tenth() -> f64 {
    0.1
}

fn third() -> f64 {
    1.0 / 3.0
}

impl StepWarmup {
    /// The learning rate of iteration `step`, counted from 0.
    pub fn lr(&self, step: usize, base: f64) -> f64 {
        let mut warmup = 1.0;
        if step < self.warmup_iters {
            let done = step as f64 / self.warmup_iters as f64;
            warmup = self.warmup_factor * (1.0 - done) + done;
        }
        let reached = self.milestones.iter().filter(|&&at| at <= step).count();
        base * warmup * self.gamma.powi(reached as i32)
    }
}

/// A coefficient that rises from `low` towards `high`, for gradient reversal with a warm start
/// (DANN, sec. 5.2.2, in the form of TLLib's `WarmStartGradientReverseLayer`):
///
/// ```text
/// 2 (high - low) / (1 + exp(-alpha t / max_iters)) - (high - low) + low
/// ```
///
/// It is `low` at t = 0 and, unlike a learning rate, does not stop at `max_iters`: with the defaults
/// it is tanh(t / 2000), 0.46 there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WarmStart {
    /// Steepness.
    pub alpha: f64,
    /// The coefficient at the start.
    pub low: f64,
    /// The coefficient in the limit.
    pub high: f64,
    /// The unit of time.
    pub max_iters: usize,
}

impl Default for WarmStart {
    fn default() -> Self {
        Self {
            alpha: 1.0,
            low: 0.0,
            high: 1.0,
            max_iters: 1000,
        }
    }
}

impl WarmStart {
    /// The coefficient of iteration `step`, counted from 0.
    pub fn coefficient(&self, step: usize) -> f64 {
        let span = self.high - self.low;
        let time = self.alpha * step as f64 / self.max_iters.max(1) as f64;
        2.0 * span / (1.0 + (-time).exp()) - span + self.low
    }
}

/// The part of the run that is still ahead.
fn remaining(step: usize, total: usize) -> f64 {
    (1.0 - step as f64 / total.max(1) as f64).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_schedule() {
        let schedule = Schedule::PolyWarmup(PolyWarmup {
            max_iters: 40_000,
            power: 1.0,
            min_lr: 0.0,
            warmup_iters: 1500,
            warmup_ratio: 1e-6,
        });
        let recorded = [
            (0, 6.0e-11),
            (1, 4.005_895_9e-8),
            (10, 3.999_595_9e-7),
            (100, 3.990_055_9e-6),
            (750, 2.943_752_94e-5),
            (1499, 5.771_299_90e-5),
            (1500, 5.775e-5),
            (20_000, 3e-5),
            (39_999, 1.5e-9),
        ];
        for (step, want) in recorded {
            for scale in [1.0, 10.0] {
                let lr = schedule.lr(step, 6e-5 * scale);
                assert!((lr / scale / want - 1.0).abs() < 2e-8, "{step}: {lr}");
            }
        }
        assert_eq!(schedule.lr(50_000, 6e-5), 0.0);
    }

    #[test]
    fn a_ramp_then_a_fall_to_a_part() {
        let schedule: Schedule = serde_json::from_str(
            r#"{"type": "linear", "max_iters": 100, "ramp_iters": 10, "final_ratio": 0.2}"#,
        )
        .unwrap();
        assert!((schedule.lr(0, 1.0) - 0.1).abs() < 1e-12);
        assert!((schedule.lr(10, 2.0) - 2.0 * 0.92).abs() < 1e-12);
        assert!((schedule.lr(50, 1.0) - 0.6).abs() < 1e-12);
        assert!((schedule.lr(100, 1.0) - 0.2).abs() < 1e-12);
        let unknown = r#"{"type": "linear", "max_iters": 100, "rampiters": 10}"#;
        assert!(serde_json::from_str::<Schedule>(unknown).is_err());
    }

    #[test]
    fn inverse_decay_as_in_the_classification_runs() {
        let schedule = InverseDecay {
            gamma: 0.001,
            decay: 0.75,
        };
        let expected = [
            (0, 2e-3),
            (1, 1.998_501e-3),
            (10, 1.985_130e-3),
            (100, 1.862_025e-3),
            (1000, 1.189_207e-3),
            (15_000, 2.5e-4),
            (30_000, 1.522_330e-4),
        ];
        for (step, want) in expected {
            let lr = schedule.lr(step, 0.002);
            assert!((lr / want - 1.0).abs() < 1e-6, "{step}: {lr}");
        }
    }

    #[test]
    fn steps_with_warm_up_as_in_the_detection_runs() {
        let schedule = StepWarmup {
            milestones: vec![40_000, 30_000],
            gamma: 0.1,
            warmup_iters: 500,
            warmup_factor: 1.0 / 3.0,
        };
        let expected = [
            (0, 8.333_333_333e-4),
            (100, 1.166_666_667e-3),
            (250, 1.666_666_667e-3),
            (499, 2.496_666_667e-3),
            (500, 2.5e-3),
            (29_999, 2.5e-3),
            (30_000, 2.5e-4),
            (39_999, 2.5e-4),
            (40_000, 2.5e-5),
            (59_999, 2.5e-5),
        ];
        for (step, want) in expected {
            for scale in [1.0, 2.0] {
                let lr = schedule.lr(step, 0.0025 * scale);
                assert!((lr / scale / want - 1.0).abs() < 1e-9, "{step}: {lr}");
            }
        }
    }

    #[test]
    fn chains_pass_rates_on() {
        let text = r#"{"type": "chain", "schedules": [
            {"type": "linear", "max_iters": 100, "ramp_iters": 10, "final_ratio": 1.0},
            {"type": "inverse_decay", "gamma": 0.1, "decay": 1.0},
            {"type": "constant"}
        ]}"#;
        let schedule: Schedule = serde_json::from_str(text).unwrap();
        assert!((schedule.lr(4, 3.0) - 3.0 * 0.5 / 1.4).abs() < 1e-12);
        assert_eq!(Schedule::Chain { schedules: vec![] }.lr(4, 3.0), 3.0);
        let written = serde_json::to_string(&schedule).unwrap();
        assert_eq!(
            serde_json::from_str::<Schedule>(&written).unwrap(),
            schedule
        );
    }

    #[test]
    fn the_warm_start_is_a_hyperbolic_tangent() {
        let ramp = WarmStart::default();
        for step in [0usize, 1, 10, 300, 1000, 15_000, 30_000] {
            let want = (step as f64 / 2000.0).tanh();
            assert!((ramp.coefficient(step) - want).abs() < 1e-15, "{step}");
        }
        let ramp = WarmStart {
            alpha: 10.0,
            low: 0.2,
            high: 0.6,
            max_iters: 50,
        };
        assert!((ramp.coefficient(0) - 0.2).abs() < 1e-15);
        assert!((ramp.coefficient(100_000) - 0.6).abs() < 1e-15);
    }
}
