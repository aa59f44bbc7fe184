//! Mean, spread and paired differences over a handful of seeds.

use serde::{Deserialize, Serialize};

/// Arithmetic mean; `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Sample standard deviation (divided by n - 1); `None` for fewer than two values.
pub fn sample_sd(values: &[f64]) -> Option<f64> {
    let centre = mean(values)?;
    let squares: f64 = values.iter().map(|v| (v - centre).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

/// Differences of two methods seed by seed.
///
/// Seeds move all methods together (they share warm-up, data order and initial weights), so the
/// spread of the differences is what an effect has to be compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// Method minus baseline by seed.
    pub differences: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// Their sample standard deviation, from two seeds on.
    pub sd: Option<f64>,
    /// `mean / (sd / sqrt(n))` with n - 1 degrees of freedom; absent where the spread is zero or
    /// unknown.
    pub t: Option<f64>,
}

impl Paired {
    /// Differences `method[i] - baseline[i]`; `None` if the lengths differ or are zero.
    pub fn new(method: &[f64], baseline: &[f64]) -> Option<Self> {
        if method.len() != baseline.len() {
            return None;
        }
        let differences: Vec<f64> = method.iter().zip(baseline).map(|(m, b)| m - b).collect();
        let mean = mean(&differences)?;
        let sd = sample_sd(&differences);
        let t = sd
            .filter(|sd| *sd > 0.0)
            .map(|sd| mean / (sd / (differences.len() as f64).sqrt()));
        Some(Self {
            differences,
            mean,
            sd,
            t,
        })
    }
}

/// The value that |t| exceeds by chance once in twenty (two-sided), for 1 to 9 degrees of freedom.
pub fn critical_t(degrees: usize) -> Option<f64> {
    const TABLE: [f64; 9] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262,
    ];
    TABLE.get(degrees.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_divides_by_one_less_than_the_count() {
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        assert_eq!(mean(&values), Some(5.0));
        assert!((sample_sd(&values).unwrap() - (32.0f64 / 7.0).sqrt()).abs() < 1e-12);
        assert_eq!(
            (mean(&[]), sample_sd(&[]), sample_sd(&[3.0])),
            (None, None, None)
        );
    }

    #[test]
    fn paired_differences_ignore_what_both_methods_share() {
        let paired = Paired::new(&[11.0, 52.0, 33.0], &[10.0, 50.0, 30.0]).unwrap();
        assert_eq!(paired.differences, [1.0, 2.0, 3.0]);
        assert_eq!((paired.mean, paired.sd), (2.0, Some(1.0)));
        assert!((paired.t.unwrap() - 2.0 * 3.0f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn no_t_without_a_spread() {
        let one = Paired::new(&[2.0], &[1.0]).unwrap();
        assert_eq!((one.mean, one.sd, one.t), (1.0, None, None));
        let equal = Paired::new(&[2.0, 3.0], &[1.0, 2.0]).unwrap();
        assert_eq!((equal.sd, equal.t), (Some(0.0), None));
        assert!(Paired::new(&[1.0], &[1.0, 2.0]).is_none());
        assert!(Paired::new(&[], &[]).is_none());
    }
}
