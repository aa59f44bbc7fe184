//! Dark Zurich: `rgb_anon/train/night/` (unlabelled), `rgb_anon/val/` with `gt/val/`, and
//! `rgb_anon/test/`, each at any depth.

use std::path::Path;

use super::file_set::FileSet;
use super::layout::{Folders, Layout, Selection};
use super::split::Split;
use crate::{LabelMap, Result};

/// Images of a published split (training: at night).
pub fn published(split: Split) -> usize {
    match split {
        Split::Train => 2_416,
        Split::Val => 50,
        Split::Test => 151,
    }
}

/// Lists a split below `root`; of the training images those taken at night.
///
/// # Errors
///
/// [`Io`](crate::Error::Io) for a missing folder, [`Invalid`](crate::Error::Invalid) if there is no
/// image or one without label.
pub fn open(root: &Path, split: Split, selection: &Selection) -> Result<FileSet> {
    layout(root, split).open(selection)
}

pub(crate) fn layout(root: &Path, split: Split) -> Layout {
    let below = match split {
        Split::Train => "train/night",
        other => other.name(),
    };
    Layout {
        root: root.to_owned(),
        folders: vec![Folders {
            prefix: String::new(),
            images: root.join("rgb_anon").join(below),
            labels: root.join("gt").join(below),
        }],
        image_suffix: "_rgb_anon.png",
        prepared_suffix: "_gt_labelTrainIds.png",
        raw_suffix: "_gt_labelIds.png",
        raw_map: LabelMap::cityscapes(),
    }
}
