//! Average precision and recall as COCO defines them (pycocotools, `COCOeval` for boxes).

use rayon::prelude::*;
use serde::Serialize;

use super::boxes::{FoundBox, ImageBoxes, TrueBox, by_score};
use super::curve::Curve;
use super::matching::Matched;

/// What is measured. The defaults are COCO's.
#[derive(Clone, Debug, PartialEq)]
pub struct CocoOptions {
    /// Least intersection over union of a detection and the object that it finds: 0.5, 0.55, ...,
    /// 0.95.
    pub thresholds: Vec<f64>,
    /// Smallest and largest area in square pixels: all, small (to 32 x 32), medium, large (from
    /// 96 x 96).
    pub areas: [[f64; 2]; 4],
    /// Detections of a class in an image that count, the surest first: 1, 10 and 100.
    pub limits: [usize; 3],
    /// Whether nothing can find the object whose annotation has the id 0. pycocotools marks
    /// "finds none" with that id; converted Cityscapes annotations, for one, begin with it.
    pub zero_is_no_match: bool,
}

impl Default for CocoOptions {
    fn default() -> Self {
        let (small, medium) = (32.0 * 32.0, 96.0 * 96.0);
        let whole = 1e5 * 1e5;
        Self {
            thresholds: spaced(0.5, 0.95, 10),
            areas: [[0.0, whole], [0.0, small], [small, medium], [medium, whole]],
            limits: [1, 10, 100],
            zero_is_no_match: true,
        }
    }
}

/// `count` numbers from `first` to `last`, as numpy's `linspace` rounds them.
fn spaced(first: f64, last: f64, count: usize) -> Vec<f64> {
    let step = (last - first) / (count - 1) as f64;
    let mut numbers: Vec<f64> = (0..count).map(|i| i as f64 * step + first).collect();
    numbers[count - 1] = last;
    numbers
}

/// The usual twelve figures, 0 to 1; `None` where there was no object to find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct CocoScores {
    /// Average precision, mean over the thresholds.
    #[serde(rename = "AP")]
    pub ap: Option<f64>,
    /// At the threshold 0.5.
    #[serde(rename = "AP50")]
    pub ap50: Option<f64>,
    /// At the threshold 0.75.
    #[serde(rename = "AP75")]
    pub ap75: Option<f64>,
    /// Of small objects.
    #[serde(rename = "APs")]
    pub ap_small: Option<f64>,
    /// Of medium objects.
    #[serde(rename = "APm")]
    pub ap_medium: Option<f64>,
    /// Of large objects.
    #[serde(rename = "APl")]
    pub ap_large: Option<f64>,
    /// Recall with the first limit, mean over the thresholds.
    #[serde(rename = "AR1")]
    pub ar_1: Option<f64>,
    /// With the second limit.
    #[serde(rename = "AR10")]
    pub ar_10: Option<f64>,
    /// With the third limit.
    #[serde(rename = "AR100")]
    pub ar_100: Option<f64>,
    /// With the third limit, of small objects.
    #[serde(rename = "ARs")]
    pub ar_small: Option<f64>,
    /// Of medium objects.
    #[serde(rename = "ARm")]
    pub ar_medium: Option<f64>,
    /// Of large objects.
    #[serde(rename = "ARl")]
    pub ar_large: Option<f64>,
}

impl CocoScores {
    /// All figures with COCO's names, those of the limits as by default.
    pub fn named(&self) -> [(&'static str, Option<f64>); 12] {
        [
            ("AP", self.ap),
            ("AP50", self.ap50),
            ("AP75", self.ap75),
            ("APs", self.ap_small),
            ("APm", self.ap_medium),
            ("APl", self.ap_large),
            ("AR1", self.ar_1),
            ("AR10", self.ar_10),
            ("AR100", self.ar_100),
            ("ARs", self.ar_small),
            ("ARm", self.ar_medium),
            ("ARl", self.ar_large),
        ]
    }
}

/// The figures of a set.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Coco {
    /// Means over the classes that have an object to find. `AP50` is what the paper reports.
    pub all: CocoScores,
    /// Each class alone; label `l` is at place `l - 1`.
    pub classes: Vec<CocoScores>,
}

