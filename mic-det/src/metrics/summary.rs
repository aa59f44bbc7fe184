//! All measures of a set, for records, tables and JSON.

use std::fmt::Write;

use mic_run::record::Evaluation;
use serde::Serialize;

use super::boxes::ImageBoxes;
use super::coco::{Coco, CocoOptions, coco};
use super::voc::{Interpolation, Voc, VocOptions, voc};

/// The measures of a set. As JSON, a figure without an object to measure on is `null`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Metrics {
    /// Names of the classes; label `l` is at place `l - 1` of every list.
    pub classes: Vec<String>,
    /// Number of images.
    pub images: usize,
    /// Objects to find by class: those not marked as crowds or difficult.
    pub objects: Vec<usize>,
    /// Detections by class.
    pub found: Vec<usize>,
    /// COCO's figures.
    pub coco: Coco,
    /// Pascal VOC's with the area under the curve, at an overlap of 0.5.
    pub voc: Voc,
    /// Pascal VOC's with eleven points.
    pub voc_eleven_point: Voc,
}

/// Everything there is to measure, with the defaults of [`CocoOptions`] and [`VocOptions`]. Images
/// are in the order of their set.
pub fn measure(images: &[ImageBoxes], classes: &[String]) -> Metrics {
    let labels = 1..=classes.len() as u32;
    let objects = |label| {
        let truth = images.iter().flat_map(|image| &image.truth);
        truth.filter(|t| t.label == label && !t.ignored).count()
    };
    let found = |label| {
        let found = images.iter().flat_map(|image| &image.found);
        found.filter(|f| f.label == label).count()
    };
    let voc_with = |interpolation| {
        let options = VocOptions {
            interpolation,
            ..VocOptions::default()
        };
        voc(images, classes.len(), &options)
    };
    Metrics {
        classes: classes.to_vec(),
        images: images.len(),
        objects: labels.clone().map(objects).collect(),
        found: labels.map(found).collect(),
        coco: coco(images, classes.len(), &CocoOptions::default()),
        voc: voc_with(Interpolation::Area),
        voc_eleven_point: voc_with(Interpolation::ElevenPoint),
    }
}

impl Metrics {
    /// The measures as the record of a run; the main score is `AP50`, which the paper reports.
    pub fn evaluation(&self) -> Evaluation {
        let own = |(name, value): (&str, Option<f64>)| (name.to_owned(), value);
        let mut scores: Vec<(String, Option<f64>)> = self.coco.all.named().map(own).into();
        scores.extend([
            ("VOC".to_owned(), self.voc.mean),
            ("VOC07".to_owned(), self.voc_eleven_point.mean),
        ]);
        let each = |pick: fn(&super::CocoScores) -> Option<f64>| {
            self.coco.classes.iter().map(pick).collect::<Vec<_>>()
        };
        let class_scores = [
            ("AP50".to_owned(), each(|class| class.ap50)),
            ("AP".to_owned(), each(|class| class.ap)),
            ("VOC".to_owned(), self.voc.classes.clone()),
        ];
        Evaluation {
            main: "AP50".into(),
            scores: scores.into_iter().collect(),
            classes: self.classes.clone(),
            class_scores: class_scores.into(),
            ..Evaluation::default()
        }
    }

    /// A table of percentages for people, one line a class, a dash for classes without objects,
    /// then all twelve figures of COCO.
    pub fn table(&self) -> String {
        let longest = self.classes.iter().map(|name| name.chars().count()).max();
        let width = longest.unwrap_or(0).max("class".len());
        let heads = [
            "objects", "found", "AP50", "AP", "AP75", "AR100", "VOC", "VOC07",
        ];
        let mut text = line(width, "class", &heads.map(String::from));
        for (i, name) in self.classes.iter().enumerate() {
            let (own, of) = (&self.coco.classes[i], |voc: &Voc| voc.classes[i]);
            let voc = [of(&self.voc), of(&self.voc_eleven_point)];
            let counts = (self.objects[i], self.found[i]);
            text.push_str(&line(width, name, &cells(counts, own, voc)));
        }
        text.push_str(&format!("{:-<1$}\n", "", width + heads.len() * 9));
        let total = |counts: &[usize]| counts.iter().sum();
        let counts = (total(&self.objects), total(&self.found));
        let voc = [self.voc.mean, self.voc_eleven_point.mean];
        text.push_str(&line(width, "mean", &cells(counts, &self.coco.all, voc)));
        let figures = self.coco.all.named();
        for (from, to) in [(0, 6), (6, 12)] {
            let shown = figures[from..to].iter();
            let shown: Vec<String> = shown
                .map(|(name, value)| format!("{name} {}", percent(*value)))
                .collect();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}", shown.join("  "));
        }
        text
    }
}

fn line(width: usize, name: &str, cells: &[String]) -> String {
    let cells: String = cells.iter().map(|cell| format!("  {cell:>7}")).collect();
    format!("{name:width$}{cells}\n")
}

fn cells(
    (objects, found): (usize, usize),
    coco: &super::CocoScores,
    voc: [Option<f64>; 2],
) -> [String; 8] {
    let [area, eleven] = voc.map(percent);
    [
        objects.to_string(),
        found.to_string(),
        percent(coco.ap50),
        percent(coco.ap),
        percent(coco.ap75),
        percent(coco.ar_100),
        area,
        eleven,
    ]
}

fn percent(value: Option<f64>) -> String {
    match value {
        Some(value) => format!("{:.2}", 100.0 * value),
        None => "-".to_owned(),
    }
}
