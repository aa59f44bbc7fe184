//! Intersection over union and accuracies over a data set.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use mic_data::{Classes, IGNORE};
use mic_run::record::Evaluation;

use crate::subset::Subset;

/// Pixel counts a class, summed over images.
///
/// A pixel whose label is [`IGNORE`] counts nowhere. A label that is neither a class nor
/// [`IGNORE`] counts in the prediction's area only, and so does a prediction that is no class not
/// at all: as in the histograms of the reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    intersection: Vec<u64>,
    prediction: Vec<u64>,
    label: Vec<u64>,
}

impl Confusion {
    /// No pixels of `classes` classes.
    pub fn new(classes: usize) -> Self {
        Self {
            intersection: vec![0; classes],
            prediction: vec![0; classes],
            label: vec![0; classes],
        }
    }

    /// Counts an image: one predicted and one true train id a pixel, in the same order. Panics if
    /// the lengths differ.
    pub fn add(&mut self, prediction: &[u8], label: &[u8]) {
        assert_eq!(prediction.len(), label.len(), "one label a prediction");
        let count = |area: &mut [u64], id: u8| {
            if let Some(pixels) = area.get_mut(usize::from(id)) {
                *pixels += 1;
            }
        };
        for (predicted, labelled) in prediction.iter().zip(label) {
            if *labelled == IGNORE {
                continue;
            }
            count(&mut self.prediction, *predicted);
            count(&mut self.label, *labelled);
            if predicted == labelled {
                count(&mut self.intersection, *predicted);
            }
        }
    }

    /// Pixels a class that are predicted and labelled so.
    pub fn intersection(&self) -> &[u64] {
        &self.intersection
    }

    /// Pixels a class that are predicted so.
    pub fn prediction(&self) -> &[u64] {
        &self.prediction
    }

    /// Pixels a class that are labelled so.
    pub fn label(&self) -> &[u64] {
        &self.label
    }

    /// Pixels a class that are predicted or labelled so.
    pub fn union(&self) -> Vec<u64> {
        let areas = self.prediction.iter().zip(&self.label);
        let both = areas.zip(&self.intersection);
        both.map(|((p, l), i)| p + l - i).collect()
    }

    /// The measures of all images so far.
    pub fn metrics(&self) -> Metrics {
        let iou = ratios(&self.intersection, &self.union());
        let acc = ratios(&self.intersection, &self.label);
        let total = |area: &[u64]| area.iter().sum::<u64>();
        Metrics {
            miou: mean(&iou),
            macc: mean(&acc),
            aacc: ratio(total(&self.intersection), total(&self.label)),
            iou,
            acc,
        }
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn ratios(parts: &[u64], wholes: &[u64]) -> Vec<Option<f64>> {
    let pairs = parts.iter().zip(wholes);
    pairs.map(|(part, whole)| ratio(*part, *whole)).collect()
}

fn mean(values: &[Option<f64>]) -> Option<f64> {
    let present = values.iter().flatten();
    let count = present.clone().count();
    (count > 0).then(|| present.sum::<f64>() / count as f64)
}

/// Measures of a segmentation, as fractions; `None` is 0 / 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Intersection over union by class; `None` for a class neither predicted nor labelled.
    pub iou: Vec<Option<f64>>,
    /// Accuracy by class; `None` for a class that is not labelled.
    pub acc: Vec<Option<f64>>,
    /// Mean IoU of the classes that have one.
    pub miou: Option<f64>,
    /// Mean accuracy of the classes that have one.
    pub macc: Option<f64>,
    /// Share of labelled pixels predicted right.
    pub aacc: Option<f64>,
}

impl Metrics {
    /// The measures in the record of a run.
    pub fn of(evaluation: &Evaluation) -> Self {
        let score = |name| evaluation.scores.get(name).copied().flatten();
        let of_classes = |name| {
            evaluation
                .class_scores
                .get(name)
                .cloned()
                .unwrap_or_default()
        };
        Self {
            iou: of_classes("IoU"),
            acc: of_classes("Acc"),
            miou: score("mIoU"),
            macc: score("mAcc"),
            aacc: score("aAcc"),
        }
    }