/// The figures of `classes` classes over images in the order of their ids (which decides between
/// detections of equal score). Boxes of other classes do not count.
pub fn coco(images: &[ImageBoxes], classes: usize, options: &CocoOptions) -> Coco {
    let means: Vec<ClassMeans> = (1..=classes as u32)
        .into_par_iter()
        .map(|label| ClassMeans::new(images, label, options))
        .collect();
    Coco {
        all: scores(&means, options),
        classes: means
            .iter()
            .map(|class| scores(std::slice::from_ref(class), options))
            .collect(),
    }
}

/// Average precision and recall of one class.
struct ClassMeans {
    /// By range of areas and threshold, with the last limit.
    precision: Vec<Vec<Option<f64>>>,
    /// By limit, range of areas and threshold.
    recall: Vec<Vec<Vec<Option<f64>>>>,
}

impl ClassMeans {
    fn new(images: &[ImageBoxes], label: u32, options: &CocoOptions) -> Self {
        let matched: Vec<Matched> = images
            .par_iter()
            .map(|image| {
                let truth = image.truth.iter().filter(|t| t.label == label);
                let found = image.found.iter().filter(|f| f.label == label);
                let truth: Vec<TrueBox> = truth.copied().collect();
                let found: Vec<FoundBox> = found.copied().collect();
                Matched::new(&truth, &found, options)
            })
            .collect();
        let mut means = Self {
            precision: Vec::new(),
            recall: Vec::new(),
        };
        for limit in options.limits {
            let curves = curves(&matched, limit, options);
            let each = |value: &dyn Fn(&Curve) -> f64| -> Vec<Vec<Option<f64>>> {
                let of_range = |range: &Vec<Option<Curve>>| {
                    range.iter().map(|c| c.as_ref().map(value)).collect()
                };
                curves.iter().map(of_range).collect()
            };
            means.recall.push(each(&Curve::final_recall));
            means.precision = each(&mean_precision);
        }
        means
    }
}

/// Mean over 101 recalls from 0 to 1.
fn mean_precision(curve: &Curve) -> f64 {
    let recalls = spaced(0.0, 1.0, 101);
    let sum: f64 = recalls.iter().map(|&r| curve.precision_at(r)).sum();
    sum / recalls.len() as f64
}

/// Curves by range of areas and threshold; `None` without an object to find.
fn curves(matched: &[Matched], limit: usize, options: &CocoOptions) -> Vec<Vec<Option<Curve>>> {
    let (mut scores, mut places) = (Vec::new(), Vec::new());
    for (image, matched) in matched.iter().enumerate() {
        for (place, &score) in matched.scores.iter().take(limit).enumerate() {
            scores.push(score);
            places.push((image, place));
        }
    }
    let order = by_score(&scores);
    let ranges = 0..options.areas.len();
    let of_range = |range: usize| {
        let objects: usize = matched.iter().map(|m| m.objects[range]).sum();
        let of_threshold = |threshold: usize| {
            let fates: Vec<_> = matched.iter().map(|m| m.fates(range, threshold)).collect();
            let ranked = order.iter().map(|&i| {
                let (image, place) = places[i];
                fates[image][place]
            });
            (objects > 0).then(|| Curve::new(ranked, objects).envelope())
        };
        (0..options.thresholds.len()).map(of_threshold).collect()
    };
    ranges.map(of_range).collect()
}

/// The figures of several classes together.
fn scores(classes: &[ClassMeans], options: &CocoOptions) -> CocoScores {
    let at = |wanted: f64| {
        let mut thresholds = options.thresholds.iter();
        thresholds.position(|t| (t - wanted).abs() < 1e-9)
    };
    let precision = |range: usize| mean(classes.iter().flat_map(|c| &c.precision[range]));
    let precision_at = |wanted: f64| {
        at(wanted).and_then(|t| mean(classes.iter().map(|class| &class.precision[0][t])))
    };
    let recall =
        |limit: usize, range: usize| mean(classes.iter().flat_map(|c| &c.recall[limit][range]));
    CocoScores {
        ap: precision(0),
        ap50: precision_at(0.5),
        ap75: precision_at(0.75),
        ap_small: precision(1),
        ap_medium: precision(2),
        ap_large: precision(3),
        ar_1: recall(0, 0),
        ar_10: recall(1, 0),
        ar_100: recall(2, 0),
        ar_small: recall(2, 1),
        ar_medium: recall(2, 2),
        ar_large: recall(2, 3),
    }
}

fn mean<'a>(values: impl Iterator<Item = &'a Option<f64>>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0usize);
    for value in values.flatten() {
        sum += value;
        count += 1;
    }
    (count > 0).then(|| sum / count as f64)
}
