//! ACDC, in the shipped tree `rgb_anon/CONDITION/SPLIT/SEQUENCE/*_rgb_anon.png` and in the
//! flattened one `rgb_anon/SPLIT/SEQUENCE/*`; labels are below `gt` in the same way.

use std::path::Path;

use super::file_set::FileSet;
use super::layout::{Folders, Layout, Selection};
use super::split::Split;
use crate::{Error, LabelMap, Result};

/// The condition that an image was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Fog.
    Fog,
    /// Night.
    Night,
    /// Rain.
    Rain,
    /// Snow.
    Snow,
}

impl Condition {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Fog, Self::Night, Self::Rain, Self::Snow];

    /// The name of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fog => "fog",
            Self::Night => "night",
            Self::Rain => "rain",
            Self::Snow => "snow",
        }
    }
}

/// Images of a published split in all conditions.
pub fn published(split: Split) -> usize {
    match split {
        Split::Train => 1_600,
        Split::Val => 406,
        Split::Test => 2_000,
    }
}

/// Lists a split below `root`, of one condition or of all. Which tree it is is told by the folder
/// `rgb_anon/SPLIT`. Names in the shipped tree begin with the condition.
///
/// # Errors
///
/// [`Io`](crate::Error::Io) for a missing folder; [`Invalid`](Error::Invalid) if there is no image
/// or one without label, and for a condition in the flattened tree, which mixes them.
pub fn open(
    root: &Path,
    split: Split,
    condition: Option<Condition>,
    selection: &Selection,
) -> Result<FileSet> {
    layout(root, split, condition)?.open(selection)
}

pub(crate) fn layout(root: &Path, split: Split, condition: Option<Condition>) -> Result<Layout> {
    let (images, labels) = (root.join("rgb_anon"), root.join("gt"));
    let flat = images.join(split.name());
    let folders = if flat.is_dir() {
        if let Some(condition) = condition {
            return Err(Error::Invalid(format!(
                "{} mixes the conditions; to take {} alone, use the tree as shipped \
                 (rgb_anon/{}/{})",
                flat.display(),
                condition.name(),
                condition.name(),
                split.name()
            )));
        }
        vec![Folders {
            prefix: String::new(),
            images: flat,
            labels: labels.join(split.name()),
        }]
    } else {
        let taken = Condition::ALL
            .into_iter()
            .filter(|one| condition.is_none_or(|wanted| wanted == *one));
        // A copy may lack conditions; one that is asked for must be there.
        let there = taken.filter(|one| {
            condition.is_some() || images.join(one.name()).join(split.name()).is_dir()
        });
        let folders = there.map(|one| Folders {
            prefix: format!("{}/", one.name()),
            images: images.join(one.name()).join(split.name()),
            labels: labels.join(one.name()).join(split.name()),
        });
        folders.collect()
    };
    if folders.is_empty() {
        return Err(Error::Invalid(format!(
            "{} has neither {split} nor fog/{split}, night/{split}, rain/{split}, snow/{split}; \
             root must be the folder that holds rgb_anon",
            images.display(),
            split = split.name()
        )));
    }
    Ok(Layout {
        root: root.to_owned(),
        folders,
        image_suffix: "_rgb_anon.png",
        prepared_suffix: "_gt_labelTrainIds.png",
        raw_suffix: "_gt_labelIds.png",
        raw_map: LabelMap::cityscapes(),
    })
}
