//! The ordering that must hold: source-only < self-training < target-supervised.
//!
//! What masking adds to self-training is not gated: at this size it is within noise.

use super::results::MethodRuns;

/// The methods in order, each with the margin in mIoU over the one before.
const ORDER: [(&str, f64); 3] = [
    ("source-only", 0.0),
    ("self-training", 0.02),
    ("target-supervised", 0.05),
];

/// What a comparison without one of the methods is told.
pub const NEEDS: &str =
    "--gate compares source-only, self-training and target-supervised; --methods leaves one out";

/// Whether the named methods (none: all) include those that are compared.
pub fn applies(named: &[String]) -> bool {
    let included = |(key, _): &(&str, f64)| named.iter().any(|name| name == key);
    named.is_empty() || ORDER.iter().all(included)
}

/// Checks the order on every seed.
///
/// # Errors
///
/// The first pair that is out of order, with both figures.
pub fn check(methods: &[MethodRuns]) -> Result<(), String> {
    for pair in ORDER.windows(2) {
        let [(low_key, _), (high_key, margin)] = pair else {
            continue;
        };
        let runs = |key: &str| methods.iter().find(|m| m.key == key).map(|m| &m.runs);
        let (Some(low), Some(high)) = (runs(low_key), runs(high_key)) else {
            return Err(NEEDS.into());
        };
        for (low, high) in low.iter().zip(high) {
            if high.scores.miou < low.scores.miou + margin {
                return Err(format!(
                    "seed {}: {high_key} has {:.2} mIoU, {low_key} {:.2}; expected {:.0} points \
                     more",
                    low.seed,
                    100.0 * high.scores.miou,
                    100.0 * low.scores.miou,
                    100.0 * margin
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn order_and_margins_are_checked_on_every_seed() {
        let mut methods = sample::results(2).methods;
        methods.truncate(1);
        let template = methods[0].clone();
        let with = |key: &str, mious: [f64; 2]| {
            let mut method = template.clone();
            method.key = key.into();
            method.runs.resize(2, template.runs[0].clone());
            for (run, miou) in method.runs.iter_mut().zip(mious) {
                run.scores.miou = miou;
            }
            method
        };
        let trio = |middle| {
            [
                with("source-only", [0.2, 0.2]),
                with("self-training", middle),
                with("target-supervised", [0.5, 0.5]),
            ]
        };
        assert_eq!(check(&trio([0.3, 0.3])), Ok(()));
        assert!(check(&trio([0.3, 0.21])).unwrap_err().contains("21.00"));
        assert!(check(&trio([0.46, 0.3])).is_err());
        assert!(check(&trio([0.3, 0.3])[..2]).is_err());
        assert!(!applies(&["mic".into()]) && applies(&[]));
    }
}
