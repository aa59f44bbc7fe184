//! Published data sets as they lie on disk: image and label folders, file endings, and labels in
//! raw and in prepared form.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file_set::{FileSample, FileSet, LabelFile};
use super::list::read_list;
use crate::files::{ScannedFile, scan};
use crate::{Error, LabelMap, Result};

/// Which images of a published set to take, and whether with labels.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// A text file with one name a line (the path below the image folder without the suffix);
    /// `None` takes all images.
    pub list: Option<PathBuf>,
    /// Look for labels.
    pub labelled: bool,
}

/// One folder of images and that of their labels.
#[derive(Clone, Debug)]
pub(crate) struct Folders {
    /// Stands before the names of its images, ends in `/` unless empty.
    pub(crate) prefix: String,
    pub(crate) images: PathBuf,
    pub(crate) labels: PathBuf,
}

/// The form of a published set.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) root: PathBuf,
    pub(crate) folders: Vec<Folders>,
    pub(crate) image_suffix: &'static str,
    /// Ending of labels that hold train ids.
    pub(crate) prepared_suffix: &'static str,
    /// Ending of labels as published.
    pub(crate) raw_suffix: &'static str,
    pub(crate) raw_map: LabelMap,
}

impl Layout {
    /// Lists the files, sorted by name (with a list: in its order). A prepared label wins over the
    /// raw one.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] for a missing folder, [`Error::Invalid`] if there is no image, for an image
    /// without label, and for a listed name without image.
    pub(super) fn open(&self, selection: &Selection) -> Result<FileSet> {
        let mut found: Vec<(ScannedFile, &Folders)> = Vec::new();
        for folders in &self.folders {
            for mut file in scan(&folders.images, self.image_suffix)? {
                file.name = format!("{}{}", folders.prefix, file.name);
                found.push((file, folders));
            }
        }
        found.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        if let Some(list) = &selection.list {
            found = self.select(found, list)?;
        }
        let mut samples = Vec::with_capacity(found.len());
        let maps = [
            Arc::new(LabelMap::train_ids(19)),
            Arc::new(self.raw_map.clone()),
        ];
        let mut missing = 0;
        let mut first_missing = None;
        for (file, folders) in found {
            let label = if selection.labelled {
                let label = self.label(&file.name, folders, &maps);
                if label.is_none() {
                    missing += 1;
                    first_missing.get_or_insert_with(|| file.path.clone());
                }
                label
            } else {
                None
            };
            samples.push(FileSample {
                name: file.name,
                image: file.path,
                label,
            });
        }
        if let Some(first) = first_missing {
            return Err(Error::Invalid(format!(
                "{missing} of {} images below {} have no label; the first is {}, whose label \
                 should end in {} (or {}); unpack the labels of the set beside its images",
                samples.len(),
                self.root.display(),
                first.display(),
                self.prepared_suffix,
                self.raw_suffix
            )));
        }
        FileSet::new(&self.root, samples)
    }

    fn label(
        &self,
        name: &str,
        folders: &Folders,
        [train_ids, raw]: &[Arc<LabelMap>; 2],
    ) -> Option<LabelFile> {
        let stem = name.strip_prefix(&folders.prefix).unwrap_or(name);
        let path = |suffix: &str| folders.labels.join(format!("{stem}{suffix}"));
        let prepared = path(self.prepared_suffix);
        let (path, map) = if prepared.is_file() {
            (prepared.clone(), train_ids)
        } else {
            (path(self.raw_suffix), raw)
        };
        path.is_file().then(|| LabelFile {
            path,
            map: map.clone(),
            listed: prepared,
        })
    }

    fn select<'a>(
        &self,
        found: Vec<(ScannedFile, &'a Folders)>,
        list: &Path,
    ) -> Result<Vec<(ScannedFile, &'a Folders)>> {
        let mut by_name: HashMap<String, (ScannedFile, &Folders)> = found
            .into_iter()
            .map(|entry| (entry.0.name.clone(), entry))
            .collect();
        let lines = read_list(list)?;
        let entries = lines.into_iter().map(|line| {
            let name = line
                .first
                .strip_suffix(self.image_suffix)
                .unwrap_or(&line.first);
            by_name.remove(name).ok_or_else(|| {
                Error::Invalid(format!(
                    "{} line {}: no image is called {name:?} (or it is listed twice); a name is \
                     the path below the image folder without {}",
                    list.display(),
                    line.number,
                    self.image_suffix
                ))
            })
        });
        entries.collect()
    }
}
