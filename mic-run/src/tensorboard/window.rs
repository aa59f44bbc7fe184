//! Means over windows of steps.

use crate::record::StepRecord;

/// Sums since the window began.
#[derive(Debug, Default)]
pub(super) struct Window {
    steps: u64,
    seconds: f64,
    lr: f64,
    /// Name, sum and number of values. A step names the same scalars in the same order as the one
    /// before as a rule, so that finding them costs a comparison each.
    sums: Vec<(String, f64, u64)>,
}

impl Window {
    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// Adds a step; scalars that are no number count as absent.
    pub(super) fn add(&mut self, record: &StepRecord) {
        self.steps += 1;
        self.seconds += record.seconds;
        self.lr = record.lr;
        let mut expected = 0;
        for (name, &value) in &record.scalars {
            let here = |(sum, _, _): &(String, f64, u64)| sum == name;
            let place = match self.sums.get(expected).is_some_and(here) {
                true => expected,
                false => self.place(name),
            };
            expected = place + 1;
            if !value.is_nan() {
                self.sums[place].1 += value;
                self.sums[place].2 += 1;
            }
        }
    }

    fn place(&mut self, name: &str) -> usize {
        let place = self.sums.iter().position(|(sum, _, _)| sum == name);
        place.unwrap_or_else(|| {
            self.sums.push((name.to_owned(), 0.0, 0));
            self.sums.len() - 1
        })
    }

    /// The means by tag, with the last learning rate; the window begins again.
    pub(super) fn take(&mut self) -> Vec<(String, f64)> {
        if self.steps == 0 {
            return Vec::new();
        }
        let present = self.sums.iter().filter(|(_, _, count)| *count > 0);
        let mean = |(name, sum, count): &(String, f64, u64)| {
            (format!("train/{name}"), sum / *count as f64)
        };
        let mut values: Vec<_> = present.map(mean).collect();
        values.push(("train/lr".into(), self.lr));
        values.push(("train/seconds".into(), self.seconds / self.steps as f64));
        self.clear();
        values
    }

    /// Forgets the steps, but not the names.
    pub(super) fn clear(&mut self) {
        (self.steps, self.seconds) = (0, 0.0);
        for (_, sum, count) in &mut self.sums {
            (*sum, *count) = (0.0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(scalars: &[(&str, f64)], seconds: f64) -> StepRecord {
        StepRecord {
            scalars: scalars.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect(),
            seconds,
            lr: 0.5,
            ..StepRecord::default()
        }
    }

    #[test]
    fn means_are_over_the_steps_that_have_the_scalar() {
        let mut window = Window::default();
        assert_eq!(window.take(), []);
        window.add(&step(&[("b", 1.0)], 1.0));
        window.add(&step(&[("a", 4.0), ("b", f64::NAN)], 2.0));
        window.add(&step(&[("a", 6.0), ("b", 3.0)], 3.0));
        let wanted = [
            ("train/b", 2.0),
            ("train/a", 5.0),
            ("train/lr", 0.5),
            ("train/seconds", 2.0),
        ];
        let wanted = wanted.map(|(n, v)| (n.to_owned(), v));
        assert_eq!(window.take(), wanted);
        window.add(&step(&[("b", 7.0)], 1.0));
        assert_eq!(window.take()[0], ("train/b".to_owned(), 7.0));
    }
}
