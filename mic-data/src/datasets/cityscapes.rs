//! Cityscapes: `leftImg8bit/SPLIT/CITY/*_leftImg8bit.png` with `gtFine/SPLIT/CITY/*`.
//!
//! Labels are `_gtFine_labelTrainIds.png` (prepared) or `_gtFine_labelIds.png`; polygon files
//! (`_gtFine_polygons.json`) are turned into prepared labels by [`prepare`](crate::prepare).

use std::path::Path;

use super::file_set::FileSet;
use super::layout::{Folders, Layout, Selection};
use super::split::Split;
use crate::{LabelMap, Result};

/// Images of a published split.
pub fn published(split: Split) -> usize {
    match split {
        Split::Train => 2_975,
        Split::Val => 500,
        Split::Test => 1_525,
    }
}

/// Lists a split below `root`. The labels of the test split are dummies.
///
/// # Errors
///
/// [`Io`](crate::Error::Io) for a missing folder, [`Invalid`](crate::Error::Invalid) if there is no
/// image or one without label.
pub fn open(root: &Path, split: Split, selection: &Selection) -> Result<FileSet> {
    layout(root, split).open(selection)
}

pub(crate) fn layout(root: &Path, split: Split) -> Layout {
    Layout {
        root: root.to_owned(),
        folders: vec![Folders {
            prefix: String::new(),
            images: root.join("leftImg8bit").join(split.name()),
            labels: root.join("gtFine").join(split.name()),
        }],
        image_suffix: "_leftImg8bit.png",
        prepared_suffix: "_gtFine_labelTrainIds.png",
        raw_suffix: "_gtFine_labelIds.png",
        raw_map: LabelMap::cityscapes(),
    }
}
