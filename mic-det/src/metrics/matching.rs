//! Which detection finds which object.

use super::boxes::{FoundBox, TrueBox, area, by_score, shared};
use super::coco::CocoOptions;

/// What becomes of a detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It finds an object.
    Right,
    /// It finds none, or one that a surer detection found.
    Wrong,
    /// It does not count.
    Ignored,
}

/// The detections of one class in one image, the surest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Matched {
    /// Their scores.
    pub(super) scores: Vec<f64>,
    /// Fates by range of areas, threshold and detection.
    fates: Vec<Fate>,
    /// Objects to be found, by range of areas.
    pub(super) objects: Vec<usize>,
    thresholds: usize,
}

impl Matched {
    /// Compares the objects and detections of one class in one image.
    pub(super) fn new(truth: &[TrueBox], found: &[FoundBox], options: &CocoOptions) -> Self {
        let scores: Vec<f64> = found.iter().map(|f| f.score).collect();
        let mut order = by_score(&scores);
        order.truncate(options.limits.iter().copied().max().unwrap_or(0));
        let found: Vec<FoundBox> = order.into_iter().map(|i| found[i]).collect();
        let overlaps = overlaps(truth, &found);
        let (mut fates, mut objects) = (Vec::new(), Vec::new());
        for range in options.areas {
            let outside = |area: f64| area < range[0] || area > range[1];
            let ignored: Vec<bool> = truth.iter().map(|t| t.ignored || outside(t.area)).collect();
            objects.push(ignored.iter().filter(|&&ignored| !ignored).count());
            let out: Vec<bool> = found.iter().map(|f| outside(area(f.xywh))).collect();
            for &threshold in &options.thresholds {
                let pairs = pairs(truth, &ignored, &overlaps, found.len(), threshold);
                let fate = |(pair, &out): (Option<usize>, &bool)| match pair {
                    Some(object) if ignored[object] => Fate::Ignored,
                    Some(object) if truth[object].id != 0 || !options.zero_is_no_match => {
                        Fate::Right
                    }
                    _ if out => Fate::Ignored,
                    _ => Fate::Wrong,
                };
                fates.extend(pairs.into_iter().zip(&out).map(fate));
            }
        }
        Self {
            scores: found.iter().map(|f| f.score).collect(),
            fates,
            objects,
            thresholds: options.thresholds.len(),
        }
    }

    /// The fates of all detections for one range of areas and one threshold.
    pub(super) fn fates(&self, range: usize, threshold: usize) -> &[Fate] {
        let count = self.scores.len();
        let from = (range * self.thresholds + threshold) * count;
        self.fates.get(from..from + count).unwrap_or_default()
    }
}

/// Overlaps by detection and object. Of an ignored object it is the share of the detection.
fn overlaps(truth: &[TrueBox], found: &[FoundBox]) -> Vec<f64> {
    let mut overlaps = Vec::with_capacity(truth.len() * found.len());
    for found in found {
        for truth in truth {
            let both = shared(found.xywh, truth.xywh);
            let union = match truth.ignored {
                true => area(found.xywh),
                false => area(found.xywh) + area(truth.xywh) - both,
            };
            overlaps.push(if both > 0.0 { both / union } else { 0.0 });
        }
    }
    overlaps
}

/// The object that each detection finds. The surest chooses first: among objects that count before
/// those that do not, the largest overlap of at least `threshold`, the last of equal ones. Only
/// annotated crowds can be found twice.
fn pairs(
    truth: &[TrueBox],
    ignored: &[bool],
    overlaps: &[f64],
    found: usize,
    threshold: f64,
) -> Vec<Option<usize>> {
    let mut order: Vec<usize> = (0..truth.len()).collect();
    order.sort_by_key(|&object| ignored[object]);
    let mut taken = vec![false; truth.len()];
    let mut pairs = Vec::with_capacity(found);
    for detection in 0..found {
        let (mut best, mut least) = (None::<usize>, threshold.min(1.0 - 1e-10));
        for &object in &order {
            if taken[object] && !truth[object].ignored {
                continue;
            }
            if ignored[object] && best.is_some_and(|best| !ignored[best]) {
                break;
            }
            let overlap = overlaps[detection * truth.len() + object];
            if overlap >= least {
                (best, least) = (Some(object), overlap);
            }
        }
        if let Some(best) = best {
            taken[best] = true;
        }
        pairs.push(best);
    }
    pairs
}
