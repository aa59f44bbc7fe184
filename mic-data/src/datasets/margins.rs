//! Borders of target images in which pseudo-labels do not count.

use std::path::PathBuf;

use image::{GrayImage, Luma};

use crate::sample::{Unlabelled, UnlabelledSet};
use crate::{Error, Result};

/// Widths of the borders in pixels of the stored image: the bonnet of the own car, blurred edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Margins {
    /// Rows at the top.
    pub top: u32,
    /// Rows at the bottom.
    pub bottom: u32,
    /// Columns at the left.
    pub left: u32,
    /// Columns at the right.
    pub right: u32,
}

impl Margins {
    /// 1 inside, 0 in the borders.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if nothing is left inside.
    pub fn mask(&self, width: u32, height: u32) -> Result<GrayImage> {
        let across = self.left.saturating_add(self.right);
        let down = self.top.saturating_add(self.bottom);
        if across >= width || down >= height {
            return Err(Error::Invalid(format!(
                "pseudo-label margins of {down} rows and {across} columns leave nothing of an \
                 image of {width} x {height}; they are in pixels of the stored image"
            )));
        }
        let inside = |x: u32, y: u32| {
            (self.left..width - self.right).contains(&x)
                && (self.top..height - self.bottom).contains(&y)
        };
        Ok(GrayImage::from_fn(width, height, |x, y| {
            Luma([u8::from(inside(x, y))])
        }))
    }
}

/// A target set with borders; the mask is scaled, cut and mirrored with its image.
#[derive(Clone, Debug)]
pub struct WithMargins<S> {
    set: S,
    margins: Margins,
}

impl<S> WithMargins<S> {
    /// `set` with `margins` in all of its images.
    pub fn new(set: S, margins: Margins) -> Self {
        Self { set, margins }
    }
}

impl<S: UnlabelledSet> UnlabelledSet for WithMargins<S> {
    fn len(&self) -> usize {
        self.set.len()
    }

    fn get(&self, index: usize) -> Result<Unlabelled> {
        let mut sample = self.set.get(index)?;
        let (width, height) = sample.image.dimensions();
        let mut mask = self
            .margins
            .mask(width, height)
            .map_err(|error| Error::Invalid(format!("{:?}: {error}", sample.name)))?;
        if let Some(valid) = &sample.valid {
            for (inside, valid) in mask.iter_mut().zip(valid.iter()) {
                *inside = (*inside).min(*valid);
            }
        }
        sample.valid = Some(mask);
        Ok(sample)
    }

    fn files(&self, index: usize) -> Vec<PathBuf> {
        self.set.files(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_are_zero_and_must_leave_something() {
        let margins = Margins {
            top: 1,
            bottom: 2,
            left: 0,
            right: 3,
        };
        let mask = margins.mask(5, 4).unwrap();
        let expected = [[0, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0; 5], [0; 5]];
        assert_eq!(mask.as_raw(), &expected.concat());
        assert!(margins.mask(3, 9).is_err());
        assert!(margins.mask(9, 3).is_err());
    }
}
