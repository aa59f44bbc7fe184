//! Any data set in a few lines of TOML.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::catalogue::{CATALOGUE, catalogue};
use super::coco::CocoSet;
use super::sample::{DetectionImages, DetectionSet, FolderImages, WithoutObjects};
use super::select::{DetectionConcat, ImagesConcat, Selected};
use super::voc::{VocConfig, VocSet};
use super::voc_xml::Difficult;
use crate::{Error, Result};

/// Where the images of a set are; the key `kind` chooses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum DetectionConfig {
    /// A COCO annotation file.
    Coco {
        /// Folder of the images.
        images: PathBuf,
        /// The annotation file.
        annotations: PathBuf,
        /// The classes in the order of their labels; without this key the file's categories.
        classes: Option<Vec<String>>,
    },
    /// A data set of the reference under its name there.
    Catalogue {
        /// Such as `"cityscapes_fine_instanceonly_seg_train_cocostyle"`.
        name: String,
        /// Folder of all data sets.
        root: PathBuf,
        /// The classes in the order of their labels; without this key the file's categories.
        classes: Option<Vec<String>>,
    },
    /// The layout of Pascal VOC.
    Voc {
        /// Folder with `JPEGImages`, `Annotations` and `ImageSets`.
        root: PathBuf,
        /// Name of a list in `ImageSets/Main`; without this key all annotated images.
        split: Option<String>,
        /// The classes in the order of their labels; objects of other classes are left out.
        classes: Vec<String>,
        /// What becomes of difficult objects: `"ignore"`, `"drop"` or `"keep"`.
        #[serde(default)]
        difficult: Difficult,
        /// Coordinate of the first pixel: 1 in Pascal VOC.
        #[serde(default = "one")]
        origin: u32,
    },
    /// Images without annotations, at any depth below a folder. For a target only.
    Images {
        /// The folder.
        root: PathBuf,
        /// End of the file names, such as `.jpg`.
        suffix: String,
    },
}

fn one() -> u32 {
    1
}

impl DetectionConfig {
    /// Opens the set with its objects.
    ///
    /// # Errors
    ///
    /// Those of the sets; [`Error::Invalid`] for an unknown name and for images without
    /// annotations.
    pub fn open(&self, threads: usize) -> Result<Arc<dyn DetectionSet>> {
        Ok(match self {
            Self::Coco {
                images,
                annotations,
                classes,
            } => Arc::new(CocoSet::read(annotations, images, classes.as_deref())?),
            Self::Catalogue {
                name,
                root,
                classes,
            } => {
                let entry = catalogue(name).ok_or_else(|| {
                    let known: Vec<_> = CATALOGUE.iter().map(|entry| entry.name).collect();
                    Error::Invalid(format!("no data set {name:?}; choose from {known:?}"))
                })?;
                let (file, images) = (root.join(entry.annotations), root.join(entry.images));
                Arc::new(CocoSet::read(&file, &images, classes.as_deref())?)
            }
            Self::Voc {
                root,
                split,
                classes,
                difficult,
                origin,
            } => Arc::new(VocSet::open(&VocConfig {
                root: root.clone(),
                split: split.clone(),
                classes: classes.clone(),
                difficult: *difficult,
                origin: *origin,
                threads,
            })?),
            Self::Images { root, .. } => {
                return Err(Error::Invalid(format!(
                    "{} holds images without annotations (kind = \"images\"), which serve as a \
                     target only",
                    root.display()
                )));
            }
        })
    }
}

/// Opens a set without its objects, as a target. With `usable_only` the images are those whose
/// annotations are worth training on: the reference looks at the target's annotations for this, and
/// a target that truly has none cannot.
///
/// # Errors
///
/// Those of [`DetectionConfig::open`], [`FolderImages::open`] and [`Selected::usable`];
/// [`Error::Invalid`] for `usable_only` with images that have no annotations.
pub fn open_detection_images(
    config: &DetectionConfig,
    usable_only: bool,
    threads: usize,
) -> Result<Arc<dyn DetectionImages>> {
    Ok(match (config, usable_only) {
        (DetectionConfig::Images { root, suffix }, false) => {
            Arc::new(FolderImages::open(root, suffix)?)
        }
        (annotated, false) => Arc::new(WithoutObjects(annotated.open(threads)?)),
        (annotated, true) => {
            let set = Selected::usable(annotated.open(threads)?)?;
            Arc::new(WithoutObjects(set))
        }
    })
}

/// The domains of a training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectionDomainsConfig {
    /// Sets with objects, joined in this order.
    pub source: Vec<DetectionConfig>,
    /// Sets whose images alone are used, joined in this order; none trains on the source alone.
    #[serde(default)]
    pub target: Vec<DetectionConfig>,
    /// Train on those source images alone that have an object worth training on.
    #[serde(default = "yes")]
    pub source_usable_only: bool,
    /// Choose the target's training images in the same way, as the reference does: by annotations
    /// that a true target does not have. Of Foggy Cityscapes it leaves out 10 images of 2975.
    #[serde(default)]
    pub target_usable_only: bool,
}

fn yes() -> bool {
    true
}

/// Source and target of a training run.
pub type DetectionDomains = (Arc<dyn DetectionSet>, Option<Arc<dyn DetectionImages>>);

impl DetectionDomainsConfig {
    /// Opens the sets.
    ///
    /// # Errors
    ///
    /// Those of the sets and of [`Selected::usable`]; [`Error::Invalid`] with the names of the
    /// classes that one source has and another lacks, and for no source.
    pub fn open(&self, threads: usize) -> Result<DetectionDomains> {
        let source = self
            .source
            .iter()
            .map(|config| -> Result<Box<dyn DetectionSet>> { Ok(Box::new(config.open(threads)?)) });
        let source = DetectionConcat::new(source.collect::<Result<_>>()?)?;
        let source: Arc<dyn DetectionSet> = match self.source_usable_only {
            true => Arc::new(Selected::usable(source)?),
            false => Arc::new(source),
        };
        let target = self.target.iter();
        let target = target
            .map(|config| open_detection_images(config, self.target_usable_only, threads))
            .collect::<Result<Vec<_>>>()?;
        let target = (!target.is_empty())
            .then(|| -> Arc<dyn DetectionImages> { Arc::new(ImagesConcat::new(target)) });
        Ok((source, target))
    }
}
