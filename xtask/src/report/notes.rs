//! What a reader must know besides the numbers.

use crate::reproduce::results::{Iterations, Results};
use crate::reproduce::statistics::critical_t;

/// What the numbers are and are not.
pub fn scope(results: &Results) -> String {
    let labels = || results.pairs.iter().map(|pair| pair.label.as_str());
    let data = match results.data() {
        Some(data) => data.to_owned(),
        None => labels().collect::<Vec<_>>().join(" and "),
    };
    format!(
        "This is the miniature, not the paper's experiment: a small network trained from random \
         weights on {data}. Its numbers can be compared with each other and with nothing else."
    )
}

/// How to read the rows of the tables.
pub fn reading(results: &Results) -> Vec<String> {
    let Iterations { warmup, adaptation } = results.iterations;
    let start = match warmup {
        0 => "All methods of a seed start from the same random weights".to_owned(),
        warmup => format!(
            "All methods of a seed start from the same weights ({warmup} iterations on the labelled \
             source images)"
        ),
    };
    let mut lines = vec![format!(
        "{start} and take {adaptation} iterations; the last iteration's student is evaluated, no \
         checkpoint is picked."
    )];
    lines.extend(results.notes.reading.iter().cloned());
    let seeds = results.seeds.len();
    match critical_t(seeds.saturating_sub(1)) {
        Some(critical) => lines.push(format!(
            "± is the sample standard deviation over {seeds} seeds. A paired difference with |t| \
             below {critical:.2} is within chance (two-sided, 5 %, for one comparison chosen \
             beforehand)."
        )),
        None if seeds < 2 => lines.push(
            "One seed says nothing about chance; give several, such as --seeds 0,1,2.".into(),
        ),
        None => lines.push(format!(
            "± is the sample standard deviation over {seeds} seeds."
        )),
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn chance_is_explained_according_to_the_seeds() {
        let last = |seeds| reading(&sample::results(seeds)).pop().unwrap();
        assert!(last(1).contains("One seed"));
        assert!(last(3).contains("below 4.30"));
        assert!(scope(&sample::results(1)).contains("made-up"));
        let mut several = sample::results(1);
        several.pairs[0].label = "one".into();
        several.pairs.push(several.pairs[0].clone());
        assert_eq!(scope(&several).matches("made-up").count(), 1);
        several.pairs[1].data = "other images".into();
        assert!(scope(&several).contains("on one and one."));
    }
}
