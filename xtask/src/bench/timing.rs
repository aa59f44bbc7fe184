//! Times of both sides, one after the other.

use super::peer::Peer;

/// Seconds of the repetitions of both sides.
#[derive(Debug, Default)]
pub(super) struct Times {
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

/// Measures both sides in turn, `warm` times for nothing and then `repetitions` times. A turn is
/// `times` runs, of which the mean counts.
pub(super) fn alternate(
    warm: usize,
    repetitions: usize,
    times: usize,
    mut ours: impl FnMut() -> anyhow::Result<f64>,
    mut theirs: Option<(&mut Peer, bool)>,
) -> anyhow::Result<Times> {
    let mut measured = Times::default();
    for repetition in 0..warm + repetitions {
        let mut own = 0.0;
        for _ in 0..times {
            own += ours()? / times as f64;
        }
        let other = match &mut theirs {
            Some((peer, recompute)) => Some(peer.run(times, *recompute)?),
            None => None,
        };
        if repetition >= warm {
            measured.ours.push(own);
            measured.theirs.extend(other);
        }
    }
    Ok(measured)
}

impl Times {
    /// Our median.
    pub(super) fn ours(&self) -> f64 {
        quantile(&self.ours, 0.5)
    }

    /// PyTorch's median, if it was measured.
    pub(super) fn theirs(&self) -> Option<f64> {
        (!self.theirs.is_empty()).then(|| quantile(&self.theirs, 0.5))
    }

    /// Median and quartiles of the ratios, ours by PyTorch's.
    pub(super) fn ratio(&self) -> String {
        self.compared(|ours, theirs| ours / theirs)
    }

    /// Median and quartiles of how many times as fast as PyTorch we are.
    pub(super) fn factor(&self) -> String {
        self.compared(|ours, theirs| theirs / ours)
    }

    fn compared(&self, ratio: impl Fn(f64, f64) -> f64) -> String {
        if self.theirs.is_empty() {
            return String::new();
        }
        let pairs = self.ours.iter().zip(&self.theirs);
        let ratios: Vec<f64> = pairs.map(|(ours, theirs)| ratio(*ours, *theirs)).collect();
        let [low, median, high] = [0.25, 0.5, 0.75].map(|q| quantile(&ratios, q));
        format!("{median:.2} ({low:.2} to {high:.2})")
    }
}

/// Linear interpolation between the sorted values.
fn quantile(values: &[f64], q: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else {
        return f64::NAN;
    };
    let position = q * last as f64;
    let (low, high) = (position.floor() as usize, position.ceil() as usize);
    values[low] + (values[high] - values[low]) * (position - low as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[3.0, 1.0, 2.0, 4.0], 0.5), 2.5);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn warming_up_does_not_count() -> anyhow::Result<()> {
        let mut calls = 0.0;
        let count = || {
            calls += 1.0;
            Ok(calls)
        };
        let times = alternate(2, 3, 2, count, None)?;
        // The means of the pairs (5, 6), (7, 8) and (9, 10).
        assert_eq!(times.ours, [5.5, 7.5, 9.5]);
        assert_eq!((times.theirs(), times.ratio().as_str()), (None, ""));
        Ok(())
    }

    #[test]
    fn ratios_are_those_of_neighbours() {
        let times = Times {
            ours: vec![1.0, 2.0, 6.0],
            theirs: vec![2.0, 2.0, 3.0],
        };
        assert_eq!(times.ratio(), "1.00 (0.75 to 1.50)");
        assert_eq!(times.factor(), "1.00 (0.75 to 1.50)");
        assert_eq!((times.ours(), times.theirs()), (2.0, Some(2.0)));
    }
}
