//! Precision over recall of ranked detections.

use super::matching::Fate;

/// Precision and recall after each detection that counts or not, the surest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Curve {
    pub(super) precision: Vec<f64>,
    pub(super) recall: Vec<f64>,
}

impl Curve {
    /// Of detections by descending score, where `objects` are to be found. Before the first
    /// detection that counts, precision is 0.
    pub(super) fn new(ranked: impl Iterator<Item = Fate>, objects: usize) -> Self {
        let (mut right, mut wrong) = (0usize, 0usize);
        let mut curve = Self::default();
        for fate in ranked {
            right += usize::from(fate == Fate::Right);
            wrong += usize::from(fate == Fate::Wrong);
            let counted = right + wrong;
            curve.precision.push(right as f64 / counted.max(1) as f64);
            curve.recall.push(right as f64 / objects as f64);
        }
        curve
    }

    /// The last recall, 0 without detections.
    pub(super) fn final_recall(&self) -> f64 {
        self.recall.last().copied().unwrap_or(0.0)
    }

    /// Precision is raised to the best at any higher recall.
    pub(super) fn envelope(mut self) -> Self {
        let mut best = f64::NEG_INFINITY;
        for precision in self.precision.iter_mut().rev() {
            best = best.max(*precision);
            *precision = best;
        }
        self
    }

    /// The precision where recall first reaches `recall`, 0 if it never does.
    pub(super) fn precision_at(&self, recall: f64) -> f64 {
        let place = self.recall.partition_point(|&reached| reached < recall);
        self.precision.get(place).copied().unwrap_or(0.0)
    }

    /// The area below precision over recall.
    pub(super) fn area(&self) -> f64 {
        let (mut area, mut before) = (0.0, 0.0);
        for (&recall, &precision) in self.recall.iter().zip(&self.precision) {
            area += (recall - before) * precision;
            before = recall;
        }
        area
    }
}
