//! Average precision as Pascal VOC defines it.

use serde::Serialize;

use super::boxes::{FoundBox, ImageBoxes, TrueBox, area, by_score, shared};
use super::curve::Curve;
use super::matching::Fate;

/// How precision is averaged over recall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The mean at the recalls 0, 0.1, ..., 1 (VOC 2007).
    ElevenPoint,
    /// The area under the curve (VOC 2010 and later).
    Area,
}

/// Whose program is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VocRule {
    /// The development kit's: a detection must overlap by more than the threshold.
    #[default]
    Devkit,
    /// That in maskrcnn-benchmark: sides count one pixel too many, and the threshold itself is
    /// enough.
    Reference,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VocOptions {
    /// Intersection over union of a detection and the object that it finds.
    pub threshold: f64,
    /// How precision is averaged.
    pub interpolation: Interpolation,
    /// Whose program is followed.
    pub rule: VocRule,
    /// Whether images without any detection are left out, with their objects, as the reference's
    /// evaluation of a set does.
    pub skip_images_without_detections: bool,
}

impl Default for VocOptions {
    fn default() -> Self {
        Self {
            threshold: 0.5,
            interpolation: Interpolation::Area,
            rule: VocRule::Devkit,
            skip_images_without_detections: false,
        }
    }
}

/// Average precisions, 0 to 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Voc {
    /// By class; `None` for a class without objects. Label `l` is at place `l - 1`.
    pub classes: Vec<Option<f64>>,
    /// Mean over the classes that have one.
    pub mean: Option<f64>,
}

/// Average precision of `classes` classes. Difficult objects ([`TrueBox::ignored`]) need not be
/// found, and detections of them do not count. Of detections with equal scores the earlier counts
/// first.
pub fn voc(images: &[ImageBoxes], classes: usize, options: &VocOptions) -> Voc {
    let classes: Vec<Option<f64>> = (1..=classes as u32)
        .map(|label| of_class(images, label, options))
        .collect();
    let (sum, count) = classes
        .iter()
        .flatten()
        .fold((0.0, 0usize), |(sum, n), ap| (sum + ap, n + 1));
    Voc {
        mean: (count > 0).then(|| sum / count as f64),
        classes,
    }
}

fn of_class(images: &[ImageBoxes], label: u32, options: &VocOptions) -> Option<f64> {
    let (mut scores, mut fates, mut objects) = (Vec::new(), Vec::new(), 0);
    for image in images {
        if options.skip_images_without_detections && image.found.is_empty() {
            continue;
        }
        let truth = image.truth.iter().filter(|t| t.label == label);
        let truth: Vec<TrueBox> = truth.copied().collect();
        objects += truth.iter().filter(|t| !t.ignored).count();
        let found: Vec<&FoundBox> = image.found.iter().filter(|f| f.label == label).collect();
        let of_image: Vec<f64> = found.iter().map(|f| f.score).collect();
        let mut taken = vec![false; truth.len()];
        for i in by_score(&of_image) {
            scores.push(of_image[i]);
            fates.push(fate(found[i], &truth, &mut taken, options));
        }
    }
    let ranked = by_score(&scores).into_iter().map(|i| fates[i]);
    (objects > 0).then(|| {
        let curve = Curve::new(ranked, objects);
        match options.interpolation {
            Interpolation::ElevenPoint => {
                let curve = curve.envelope();
                let points = (0..=10).map(|i| curve.precision_at(f64::from(i) * 0.1));
                points.map(|precision| precision / 11.0).sum()
            }
            Interpolation::Area => curve.envelope().area(),
        }
    })
}

/// What a detection finds: the object that it overlaps most, the first of equals, whether or not
/// that one is taken.
fn fate(found: &FoundBox, truth: &[TrueBox], taken: &mut [bool], options: &VocOptions) -> Fate {
    let mut best = None;
    for (object, truth) in truth.iter().enumerate() {
        let overlap = overlap(found.xywh, truth.xywh, options.rule);
        if best.is_none_or(|(_, most)| overlap > most) {
            best = Some((object, overlap));
        }
    }
    let enough = |overlap: f64| match options.rule {
        VocRule::Devkit => overlap > options.threshold,
        VocRule::Reference => overlap >= options.threshold,
    };
    match best {
        Some((object, overlap)) if enough(overlap) => {
            if truth[object].ignored {
                Fate::Ignored
            } else if std::mem::replace(&mut taken[object], true) {
                Fate::Wrong
            } else {
                Fate::Right
            }
        }
        _ => Fate::Wrong,
    }
}

fn overlap(a: [f64; 4], b: [f64; 4], rule: VocRule) -> f64 {
    let extra = match rule {
        VocRule::Devkit => 0.0,
        VocRule::Reference => 1.0,
    };
    let wider = |[x, y, w, h]: [f64; 4]| [x, y, w.max(1.0) + extra, h.max(1.0) + extra];
    let (a, b) = (wider(a), wider(b));
    let both = shared(a, b);
    both / (area(a) + area(b) - both)
}
