//! Which object a box is to be trained on (Ren et al., "Faster R-CNN", sec. 3.1.2).

use serde::{Deserialize, Serialize};

/// What a box is matched to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// The object of this number.
    Object(usize),
    /// It overlaps none.
    Background,
    /// It overlaps one too much for background and too little for a match: it does not count.
    Between,
}

/// Thresholds of the overlap.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matcher {
    /// A box is matched to the object it overlaps most if the overlap is at least this.
    pub high: f32,
    /// It is background if the overlap is below this.
    pub low: f32,
    /// Whether every object keeps the boxes that overlap it most, however little (ties included):
    /// those are matched to the object that *they* overlap most. An object that overlaps no box at
    /// all claims all boxes that it does not overlap, as in the reference.
    pub low_quality: bool,
}

impl Matcher {
    /// The match of each of `boxes` boxes; `overlaps` has a row of their overlaps for each object.
    ///
    /// Without objects all boxes are background.
    pub fn matches(&self, overlaps: &[f32], boxes: usize) -> Vec<Match> {
        let mut best = vec![(f32::NEG_INFINITY, 0usize); boxes];
        let rows = || overlaps.chunks_exact(boxes.max(1));
        for (object, row) in rows().enumerate() {
            for (best, &overlap) in best.iter_mut().zip(row) {
                if overlap > best.0 {
                    *best = (overlap, object);
                }
            }
        }
        let decide = |&(overlap, object): &(f32, usize)| match overlap {
            v if v >= self.high => Match::Object(object),
            v if v >= self.low => Match::Between,
            _ => Match::Background,
        };
        let mut matches: Vec<Match> = best.iter().map(decide).collect();
        if self.low_quality {
            for row in rows() {
                let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                for (i, &overlap) in row.iter().enumerate() {
                    if overlap == largest {
                        matches[i] = Match::Object(best[i].1);
                    }
                }
            }
        }
        matches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RPN: Matcher = Matcher {
        high: 0.7,
        low: 0.3,
        low_quality: true,
    };

    #[test]
    fn known_matches() {
        use Match::{Background as B, Object as O};
        let overlaps = [
            [0.1, 0.4, 0.75, 0.2, 0.0],
            [0.05, 0.35, 0.1, 0.22, 0.0],
            [0.0, 0.0, 0.0, 0.0, 0.29],
        ];
        let flat = overlaps.as_flattened();
        assert_eq!(RPN.matches(flat, 5), [B, O(0), O(0), B, O(2)]);
        let roi = Matcher {
            high: 0.5,
            low: 0.5,
            low_quality: false,
        };
        assert_eq!(roi.matches(flat, 5), [B, B, O(0), B, B]);
        // The second object overlaps no box: it claims those at overlap 0.
        let claimed = RPN.matches(&[0.8, 0.0, 0.0, 0.0, 0.0, 0.0], 3);
        assert_eq!(claimed, [O(0); 3]);
    }

    #[test]
    fn without_objects_all_is_background() {
        assert_eq!(RPN.matches(&[], 3), [Match::Background; 3]);
        assert_eq!(RPN.matches(&[], 0), []);
    }
}
