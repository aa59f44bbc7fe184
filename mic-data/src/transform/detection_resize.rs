//! The size at which a detector sees an image.

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The shorter side becomes one of `min_sizes`, or less where the longer side would exceed
/// `max_size`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectionResize {
    /// Lengths of the shorter side, of which every image draws one.
    pub min_sizes: Vec<u32>,
    /// Bound of the longer side.
    pub max_size: Option<u32>,
}

impl Default for DetectionResize {
    /// 800 pixels, at most 1600: Cityscapes at 1600 x 800.
    fn default() -> Self {
        Self {
            min_sizes: vec![800],
            max_size: Some(1600),
        }
    }
}

impl DetectionResize {
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is no size or a size is 0.
    pub fn check(&self) -> Result<()> {
        if self.min_sizes.is_empty() || self.min_sizes.contains(&0) || self.max_size == Some(0) {
            return Err(Error::Invalid(format!(
                "min_sizes = {:?} and max_size = {:?}: give at least one size, all above 0",
                self.min_sizes, self.max_size
            )));
        }
        Ok(())
    }

    /// Draws the length of the shorter side.
    pub fn sample(&self, rng: &mut impl Rng) -> u32 {
        self.min_sizes[rng.random_range(0..self.min_sizes.len())]
    }

    /// The size (w, h) of an image of size (w, h) whose shorter side is to be `short`. The bound is
    /// rounded half to even and the longer side is cut to whole pixels, as in the reference.
    pub fn size(&self, short: u32, (width, height): (u32, u32)) -> (u32, u32) {
        let (least, most) = (width.min(height).max(1), width.max(height).max(1));
        let mut short = short;
        if let Some(bound) = self.max_size {
            let (least, most) = (f64::from(least), f64::from(most));
            if most / least * f64::from(short) > f64::from(bound) {
                short = (f64::from(bound) * least / most).round_ties_even() as u32;
            }
        }
        let short = short.max(1);
        if least == short {
            return (width, height);
        }
        let long = u64::from(short) * u64::from(most) / u64::from(least);
        let long = u32::try_from(long).unwrap_or(u32::MAX);
        if width < height {
            (short, long)
        } else {
            (long, short)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_reference() {
        let resize = DetectionResize::default();
        let cases = [
            ((2048, 1024), (1600, 800)),
            ((1914, 1052), (1455, 800)),
            ((1242, 375), (1599, 483)),
            ((1280, 720), (1422, 800)),
            ((500, 375), (1066, 800)),
            ((800, 600), (1066, 800)),
            ((1, 1), (800, 800)),
        ];
        for (from, to) in cases {
            assert_eq!(resize.size(800, from), to, "{from:?}");
        }
        // A bound that leaves nothing of the shorter side leaves one pixel.
        assert_eq!(resize.size(800, (60_000, 10)).1, 1);
    }
}