    /// The measures as the record of a run; its main score is `mIoU`.
    pub fn evaluation(&self, classes: &Classes) -> Evaluation {
        let scores = [
            ("mIoU", self.miou),
            ("mAcc", self.macc),
            ("aAcc", self.aacc),
        ];
        let class_scores = [("IoU", &self.iou), ("Acc", &self.acc)];
        Evaluation {
            main: "mIoU".into(),
            scores: scores.map(|(name, value)| (name.to_owned(), value)).into(),
            classes: classes.names().to_vec(),
            class_scores: class_scores
                .map(|(name, v)| (name.to_owned(), v.clone()))
                .into(),
            ..Evaluation::default()
        }
    }

    /// A table of percentages for people, one line a class, a dash for absent classes. `names`
    /// are by train id.
    pub fn table(&self, names: &[String]) -> String {
        self.table_with(names, &[])
    }

    /// As [`table`](Self::table), with a line of means for each of the subsets.
    pub fn table_with(&self, names: &[String], subsets: &[Subset]) -> String {
        let percent = |value: Option<f64>| match value {
            Some(value) => format!("{:.2}", 100.0 * value),
            None => "-".to_owned(),
        };
        let named = names
            .iter()
            .chain(subsets.iter().map(|subset| &subset.name));
        let longest = named.map(|name| name.chars().count()).max();
        let width = longest.unwrap_or(0).max("class".len());
        let mut text = format!("{:width$}  {:>6}  {:>6}\n", "class", "IoU", "Acc");
        let classes = names.iter().zip(self.iou.iter().zip(&self.acc));
        let mean = ("mean".to_owned(), self.miou, self.macc);
        let means = subsets.iter().map(|subset| {
            let (iou, acc) = subset.means(self);
            (subset.name.clone(), iou, acc)
        });
        let pixels = ("pixels".to_owned(), None, self.aacc);
        let means = std::iter::once(mean).chain(means).chain([pixels]);
        let lines = classes.map(|(name, (iou, acc))| (name.clone(), *iou, *acc));
        for (index, (name, iou, acc)) in lines.chain(means).enumerate() {
            if index == names.len() {
                text.push_str(&format!("{:-<1$}\n", "", width + 16));
            }
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{name:width$}  {:>6}  {:>6}",
                percent(iou),
                percent(acc)
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_case_by_hand() {
        let mut confusion = Confusion::new(4);
        confusion.add(&[0, 1, 1], &[0, 1, IGNORE]);
        confusion.add(&[2, 2, 0], &[2, 1, 1]);
        let metrics = confusion.metrics();
        let third = 1.0 / 3.0;
        assert_eq!(metrics.iou, [Some(0.5), Some(third), Some(0.5), None]);
        assert_eq!(metrics.acc, [Some(1.0), Some(third), Some(1.0), None]);
        assert_eq!(metrics.aacc, Some(0.6));
        assert_eq!(metrics.miou, Some((0.5 + third + 0.5) / 3.0));
    }

    #[test]
    fn the_table_shows_absent_classes_as_a_dash() {
        let mut confusion = Confusion::new(2);
        confusion.add(&[0, 0], &[0, 0]);
        let names = ["road".to_owned(), "sky".to_owned()];
        let table = confusion.metrics().table(&names);
        let lines: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[1], ["road", "100.00", "100.00"]);
        assert_eq!(lines[2], ["sky", "-", "-"]);
        assert_eq!(lines[4], ["mean", "100.00", "100.00"]);
        assert_eq!(lines[5], ["pixels", "-", "100.00"]);
    }

    #[test]
    fn means_over_subsets_have_lines_of_their_own() {
        let mut confusion = Confusion::new(3);
        confusion.add(&[0, 0, 2], &[0, 0, 1]);
        let names = ["a", "b", "c"].map(str::to_owned);
        let subset = Subset {
            name: "2 of the classes".into(),
            classes: vec![0, 2],
        };
        let table = confusion.metrics().table_with(&names, &[subset]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[5], "mean               33.33   50.00");
        assert_eq!(lines[6], "2 of the classes   50.00  100.00");
        assert!(lines[7].starts_with("pixels"));
    }

    #[test]
    fn nothing_counted_gives_nothing() {
        let metrics = Confusion::new(2).metrics();
        assert_eq!((metrics.miou, metrics.aacc), (None, None));
    }
}
