//! CamVid driving frames as a day and a dusk domain.
//!
//! The layout is that of the SegNet release: `train/ trainannot/ val/ valannot/ test/ testannot/`
//! below one root, 11 grouped classes and void. The recorded sequence is the file name up to the
//! first `_`; three sequences were filmed by day and one at dusk. Neighbouring frames are nearly
//! equal, so domains and splits are made of whole recordings or of the release's own splits.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::GrayImage;

use super::file_set::FileSet;
use super::pairing::find_pairs;
use crate::files::scan;
use crate::sample::{Labelled, LabelledSet, Unlabelled};
use crate::{Error, LabelMap, Result};

/// A part of CamVid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// The sequences `0006R0`, `0016E5` and `Seq05VD` of all three splits.
    Day,
    /// The frames of `0001TP` in `train/`.
    DuskTrain,
    /// The frames of `0001TP` in `test/`.
    DuskTest,
}

impl Domain {
    fn splits(self) -> &'static [&'static str] {
        match self {
            Self::Day => &["train", "val", "test"],
            Self::DuskTrain => &["train"],
            Self::DuskTest => &["test"],
        }
    }

    fn sequences(self) -> &'static [&'static str] {
        match self {
            Self::Day => &["0006R0", "0016E5", "Seq05VD"],
            Self::DuskTrain | Self::DuskTest => &["0001TP"],
        }
    }

    fn has(self, name: &str) -> bool {
        let sequence = name.split('_').next().unwrap_or_default();
        self.sequences().contains(&sequence)
    }
}

/// The labelled frames of one [`Domain`], sorted by name, with train ids as in
/// [`Classes::camvid`](crate::Classes::camvid).
#[derive(Clone, Debug)]
pub struct CamVid(FileSet);

impl CamVid {
    /// Lists the frames below `root`; images may be `.png` or `.jpg`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] for a missing folder, [`Error::Invalid`] for frames without label and if the
    /// domain has no frame.
    pub fn open(root: &Path, domain: Domain) -> Result<Self> {
        let mut frames = Vec::new();
        let map = Arc::new(LabelMap::camvid());
        for split in domain.splits() {
            let (images, labels) = (root.join(split), root.join(format!("{split}annot")));
            // The release has PNG frames; reduced copies are often JPEG.
            let suffixes = [".png", ".jpg"];
            let found = suffixes.into_iter().find(|s| scan(&images, s).is_ok());
            let pairs = find_pairs(&images, &labels, found.unwrap_or(".png"), ".png", &map)?;
            frames.extend(pairs.into_iter().filter(|pair| domain.has(&pair.name)));
        }
        if frames.is_empty() {
            return Err(Error::Invalid(format!(
                "no frame of the sequences {:?} in {:?} below {}; frames must keep the names of \
                 the CamVid release",
                domain.sequences(),
                domain.splits(),
                root.display()
            )));
        }
        frames.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self(FileSet::new(root, frames)?))
    }

    /// The files.
    pub fn into_files(self) -> FileSet {
        self.0
    }
}

impl LabelledSet for CamVid {
    fn len(&self) -> usize {
        self.0.count()
    }

    fn get(&self, index: usize) -> Result<Labelled> {
        LabelledSet::get(&self.0, index)
    }

    fn image(&self, index: usize) -> Result<Unlabelled> {
        self.0.image(index)
    }

    fn label(&self, index: usize) -> Result<(String, GrayImage)> {
        self.0.label(index)
    }

    fn files(&self, index: usize) -> Vec<PathBuf> {
        LabelledSet::files(&self.0, index)
    }
}
