//! Learning rates over the iterations of a run.

use serde::{Deserialize, Serialize};

/// The learning rate of an iteration from a parameter's base learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Schedule {
    /// Polynomial decay with a linear warm-up.
    PolyWarmup(PolyWarmup),
    /// A linear ramp, then a linear decay to a part of the base rate.
    Linear(LinearDecay),
}

impl Schedule {
    /// The learning rate of iteration `step`, counted from 0, for the base rate `base`.
    pub fn lr(&self, step: usize, base: f64) -> f64 {
        match self {
            Self::PolyWarmup(schedule) => schedule.lr(step, base),
            Self::Linear(schedule) => schedule.lr(step, base),
        }
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
}
