//! The published sets under one roof.

use std::path::Path;

use super::acdc::{self, Condition};
use super::file_set::FileSet;
use super::layout::{Layout, Selection};
use super::split::Split;
use super::{cityscapes, dark_zurich, gta, synthia};
use crate::Result;

/// A part of a published set. All have the classes of [`Classes::cityscapes`](crate::Classes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// GTA5.
    Gta,
    /// SYNTHIA-RAND-CITYSCAPES.
    Synthia,
    /// Cityscapes.
    Cityscapes(Split),
    /// ACDC, one condition or all.
    Acdc(Split, Option<Condition>),
    /// Dark Zurich; of the training images those taken at night.
    DarkZurich(Split),
}

impl Published {
    /// Its name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gta => "gta",
            Self::Synthia => "synthia",
            Self::Cityscapes(_) => "cityscapes",
            Self::Acdc(..) => "acdc",
            Self::DarkZurich(_) => "dark_zurich",
        }
    }

    /// Lists the files below `root`.
    ///
    /// # Errors
    ///
    /// [`Io`](crate::Error::Io) for a missing folder, [`Invalid`](crate::Error::Invalid) if there
    /// is no image, for an image without label, and for a listed name without image.
    pub fn open(self, root: &Path, selection: &Selection) -> Result<FileSet> {
        self.layout(root)?.open(selection)
    }

    /// How many images the part has as published; `None` for one condition of ACDC.
    pub fn published(self) -> Option<usize> {
        match self {
            Self::Gta => Some(gta::PUBLISHED),
            Self::Synthia => Some(synthia::PUBLISHED),
            Self::Cityscapes(split) => Some(cityscapes::published(split)),
            Self::Acdc(split, None) => Some(acdc::published(split)),
            Self::Acdc(_, Some(_)) => None,
            Self::DarkZurich(split) => Some(dark_zurich::published(split)),
        }
    }

    /// Whether the class statistics of this part lie in the root itself, where the tools of the
    /// original put them.
    pub fn keeps_stats_in_root(self) -> bool {
        matches!(
            self,
            Self::Gta | Self::Synthia | Self::Cityscapes(Split::Train)
        )
    }

    pub(crate) fn layout(self, root: &Path) -> Result<Layout> {
        Ok(match self {
            Self::Gta => gta::layout(root),
            Self::Synthia => synthia::layout(root),
            Self::Cityscapes(split) => cityscapes::layout(root, split),
            Self::Acdc(split, condition) => acdc::layout(root, split, condition)?,
            Self::DarkZurich(split) => dark_zurich::layout(root, split),
        })
    }
}
