//! Accuracies over a data set.

use std::collections::BTreeMap;
use std::fmt::Write;

use candle_core::{DType, Tensor};
use mic_run::record::Evaluation;
use serde::{Deserialize, Serialize};

use crate::config::Selection;
use crate::{Error, Result};

/// Images by true and predicted class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    /// Rows are true classes, columns predicted ones.
    counts: Vec<u64>,
}

impl Confusion {
    /// No images of `classes` classes.
    pub fn new(classes: usize) -> Self {
        Self {
            classes,
            counts: vec![0; classes * classes],
        }
    }

    /// Counts images: one predicted and one true class each. Labels that are no class count nowhere,
    /// as in the reference; predictions are classes.
    pub fn add(&mut self, predictions: &[u32], labels: &[u32]) {
        for (&prediction, &label) in predictions.iter().zip(labels) {
            let (label, prediction) = (label as usize, prediction as usize);
            if label < self.classes && prediction < self.classes {
                self.counts[label * self.classes + prediction] += 1;
            }
        }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Images of class `label` by predicted class.
    pub fn row(&self, label: usize) -> &[u64] {
        &self.counts[label * self.classes..][..self.classes]
    }

    /// The measures of all images so far.
    pub fn metrics(&self) -> Metrics {
        let classes = 0..self.classes;
        let right = |class: usize| self.row(class)[class];
        let labelled = |class: usize| self.row(class).iter().sum::<u64>();
        let predicted = |class: usize| {
            (0..self.classes)
                .map(|row| self.row(row)[class])
                .sum::<u64>()
        };
        let accuracy: Vec<_> = classes
            .clone()
            .map(|class| ratio(right(class), labelled(class)))
            .collect();
        let union = |class: usize| labelled(class) + predicted(class) - right(class);
        let iou: Vec<_> = classes
            .clone()
            .map(|class| ratio(right(class), union(class)))
            .collect();
        let total = |count: &dyn Fn(usize) -> u64| classes.clone().map(count).sum::<u64>();
        Metrics {
            top1: ratio(total(&right), total(&labelled)),
            mean_class: mean(&accuracy),
            mean_present: mean_of_present(&accuracy),
            mean_iou: mean(&iou),
            accuracy,
            iou,
        }
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// `None` where one of the values is.
fn mean(values: &[Option<f64>]) -> Option<f64> {
    let sum = values.iter().copied().sum::<Option<f64>>()?;
    (!values.is_empty()).then(|| sum / values.len() as f64)
}

fn mean_of_present(values: &[Option<f64>]) -> Option<f64> {
    let present: Vec<_> = values.iter().copied().filter(Option::is_some).collect();
    mean(&present)
}

/// Measures of a classifier, as fractions; `None`, a dash in tables, is 0 / 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Share of images classified right.
    pub top1: Option<f64>,
    /// Mean of all classes' accuracies, the figure reported for VisDA-2017; `None` where a class has
    /// no image, as in the reference (there it is NaN).
    pub mean_class: Option<f64>,
    /// Mean of the accuracies of the classes that have images.
    pub mean_present: Option<f64>,
    /// Mean of all classes' intersections over unions.
    pub mean_iou: Option<f64>,
    /// Share of each class's images classified right; `None` for a class without images.
    pub accuracy: Vec<Option<f64>>,
    /// Images that are of a class and predicted so, of those that are either.
    pub iou: Vec<Option<f64>>,
}

impl Metrics {
    /// Those that an [`Evaluation`] of a [`Tally`] records.
    pub fn of(evaluation: &Evaluation) -> Self {
        let score = |name: &str| evaluation.scores.get(name).copied().flatten();
        let classes = |name: &str| evaluation.class_scores.get(name).cloned();
        Self {
            top1: score("top1"),
            mean_class: score("mean_class"),
            mean_present: score("mean_present"),
            mean_iou: score("mean_iou"),
            accuracy: classes("accuracy").unwrap_or_default(),
            iou: classes("iou").unwrap_or_default(),
        }
    }

    /// A table of percentages for people, one line a class, a dash for classes without images.
    /// `names` are by class id.
    pub fn table(&self, names: &[String]) -> String {
        let percent = |value: Option<f64>| match value {
            Some(value) => format!("{:.2}", 100.0 * value),
            None => "-".to_owned(),
        };
        let longest = names.iter().map(|name| name.chars().count()).max();
        let width = longest.unwrap_or(0).max("mean of present".len());
        let mut text = format!("{:width$}  {:>6}  {:>6}\n", "class", "Acc", "IoU");
        let classes = names.iter().zip(self.accuracy.iter().zip(&self.iou));
        let lines = classes.map(|(name, (accuracy, iou))| (name.clone(), *accuracy, *iou));
        let mut means = vec![("mean".to_owned(), self.mean_class, self.mean_iou)];
        if self.mean_class.is_none() {
            means.push(("mean of present".to_owned(), self.mean_present, None));
        }
        means.push(("images".to_owned(), self.top1, None));
        for (index, (name, accuracy, iou)) in lines.chain(means).enumerate() {
            if index == names.len() {
                text.push_str(&format!("{:-<1$}\n", "", width + 16));
            }
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{name:width$}  {:>6}  {:>6}",
                percent(accuracy),
                percent(iou)
            );
        }
        text
    }
}

/// What an evaluation adds up: predictions, losses and the number of images.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Images by true and predicted class.
    pub confusion: Confusion,
    images: usize,
    loss: f64,
    /// How often the label was among the `k` largest logits.
    in_top_k: usize,
    k: usize,
}

