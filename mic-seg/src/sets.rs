//! Opening the sets of images that a configuration names.

use std::sync::Arc;

use mic_data::datasets::{CamVid, Folder, FolderConfig, ImageFolder};
use mic_data::scenes::StreetScenes;
use mic_data::{Classes, LabelMap, LabelledSet, UnlabelledSet, WithoutLabels};

use crate::config::{FolderSource, SetConfig, SetKind};
use crate::{Error, Result};

/// Opens a set with its labels, train ids of `classes`. Images come at their own size; files are read when asked for.
///
/// # Errors
///
/// [`Error::Config`] names the table and the folder that is missing or empty, or the first image
/// without label.
pub fn labelled(set: &SetConfig, classes: &Classes) -> Result<Arc<dyn LabelledSet>> {
    Ok(match &set.kind {
        SetKind::Scenes {
            scene,
            split,
            count,
            seed,
        } => {
            let scenes = StreetScenes::new(scene.clone(), *seed, *split, *count);
            Arc::new(in_table(set, scenes)?)
        }
        SetKind::CamVid { root, domain } => Arc::new(in_table(set, CamVid::open(root, *domain))?),
        SetKind::Folder(folder) => Arc::new(in_table(set, open_folder(set, folder, classes))?),
    })
}

/// Opens a set without its labels; the label files of a folder need not be there.
///
/// # Errors
///
/// Those of [`labelled`], a folder's labels aside.
pub fn unlabelled(set: &SetConfig, classes: &Classes) -> Result<Arc<dyn UnlabelledSet>> {
    Ok(match &set.kind {
        SetKind::Folder(folder) => {
            let opened = ImageFolder::open(&folder.images, &folder.image_suffix);
            Arc::new(in_table(set, opened)?)
        }
        _ => Arc::new(WithoutLabels(labelled(set, classes)?)),
    })
}

fn open_folder(
    set: &SetConfig,
    folder: &FolderSource,
    classes: &Classes,
) -> mic_data::Result<Folder> {
    let labels = folder.labels.clone().ok_or_else(|| {
        mic_data::Error::Invalid(format!("{}.labels is missing: the label folder", set.key))
    })?;
    Folder::open(FolderConfig {
        images: folder.images.clone(),
        labels,
        image_suffix: folder.image_suffix.clone(),
        label_suffix: folder.label_suffix.clone(),
        map: folder
            .map
            .clone()
            .unwrap_or_else(|| LabelMap::train_ids(classes.len())),
    })
}

/// A set that cannot be opened is a fault of the table that names it.
fn in_table<T>(set: &SetConfig, opened: mic_data::Result<T>) -> Result<T> {
    opened.map_err(|error| Error::Config(format!("{}: {error}", set.key)))
}
