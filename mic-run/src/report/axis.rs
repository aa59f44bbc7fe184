//! Linear axes with round ticks.

/// A linear axis with round ticks.
pub(super) struct Axis {
    low: f64,
    pub(super) span: f64,
    pub(super) step: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// An axis for the finite ones of `values`, drawn from `from` to `to`.
    pub(super) fn new(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let finite = values.filter(|v| v.is_finite());
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
            (low.min(v), high.max(v))
        });
        // A spread of rounding errors is none; nor can an axis span more than a number can say.
        let middle = low / 2.0 + high / 2.0;
        let flat = high - low <= 1e-12 * middle.abs() || !(high - low).is_finite();
        let half = if middle == 0.0 {
            0.5
        } else {
            0.5 * middle.abs().min(1.0)
        };
        let (low, high) = match (low.is_finite(), flat) {
            (false, _) => (0.0, 1.0),
            (true, true) => (middle - half, middle + half),
            (true, false) => (low, high),
        };
        let step = round_step((high - low) / 5.0);
        let low = (low / step).floor() * step;
        let span = (high / step).ceil() * step - low;
        Self {
            low,
            span,
            step,
            from,
            to,
        }
    }

    pub(super) fn at(&self, value: f64) -> f64 {
        self.from + (value - self.low) / self.span * (self.to - self.from)
    }

    /// The value, or the end of the axis beyond which it lies.
    pub(super) fn within(&self, value: f64) -> f64 {
        value.clamp(self.low, self.low + self.span)
    }

    pub(super) fn ticks(&self) -> impl Iterator<Item = f64> + use<> {
        let (low, step) = (self.low, self.step);
        let count = (self.span / step).round() as usize;
        (0..=count).map(move |i| low + i as f64 * step)
    }
}

/// The next of 1, 2, 5 times a power of ten.
fn round_step(raw: f64) -> f64 {
    let power = 10f64.powf(raw.log10().floor());
    let lead = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|lead| lead * power >= raw * (1.0 - 1e-9));
    lead.unwrap_or(10.0) * power
}

/// A number with as many digits as a step of `step` needs: `0.25`, `1500`, `20k`, `6e-5`.
pub(super) fn number(value: f64, step: f64) -> String {
    let zero = value.abs() < step / 2.0;
    let units = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    if let Some((unit, letter)) = units.into_iter().find(|(unit, _)| step >= 2.0 * unit) {
        return match zero {
            true => "0".into(),
            false => format!("{:.0}{letter}", value / unit),
        };
    }
    if step < 4e-4 {
        let power = |v: f64| v.abs().log10().floor();
        // A little more than it is, so that 1e-5 does not count as 9.99e-6.
        let digits = power(value * (1.0 + 1e-9)) - power(step * (1.0 + 1e-9));
        let digits = digits.clamp(0.0, 3.0) as usize;
        return match zero {
            true => "0".into(),
            false => format!("{value:.digits$e}"),
        };
    }
    let decimals = (-step.log10()).ceil().clamp(0.0, 6.0) as usize;
    let value = if zero { 0.0 } else { value };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_values() {
        let axis = Axis::new([31.3, 56.9].into_iter(), 0.0, 100.0);
        assert_eq!(axis.ticks().collect::<Vec<_>>(), [30.0, 40.0, 50.0, 60.0]);
        assert_eq!((axis.at(30.0), axis.at(60.0)), (0.0, 100.0));
        let thousands = Axis::new([0.0, 1000.0].into_iter(), 0.0, 1.0);
        assert_eq!(thousands.ticks().last(), Some(1000.0));
    }

    #[test]
    fn axes_of_nothing_and_of_one_value_exist() {
        for values in [
            vec![],
            vec![f64::NAN],
            vec![3.0, 3.0],
            vec![6e-5],
            vec![1e9, 1e9 + 1e-6],
            vec![-f64::MAX, f64::MAX],
        ] {
            let axis = Axis::new(values.clone().into_iter(), 0.0, 1.0);
            assert!(axis.span > 0.0 && axis.step > 0.0, "{values:?}");
            assert!(axis.ticks().count() < 20, "{values:?}");
            let inside =
                |v: &f64| v.is_nan() || v.abs() > 1e300 || (0.0..=1.0).contains(&axis.at(*v));
            assert!(values.iter().all(inside), "{values:?}");
        }
    }

    #[test]
    fn numbers_have_the_digits_of_their_step() {
        assert_eq!(number(0.30000000000000004, 0.1), "0.3");
        assert_eq!(number(-0.0, 0.5), "0.0");
        assert_eq!(number(1000.0, 200.0), "1000");
        assert_eq!(number(0.0005, 0.0005), "0.0005");
        assert_eq!(number(20_000.0, 20_000.0), "20k");
        assert_eq!(number(0.0, 20_000.0), "0");
        assert_eq!(number(4e6, 2e6), "4M");
        assert_eq!(number(6e-5, 1e-5), "6e-5");
        assert_eq!(number(1.5e-5, 5e-6), "1.5e-5");
        assert_eq!(number(1.2e-4, 1e-5), "1.2e-4");
    }
}
