//! The table of results, the same in the terminal and on the page.

use mic_run::report::Table;

use crate::reproduce::results::{Comparison, Measure, MethodRuns, PairRuns, Results, Run};
use crate::reproduce::statistics::{mean, sample_sd};

/// What stands for a value that does not exist.
const DASH: &str = "-";

/// Methods of a pair of domains by classes and scores; rates in per cent, over several seeds as mean
/// ± sample standard deviation.
pub fn scores(results: &Results, pair: &PairRuns) -> Table {
    let names = results.classes.iter().map(|class| short_name(&class.name));
    let measures = results.measures.iter().map(|measure| measure.label.clone());
    let mut headings = vec!["method".to_owned()];
    headings.extend(measures);
    headings.extend(names);
    headings.extend(["s/step".to_owned(), "peak MiB".to_owned()]);
    let rows = pair
        .methods
        .iter()
        .map(|method| score_row(method, &results.measures, results.classes.len()));
    Table {
        headings,
        rows: rows.collect(),
    }
}

fn score_row(method: &MethodRuns, measures: &[Measure], classes: usize) -> Vec<String> {
    let over_seeds = |value: &dyn Fn(&Run) -> Option<f64>, decimals: usize| {
        let values: Vec<f64> = method.runs.iter().filter_map(value).collect();
        spread(&values, decimals)
    };
    let mut row = vec![method.label.clone()];
    for measure in measures {
        row.push(over_seeds(&|run| Some(100.0 * measure.of(run)?), 2));
    }
    for class in 0..classes {
        let score = |run: &Run| Some(100.0 * run.class_scores.get(class).copied().flatten()?);
        row.push(over_seeds(&score, 1));
    }
    row.push(over_seeds(&|run| Some(run.timing.seconds_per_step), 3));
    let mebibytes = |run: &Run| Some(run.timing.peak_memory? as f64 / f64::from(1 << 20));
    row.push(over_seeds(&mebibytes, 0));
    row
}

/// Paired differences in points of per cent.
pub fn differences(comparisons: &[Comparison], seeds: &[u64]) -> Table {
    let mut headings = vec!["method".into(), "against".into(), "measure".into()];
    headings.extend(seeds.iter().map(|seed| format!("seed {seed}")));
    headings.extend(["mean".into(), "sd".into(), "t".into()]);
    let rows = comparisons.iter().map(|comparison| {
        let paired = &comparison.paired;
        let mut row = vec![
            comparison.method.clone(),
            comparison.baseline.clone(),
            comparison.measure.label.clone(),
        ];
        row.extend(
            paired
                .differences
                .iter()
                .map(|d| format!("{:+.2}", 100.0 * d)),
        );
        row.push(format!("{:+.2}", 100.0 * paired.mean));
        row.push(
            paired
                .sd
                .map_or(DASH.into(), |sd| format!("{:.2}", 100.0 * sd)),
        );
        row.push(paired.t.map_or(DASH.into(), |t| format!("{t:.2}")));
        row
    });
    Table {
        headings,
        rows: rows.collect(),
    }
}

/// `mean` or `mean ± sd`, or a dash for nothing.
fn spread(values: &[f64], decimals: usize) -> String {
    match (mean(values), sample_sd(values)) {
        (None, _) => DASH.into(),
        (Some(mean), None) => format!("{mean:.decimals$}"),
        (Some(mean), Some(sd)) => format!("{mean:.decimals$} ± {sd:.decimals$}"),
    }
}

/// At most six letters for a class.
fn short_name(name: &str) -> String {
    let known = match name {
        "sidewalk" => "sidew",
        "building" => "build",
        "traffic light" => "light",
        "traffic sign" | "sign symbol" => "sign",
        "vegetation" => "veget",
        "terrain" => "terr",
        "motorcycle" => "moto",
        "bicycle" => "bike",
        "pedestrian" => "pedes",
        "bicyclist" => "cycl",
        "pavement" => "pave",
        other => return other.chars().take(6).collect(),
    };
    known.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn one_seed_gives_plain_numbers_and_absent_classes_a_dash() {
        let results = sample::results(1);
        let table = scores(&results, &results.pairs[0]);
        assert_eq!(
            table.headings,
            [
                "method",
                "mIoU",
                "pixel acc.",
                "teacher acc.",
                "road",
                "light",
                "train",
                "s/step",
                "peak MiB"
            ]
        );
        let run = &results.pairs[0].methods[0].runs[0];
        assert_eq!(
            table.rows[0][1],
            format!("{:.2}", 100.0 * run.scores["miou"])
        );
        assert_eq!(table.rows[0][3], "-", "no teacher");
        assert_eq!(table.rows[0][6], "-", "absent class");
        assert!(table.rows.iter().flatten().all(|cell| !cell.contains('±')));
    }

    #[test]
    fn several_seeds_give_a_spread() {
        assert_eq!(spread(&[1.0, 2.0, 3.0], 1), "2.0 ± 1.0");
        let results = sample::results(3);
        let table = scores(&results, &results.pairs[0]);
        assert!(table.rows[0][1].contains(" ± "));
    }

    #[test]
    fn differences_have_a_column_a_seed() {
        let results = sample::results(3);
        let table = differences(&results.pairs[0].comparisons, &results.seeds);
        assert_eq!(
            table.headings[3..],
            ["seed 0", "seed 1", "seed 2", "mean", "sd", "t"]
        );
        assert!(!table.rows.is_empty());
        assert!(
            table
                .rows
                .iter()
                .all(|row| row.len() == table.headings.len())
        );
    }

    #[test]
    fn transposing_swaps_rows_and_columns() {
        let results = sample::results(1);
        let table = scores(&results, &results.pairs[0]);
        let turned = table.transposed();
        assert_eq!(turned.headings[1], table.rows[0][0]);
        assert_eq!(turned.rows[2][1], table.rows[0][3]);
        assert_eq!(turned.transposed(), table);
    }
}