impl Tally {
    /// Nothing yet, for `classes` classes; counts hits among the `k` largest logits, too.
    pub fn new(classes: usize, k: usize) -> Self {
        Self {
            confusion: Confusion::new(classes),
            images: 0,
            loss: 0.0,
            in_top_k: 0,
            k,
        }
    }

    /// Adds a batch: logits (B, K) and classes (B). The first of equal logits wins.
    ///
    /// # Errors
    /// Shapes that do not fit; labels that are no classes.
    pub fn add(&mut self, logits: &Tensor, labels: &Tensor) -> Result<()> {
        let classes = self.confusion.classes;
        let rows = logits.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        let labels = labels.to_dtype(DType::U32)?.to_vec1::<u32>()?;
        if rows.len() != labels.len() || rows.iter().any(|row| row.len() != classes) {
            return Err(Error::Run(format!(
                "logits {:?} and {} labels do not fit {classes} classes",
                logits.dims(),
                labels.len()
            )));
        }
        if let Some(label) = labels.iter().find(|label| **label as usize >= classes) {
            return Err(Error::Run(format!(
                "label {label} is no class: there are {classes}, counted from 0"
            )));
        }
        let mut predictions = Vec::with_capacity(rows.len());
        for (row, &label) in rows.iter().zip(&labels) {
            let own = row[label as usize];
            let before = |i: usize, z: f32| z > own || (z == own && i < label as usize);
            let rank = row
                .iter()
                .enumerate()
                .filter(|&(i, &z)| before(i, z))
                .count();
            self.in_top_k += usize::from(rank < self.k);
            self.loss += log_sum(row) - f64::from(own);
            predictions.push(argmax(row));
        }
        self.images += rows.len();
        self.confusion.add(&predictions, &labels);
        Ok(())
    }

    /// What a run records: the shares `top1`, `top<k>` where there are more than k classes,
    /// `mean_class` and `mean_iou`, `mean_present` where classes are missing, and for every class
    /// its accuracy and IoU. `select` is the main one.
    pub fn evaluation(&self, classes: &[String], select: Selection) -> Evaluation {
        let metrics = self.confusion.metrics();
        let mut scores = BTreeMap::from([
            ("top1".to_owned(), metrics.top1),
            ("mean_class".to_owned(), metrics.mean_class),
            ("mean_iou".to_owned(), metrics.mean_iou),
        ]);
        if self.k > 1 && self.k < classes.len() {
            scores.insert(format!("top{}", self.k), self.top_k());
        }
        if metrics.mean_class.is_none() {
            scores.insert("mean_present".to_owned(), metrics.mean_present);
        }
        let main = match select {
            Selection::Top1 => "top1",
            Selection::MeanClass => "mean_class",
        };
        Evaluation {
            main: main.into(),
            scores,
            classes: classes.to_vec(),
            class_scores: [
                ("accuracy".to_owned(), metrics.accuracy),
                ("iou".to_owned(), metrics.iou),
            ]
            .into(),
            ..Evaluation::default()
        }
    }

    /// Mean cross-entropy; `None` without images.
    pub fn loss(&self) -> Option<f64> {
        (self.images > 0).then(|| self.loss / self.images as f64)
    }

    /// Share of images whose label is among the `k` largest logits.
    pub fn top_k(&self) -> Option<f64> {
        ratio(self.in_top_k as u64, self.images as u64)
    }
}

/// The place of the largest value, the first one on ties.
pub(crate) fn argmax(row: &[f32]) -> u32 {
    let mut best = 0;
    for (i, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = i;
        }
    }
    best as u32
}

fn log_sum(row: &[f32]) -> f64 {
    let largest = row.iter().fold(f32::NEG_INFINITY, |m, &z| m.max(z));
    let sum: f64 = row.iter().map(|&z| f64::from(z - largest).exp()).sum();
    f64::from(largest) + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_case_by_hand() {
        let mut confusion = Confusion::new(3);
        confusion.add(&[0, 1, 1], &[0, 0, 1]);
        let metrics = confusion.metrics();
        assert_eq!(metrics.top1, Some(2.0 / 3.0));
        assert_eq!(metrics.accuracy, [Some(0.5), Some(1.0), None]);
        assert_eq!(metrics.iou, [Some(0.5), Some(0.5), None]);
        assert_eq!(metrics.mean_class, None);
        assert_eq!(metrics.mean_present, Some(0.75));
        confusion.add(&[0, 7], &[9, 0]);
        assert_eq!(
            confusion.metrics(),
            metrics,
            "what is no class does not count"
        );
    }

    #[test]
    fn the_table_shows_absent_classes_as_a_dash() {
        let mut confusion = Confusion::new(2);
        confusion.add(&[0, 0], &[0, 0]);
        let names = ["car".to_owned(), "bus".to_owned()];
        let table = confusion.metrics().table(&names);
        let lines: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[1], ["car", "100.00", "100.00"]);
        assert_eq!(lines[2], ["bus", "-", "-"]);
        assert_eq!(lines[4], ["mean", "-", "-"]);
        assert_eq!(lines[5], ["mean", "of", "present", "100.00", "-"]);
        assert_eq!(lines[6], ["images", "100.00", "-"]);
    }

    #[test]
    fn nothing_counted_gives_nothing() {
        let metrics = Confusion::new(2).metrics();
        assert_eq!((metrics.top1, metrics.mean_present), (None, None));
        assert_eq!(Tally::new(2, 1).loss(), None);
    }
}
