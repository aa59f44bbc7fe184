//! Which label belongs to which image.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file_set::{FileSample, LabelFile};
use crate::files::scan;
use crate::{Error, LabelMap, Result};

/// For every image `a/b<image_suffix>` below `images` the label `a/b<label_suffix>` below
/// `labels`, sorted by name. An image without label is an error, a label without image is not.
pub(super) fn find_pairs(
    images: &Path,
    labels: &Path,
    image_suffix: &str,
    label_suffix: &str,
    map: &Arc<LabelMap>,
) -> Result<Vec<FileSample>> {
    is_there(labels)?;
    let found = scan(images, image_suffix)?;
    let pairs = found.into_iter().map(|file| {
        let label = labels.join(format!("{}{label_suffix}", file.name));
        FileSample {
            name: file.name,
            image: file.path,
            label: Some(LabelFile {
                listed: label.clone(),
                path: label,
                map: map.clone(),
            }),
        }
    });
    let pairs: Vec<FileSample> = pairs.collect();
    refuse_missing(&pairs)?;
    Ok(pairs)
}

/// Refuses samples whose label is not there.
pub(super) fn refuse_missing(pairs: &[FileSample]) -> Result<()> {
    let label = |pair: &FileSample| pair.label.as_ref().map(|label| label.path.clone());
    let missing = |pair: &&FileSample| label(pair).is_some_and(|path| !path.is_file());
    let mut missing = pairs.iter().filter(missing);
    let Some(first) = missing.next() else {
        return Ok(());
    };
    Err(Error::Invalid(format!(
        "{} of the {} images have no label; the first is {}, whose label should be {}; check the \
         label folder and suffix, or remove images without label",
        missing.count() + 1,
        pairs.len(),
        first.image.display(),
        label(first).unwrap_or_default().display()
    )))
}

/// The error of a folder that is missing or may not be read.
pub(super) fn is_there(folder: &Path) -> Result<()> {
    std::fs::read_dir(folder)
        .map(|_| ())
        .map_err(|source| Error::Io {
            path: PathBuf::from(folder),
            source,
        })
}
