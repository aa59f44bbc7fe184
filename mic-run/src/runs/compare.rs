//! Two runs side by side.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;

use super::summary::RunSummary;
use crate::Result;
use crate::difference::{Difference, differences, shown};
use crate::folder::EVENTS;
use crate::memory::readable;
use crate::record::Evaluation;
use crate::report::Table;
use crate::report::facts::Facts;
use crate::report::format;
use crate::report::story::Story;

/// Two runs side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The first run.
    pub left: RunSummary,
    /// The second run.
    pub right: RunSummary,
    /// Scores of the last and of the best evaluation.
    pub scores: Vec<Pair>,
    /// Scores of the classes in the last evaluation.
    pub classes: Vec<Pair>,
    /// Configuration keys that differ.
    pub configuration: Vec<Difference>,
}

/// A number of both runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pair {
    /// What it is, such as `mIoU (best)` or `IoU road`.
    pub name: String,
    /// Of the first run.
    pub left: Option<f64>,
    /// Of the second run.
    pub right: Option<f64>,
    /// Second minus first.
    pub difference: Option<f64>,
}

impl Pair {
    fn new(name: String, left: Option<f64>, right: Option<f64>) -> Self {
        let difference = left.zip(right).map(|(left, right)| right - left);
        Self {
            name,
            left,
            right,
            difference,
        }
    }
}

/// Compares the runs in two folders.
///
/// # Errors
/// A folder that is none, or whose events cannot be read.
pub fn compare(left: &Path, right: &Path) -> Result<Comparison> {
    let read = |folder: &Path| -> Result<(Facts, Story)> {
        Ok((Facts::read(folder)?, Story::read(&folder.join(EVENTS))?))
    };
    let (a, b) = (read(left)?, read(right)?);
    let empty = toml::Table::new();
    let config = |facts: &'_ Facts| facts.config.clone().unwrap_or_else(|| empty.clone());
    let (mut summary_a, mut summary_b) = (RunSummary::of(&a.0, &a.1), RunSummary::of(&b.0, &b.1));
    if summary_a.name == summary_b.name {
        summary_a.name = left.display().to_string();
        summary_b.name = right.display().to_string();
    }
    let mut scores = pairs(a.1.last(), b.1.last(), " (last)");
    scores.extend(pairs(a.1.best(), b.1.best(), " (best)"));
    Ok(Comparison {
        left: summary_a,
        right: summary_b,
        scores,
        classes: class_pairs(a.1.last(), b.1.last()),
        configuration: differences(&config(&a.0), &config(&b.0)),
    })
}

fn pairs(a: Option<&Evaluation>, b: Option<&Evaluation>, which: &str) -> Vec<Pair> {
    let names: BTreeSet<&String> = [a, b]
        .into_iter()
        .flatten()
        .flat_map(|e| e.scores.keys())
        .collect();
    let of = |evaluation: Option<&Evaluation>, name: &String| {
        evaluation.and_then(|evaluation| evaluation.scores.get(name).copied().flatten())
    };
    let mut names: Vec<&String> = names.into_iter().collect();
    let main = a.or(b).map(|evaluation| &evaluation.main);
    names.sort_by_key(|name| Some(*name) != main);
    let pair = |name: &String| Pair::new(format!("{name}{which}"), of(a, name), of(b, name));
    names.into_iter().map(pair).collect()
}

/// By name of score and class, so that runs with other classes can be compared as well.
fn class_pairs(a: Option<&Evaluation>, b: Option<&Evaluation>) -> Vec<Pair> {
    let mut names: Vec<(&String, &String)> = Vec::new();
    for evaluation in [a, b].into_iter().flatten() {
        for score in evaluation.class_scores.keys() {
            for class in &evaluation.classes {
                if !names.contains(&(score, class)) {
                    names.push((score, class));
                }
            }
        }
    }
    // The score that the main one is a mean of comes first, such as IoU for mIoU.
    let main = a.or(b).map_or("", |evaluation| evaluation.main.as_str());
    names.sort_by_key(|(score, _)| !main.ends_with(score.as_str()));
    let of = |evaluation: Option<&Evaluation>, score: &String, class: &String| {
        let evaluation = evaluation?;
        let place = evaluation.classes.iter().position(|name| name == class)?;
        evaluation
            .class_scores
            .get(score)?
            .get(place)
            .copied()
            .flatten()
    };
    let pair = |(score, class): (&String, &String)| {
        Pair::new(
            format!("{score} {class}"),
            of(a, score, class),
            of(b, score, class),
        )
    };
    names.into_iter().map(pair).collect()
}

