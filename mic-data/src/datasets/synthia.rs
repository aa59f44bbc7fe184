//! SYNTHIA-RAND-CITYSCAPES: `RGB/0000000.png` and `GT/LABELS/0000000.png`, 16-bit RGB PNGs whose
//! first channel is the class id (the others number instances).

use std::path::Path;

use super::file_set::FileSet;
use super::layout::{Folders, Layout, Selection};
use crate::{LabelMap, Result};

/// Images of the published set.
pub const PUBLISHED: usize = 9_400;

/// Lists the set below `root`.
///
/// # Errors
///
/// [`Io`](crate::Error::Io) for a missing folder, [`Invalid`](crate::Error::Invalid) if there is no
/// image or one without label.
pub fn open(root: &Path, selection: &Selection) -> Result<FileSet> {
    layout(root).open(selection)
}

pub(crate) fn layout(root: &Path) -> Layout {
    Layout {
        root: root.to_owned(),
        folders: vec![Folders {
            prefix: String::new(),
            images: root.join("RGB"),
            labels: root.join("GT/LABELS"),
        }],
        image_suffix: ".png",
        prepared_suffix: "_labelTrainIds.png",
        raw_suffix: ".png",
        raw_map: LabelMap::synthia(),
    }
}
