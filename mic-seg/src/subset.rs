//! Classes over which means are reported besides those over all.

use mic_data::Classes;

use crate::config::{Config, SetKind};
use crate::metrics::Metrics;

/// Some of the classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subset {
    /// What it is called: `16 classes`.
    pub name: String,
    /// Train ids.
    pub classes: Vec<usize>,
}

/// Classes of Cityscapes that SYNTHIA does not label.
const ABSENT: [&str; 3] = ["terrain", "truck", "train"];
/// Those that its older benchmark of 13 classes leaves out besides.
const RARE: [&str; 3] = ["wall", "fence", "pole"];

impl Subset {
    /// The 16 classes that SYNTHIA has of Cityscapes' 19, and the 13 of its older benchmark; none
    /// for other classes than Cityscapes'.
    pub fn synthia(classes: &Classes) -> Vec<Self> {
        if classes.names() != Classes::cityscapes().names() {
            return Vec::new();
        }
        let without = |left_out: &[&str]| {
            let kept = classes.names().iter().enumerate();
            let kept = kept.filter(|(_, name)| !left_out.contains(&name.as_str()));
            let classes: Vec<usize> = kept.map(|(id, _)| id).collect();
            Self {
                name: format!("{} classes", classes.len()),
                classes,
            }
        };
        vec![without(&ABSENT), without(&[ABSENT, RARE].concat())]
    }

    /// What a run's scores are also given over: [`synthia`](Self::synthia)'s if that is the source.
    pub fn of(config: &Config) -> Vec<Self> {
        match &config.data.source.kind {
            SetKind::Published { part, .. } if *part == mic_data::datasets::Published::Synthia => {
                Self::synthia(&config.classes)
            }
            _ => Vec::new(),
        }
    }

    /// Means of IoU and accuracy over those of its classes that have one; `None` without any.
    ///
    /// For SYNTHIA's 16 this is 19/16 of the mean over all, as the reference computes it, where the
    /// three other classes are labelled and never predicted right.
    pub fn means(&self, metrics: &Metrics) -> (Option<f64>, Option<f64>) {
        let mean = |values: &[Option<f64>]| {
            let own = self.classes.iter().filter_map(|id| *values.get(*id)?);
            let own: Vec<f64> = own.collect();
            (!own.is_empty()).then(|| own.iter().sum::<f64>() / own.len() as f64)
        };
        (mean(&metrics.iou), mean(&metrics.acc))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(iou: impl Fn(usize) -> Option<f64>) -> Metrics {
        let iou: Vec<Option<f64>> = (0..19).map(iou).collect();
        let present: Vec<f64> = iou.iter().flatten().copied().collect();
        Metrics {
            miou: Some(present.iter().sum::<f64>() / present.len() as f64),
            acc: iou.clone(),
            iou,
            ..Metrics::default()
        }
    }

    #[test]
    fn synthia_has_16_and_13_classes() {
        let subsets = Subset::synthia(&Classes::cityscapes());
        let names: Vec<&str> = subsets.iter().map(|subset| subset.name.as_str()).collect();
        assert_eq!(names, ["16 classes", "13 classes"]);
        let left_out = |subset: &Subset| -> Vec<usize> {
            (0..19).filter(|id| !subset.classes.contains(id)).collect()
        };
        assert_eq!(left_out(&subsets[0]), [9, 14, 16]);
        assert_eq!(left_out(&subsets[1]), [3, 4, 5, 9, 14, 16]);
        assert!(Subset::synthia(&Classes::camvid()).is_empty());
    }

    #[test]
    fn the_mean_over_16_is_19_sixteenths_of_that_over_all() {
        let subsets = Subset::synthia(&Classes::cityscapes());
        let never = [9, 14, 16];
        let known = metrics(|id| {
            Some(if never.contains(&id) {
                0.0
            } else {
                id as f64 / 20.0
            })
        });
        let (iou, acc) = subsets[0].means(&known);
        let all = known.miou.unwrap();
        assert!((iou.unwrap() - all * 19.0 / 16.0).abs() < 1e-12);
        assert_eq!(iou, acc);
        // By hand: 1 to 18 without the six, over 20 times 13.
        let sum: usize = (0..19)
            .filter(|id| ![3, 4, 5, 9, 14, 16].contains(id))
            .sum();
        let thirteen = subsets[1].means(&known).0.unwrap();
        assert!((thirteen - sum as f64 / 260.0).abs() < 1e-12);
    }

    #[test]
    fn classes_without_a_score_do_not_count() {
        let subsets = Subset::synthia(&Classes::cityscapes());
        let one = metrics(|id| (id == 2).then_some(0.5));
        assert_eq!(subsets[1].means(&one), (Some(0.5), Some(0.5)));
        let other = metrics(|id| (id == 9).then_some(0.5));
        assert_eq!(subsets[0].means(&other), (None, None));
    }
}