impl Comparison {
    /// Tables for a terminal: scores, classes, time and memory, configuration.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let shares = [&self.scores, &self.classes].map(|pairs| {
            format::are_shares(
                pairs
                    .iter()
                    .flat_map(|pair| [pair.left, pair.right])
                    .flatten(),
            )
        });
        for (title, pairs, shares) in [
            ("scores", &self.scores, shares[0]),
            ("classes, last evaluation", &self.classes, shares[1]),
        ] {
            if !pairs.is_empty() {
                let unit = if shares { ", %" } else { "" };
                text += &self
                    .numbers(&format!("{title}{unit}"), pairs, shares)
                    .to_text();
                text.push('\n');
            }
        }
        text += &self.cost().to_text();
        text.push('\n');
        text += &if self.configuration.is_empty() {
            "The configurations are the same.\n".to_owned()
        } else {
            self.keys().to_text()
        };
        text
    }

    fn headings<'a>(&'a self, first: &'a str) -> [&'a str; 3] {
        [first, &self.left.name, &self.right.name]
    }

    fn numbers(&self, title: &str, pairs: &[Pair], shares: bool) -> Table {
        let mut table = Table::new(self.headings(title).into_iter().chain(["difference"]));
        for pair in pairs {
            let scale = if shares { 100.0 } else { 1.0 };
            let decimals = if shares { 2 } else { 4 };
            let difference = pair.difference.map_or("-".into(), |difference| {
                format!("{:+.decimals$}", scale * difference)
            });
            table.rows.push(vec![
                pair.name.clone(),
                format::score(pair.left, shares),
                format::score(pair.right, shares),
                difference,
            ]);
        }
        table
    }

    fn cost(&self) -> Table {
        let mut table = Table::new(self.headings("run"));
        let mut row = |name: &str, of: &dyn Fn(&RunSummary) -> Option<String>| {
            let cell = |run: &RunSummary| of(run).unwrap_or_else(|| "-".into());
            table
                .rows
                .push(vec![name.into(), cell(&self.left), cell(&self.right)]);
        };
        row("state", &|run| Some(run.state.to_string()));
        row("steps", &|run| Some(run.done.to_string()));
        row("best at step", &|run| Some(run.best?.step.to_string()));
        row("step", &|run| run.seconds_per_step.map(format::step_time));
        row("training", &|run| {
            Some(format::duration(run.training_seconds))
        });
        row("evaluation", &|run| {
            Some(format::duration(run.evaluation_seconds))
        });
        row("peak memory", &|run| run.peak_memory.map(readable));
        table
    }

    fn keys(&self) -> Table {
        let mut table = Table::new(self.headings("configuration"));
        let row = |d: &Difference| {
            vec![
                d.key.clone(),
                shown(d.left.as_ref()),
                shown(d.right.as_ref()),
            ]
        };
        table.rows.extend(self.configuration.iter().map(row));
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::sample;

    #[test]
    fn scores_classes_and_keys_are_compared() {
        let root = tempfile::tempdir().unwrap();
        let (a, b) = (root.path().join("a"), root.path().join("b"));
        sample::run(&a, 0.5);
        sample::run(&b, 0.625);
        let found = compare(&a, &b).unwrap();
        let miou = Pair::new("mIoU (last)".into(), Some(0.5), Some(0.625));
        assert_eq!(miou.difference, Some(0.125));
        assert_eq!(found.scores[0], miou);
        let classes: Vec<&str> = found
            .classes
            .iter()
            .map(|pair| pair.name.as_str())
            .collect();
        assert_eq!(classes, ["IoU road", "IoU train", "IoU absent"]);
        assert_eq!(found.classes[2].difference, None);
        assert_eq!(found.configuration.len(), 1);
        let text = found.to_text();
        for part in ["+12.50", "train.lr", "1.0 GiB", "0.50 s", "+0.00"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let json = serde_json::to_value(&found).unwrap();
        assert_eq!(json["configuration"][0]["key"], "train.lr");
        assert_eq!(json["left"]["state"], "finished");
    }

    #[test]
    fn a_run_equals_itself() {
        let root = tempfile::tempdir().unwrap();
        sample::run(root.path(), 0.5);
        let found = compare(root.path(), root.path()).unwrap();
        assert!(found.scores.iter().all(|pair| pair.difference == Some(0.0)));
        assert!(found.to_text().contains("configurations are the same"));
    }
}
