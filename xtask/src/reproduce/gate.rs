//! An order of the methods that must hold.

use super::results::{Measure, PairRuns};
use super::statistics::mean;

/// Methods from the lowest to the highest.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// Each with the margin over the one before, as a fraction.
    pub order: &'static [(&'static str, f64)],
    /// Whether the order must hold on every seed; otherwise in the mean over the seeds.
    pub every_seed: bool,
}

impl Gate {
    /// What a comparison without one of the methods is told.
    pub fn needs(&self) -> String {
        let keys: Vec<&str> = self.order.iter().map(|(key, _)| *key).collect();
        format!(
            "--gate compares {}; --methods leaves one out",
            keys.join(", ")
        )
    }

    /// Whether the named methods (none: all) include those that are compared.
    pub fn applies(&self, named: &[String]) -> bool {
        let included = |(key, _): &(&str, f64)| named.iter().any(|name| name == key);
        named.is_empty() || self.order.iter().all(included)
    }

    /// Checks the order by `measure` on every pair of domains.
    ///
    /// # Errors
    ///
    /// The first two methods that are out of order, with both figures.
    pub fn check(&self, measure: &Measure, pairs: &[PairRuns]) -> Result<(), String> {
        for pair in pairs {
            self.check_pair(measure, pair).map_err(|reason| {
                if pair.label.is_empty() {
                    return reason;
                }
                format!("{}: {reason}", pair.label)
            })?;
        }
        Ok(())
    }

    fn check_pair(&self, measure: &Measure, pair: &PairRuns) -> Result<(), String> {
        for neighbours in self.order.windows(2) {
            let [(low_key, _), (high_key, margin)] = neighbours else {
                continue;
            };
            let values = |key: &str| {
                let method = pair.methods.iter().find(|method| method.key == key);
                method.and_then(|method| method.values(&measure.key))
            };
            let (Some(low), Some(high)) = (values(low_key), values(high_key)) else {
                return Err(self.needs());
            };
            let compared: Vec<(String, f64, f64)> = if self.every_seed {
                let seeds = pair.seeds();
                let values = low.iter().zip(&high).zip(seeds);
                values
                    .map(|((low, high), seed)| (format!("seed {seed}"), *low, *high))
                    .collect()
            } else {
                let both = mean(&low).zip(mean(&high));
                both.into_iter()
                    .map(|(low, high)| ("mean over the seeds".into(), low, high))
                    .collect()
            };
            for (what, low, high) in compared {
                if high < low + margin {
                    return Err(format!(
                        "{what}: {high_key} has {:.2} {name}, {low_key} {:.2}; expected {:.0} \
                         points more",
                        100.0 * high,
                        100.0 * low,
                        100.0 * margin,
                        name = measure.label
                    ));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    const GATE: Gate = Gate {
        order: &[
            ("source-only", 0.0),
            ("self-training", 0.02),
            ("ceiling", 0.05),
        ],
        every_seed: true,
    };

    fn pair(middle: [f64; 2]) -> PairRuns {
        let mut pair = sample::results(2).pairs.remove(0);
        let template = pair.methods[0].clone();
        pair.methods = [
            ("source-only", [0.2, 0.2]),
            ("self-training", middle),
            ("ceiling", [0.5, 0.5]),
        ]
        .map(|(key, mious)| {
            let mut method = template.clone();
            method.key = key.into();
            for (run, miou) in method.runs.iter_mut().zip(mious) {
                run.scores.insert("miou".into(), miou);
            }
            method
        })
        .to_vec();
        pair
    }

    fn check(gate: Gate, middle: [f64; 2]) -> Result<(), String> {
        let measure = sample::results(2).measures.remove(0);
        gate.check(&measure, &[pair(middle)])
    }

    #[test]
    fn order_and_margins_are_checked_on_every_seed() {
        assert_eq!(check(GATE, [0.3, 0.3]), Ok(()));
        assert!(check(GATE, [0.3, 0.21]).unwrap_err().contains("21.00"));
        assert!(check(GATE, [0.46, 0.3]).is_err());
        let measure = sample::results(2).measures.remove(0);
        let mut short = pair([0.3, 0.3]);
        short.methods.truncate(2);
        assert!(GATE.check(&measure, &[short]).is_err());
        assert!(!GATE.applies(&["mic".into()]) && GATE.applies(&[]));
    }

    #[test]
    fn the_mean_may_hold_where_a_seed_does_not() {
        let gate = Gate {
            every_seed: false,
            ..GATE
        };
        assert_eq!(check(gate, [0.3, 0.21]), Ok(()));
        assert!(check(gate, [0.2, 0.2]).unwrap_err().contains("mean"));
    }
}
