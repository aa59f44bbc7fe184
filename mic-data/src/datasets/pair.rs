//! Image files with the label files that belong to them.

use std::path::{Path, PathBuf};

use crate::files::{read_image, read_pair, scan};
use crate::{Error, LabelMap, Labelled, Result, Unlabelled};

/// An image file and its label file.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) name: String,
    pub(crate) image: PathBuf,
    pub(crate) label: PathBuf,
}

impl Pair {
    pub(crate) fn read(&self, map: &LabelMap) -> Result<Labelled> {
        read_pair(&self.name, &self.image, &self.label, map)
    }

    pub(crate) fn read_image(&self) -> Result<Unlabelled> {
        Ok(Unlabelled {
            name: self.name.clone(),
            image: read_image(&self.image)?,
            valid: None,
        })
    }
}

/// For every image `a/b<image_suffix>` below `images` the label `a/b<label_suffix>` below
/// `labels`, sorted by name. An image without label is an error, a label without image is not.
pub(crate) fn find_pairs(
    images: &Path,
    labels: &Path,
    image_suffix: &str,
    label_suffix: &str,
) -> Result<Vec<Pair>> {
    std::fs::metadata(labels).map_err(|source| Error::Io {
        path: labels.to_owned(),
        source,
    })?;
    let pairs: Vec<Pair> = scan(images, image_suffix)?
        .into_iter()
        .map(|file| Pair {
            label: labels.join(format!("{}{label_suffix}", file.name)),
            name: file.name,
            image: file.path,
        })
        .collect();
    let missing: Vec<&Pair> = pairs.iter().filter(|pair| !pair.label.is_file()).collect();
    match missing.first() {
        None => Ok(pairs),
        Some(first) => Err(Error::Invalid(format!(
            "{} of the {} images below {} have no label; the first is {}, whose label should be \
             {}; check the label folder and suffix, or remove images without label",
            missing.len(),
            pairs.len(),
            images.display(),
            first.image.display(),
            first.label.display()
        ))),
    }
}
