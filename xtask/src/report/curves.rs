//! From the scalars of every step to lines that can be read.

use mic_run::report::chart::{Point, Series};

use crate::reproduce::results::{Measure, MethodRuns, PairRuns, Run};

/// Points of a smoothed line.
const POINTS: usize = 60;

/// A measure (per cent) over the iterations, from the weights that all methods share, if they share
/// any.
pub(super) fn measure(pair: &PairRuns, measure: &Measure) -> Vec<Series> {
    let start = |seed: u64| {
        let runs = pair.warmup.iter().flat_map(|warmup| &warmup.runs);
        let mut warmup = runs.filter(|run| run.seed == seed);
        warmup.find_map(|run| Some((0, measure.of(run)?)))
    };
    series(pair, |run| {
        let evaluations = run.evaluations.iter();
        let evaluations = evaluations.filter_map(|e| Some((e.step, *e.scores.get(&measure.key)?)));
        let points = start(run.seed).into_iter().chain(evaluations);
        points
            .map(|(step, value)| (step as f64, 100.0 * value))
            .collect()
    })
}

/// A named scalar over the iterations, each point the mean of a window.
pub(super) fn scalar(pair: &PairRuns, name: &str) -> Vec<Series> {
    series(pair, |run| {
        run.scalars.get(name).map(|s| smooth(s)).unwrap_or_default()
    })
}

/// Names of all scalars that a method reports, in order.
pub(super) fn scalar_names(pair: &PairRuns) -> Vec<&str> {
    let runs = pair.methods.iter().flat_map(|method| &method.runs);
    let mut names: Vec<&str> = runs
        .flat_map(|run| run.scalars.keys().map(String::as_str))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Means over windows of equal length: (middle of the window, mean).
fn smooth(values: &[Option<f64>]) -> Vec<(f64, f64)> {
    let window = values.len().div_ceil(POINTS).max(1);
    let windows = values.chunks(window).enumerate();
    let points = windows.filter_map(|(number, chunk)| {
        let present: Vec<f64> = chunk
            .iter()
            .flatten()
            .copied()
            .filter(|v| v.is_finite())
            .collect();
        let middle = (number * window) as f64 + (chunk.len() as f64 + 1.0) / 2.0;
        Some((middle, crate::reproduce::statistics::mean(&present)?))
    });
    points.collect()
}

fn series(pair: &PairRuns, line: impl Fn(&Run) -> Vec<(f64, f64)>) -> Vec<Series> {
    let lines = pair
        .methods
        .iter()
        .enumerate()
        .map(|(colour, method)| Series {
            label: method.label.clone(),
            colour,
            points: over_seeds(method, &line),
            faint: Vec::new(),
        });
    lines.filter(|series| !series.points.is_empty()).collect()
}

/// Mean and range over the seeds, point by point, as far as every seed has one.
fn over_seeds(method: &MethodRuns, line: &impl Fn(&Run) -> Vec<(f64, f64)>) -> Vec<Point> {
    let lines: Vec<Vec<(f64, f64)>> = method.runs.iter().map(line).collect();
    let length = lines.iter().map(Vec::len).min().unwrap_or(0);
    let point = |i: usize| {
        let values = lines.iter().map(|line| line[i].1);
        Point {
            x: lines[0][i].0,
            mean: values.clone().sum::<f64>() / lines.len() as f64,
            low: values.clone().fold(f64::INFINITY, f64::min),
            high: values.fold(f64::NEG_INFINITY, f64::max),
        }
    };
    (0..length).map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_short_line_is_kept_as_it_is() {
        let line = smooth(&[Some(3.0), None, Some(1.0), Some(f64::NAN)]);
        assert_eq!(line, [(1.0, 3.0), (3.0, 1.0)]);
    }

    #[test]
    fn a_long_line_becomes_means() {
        let values: Vec<Option<f64>> = (0..2 * POINTS).map(|i| Some(i as f64)).collect();
        let line = smooth(&values);
        assert_eq!(line.len(), POINTS);
        assert_eq!(line[..2], [(1.5, 0.5), (3.5, 2.5)]);
    }

    #[test]
    fn the_measure_starts_at_the_warmup_and_spans_the_seeds() {
        let results = sample::results(3);
        let (pair, main) = (&results.pairs[0], results.main());
        let lines = measure(pair, main);
        assert_eq!(lines.len(), pair.methods.len());
        let first = lines[0].points[0];
        let warmup = pair.warmup.as_ref().unwrap();
        let starts: Vec<f64> = warmup
            .runs
            .iter()
            .map(|run| 100.0 * main.of(run).unwrap())
            .collect();
        assert_eq!(first.x, 0.0);
        assert_eq!(
            first.low,
            starts.iter().copied().fold(f64::INFINITY, f64::min)
        );
        assert!(first.low < first.mean && first.mean < first.high);
    }

    #[test]
    fn methods_without_a_scalar_have_no_line() {
        let lines = scalar(&sample::results(1).pairs[0], "pseudo.weight");
        assert_eq!(
            lines.iter().map(|line| line.colour).collect::<Vec<_>>(),
            [1, 2]
        );
    }
}
