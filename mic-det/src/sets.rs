//! Opening the sets of images that a configuration names.

use std::sync::Arc;

use mic_data::cache::{Cached, Kept};
use mic_data::classification::same_classes;
use mic_data::detection::{
    DetectionConfig, DetectionImages, DetectionSet, Selected, WithoutObjects, open_detection_images,
};
use mic_data::scenes::SceneObjects;

use crate::config::{Config, SetConfig, SetKind};
use crate::{Error, Result};

/// The images of a run, opened. Files are read when asked for.
#[derive(Clone)]
pub struct Sets {
    /// Annotated images that train the detector.
    pub source: Arc<dyn DetectionSet>,
    /// Images of the target domain, where the method has use for them.
    pub target: Option<Arc<dyn DetectionImages>>,
    /// Annotated images that evaluation reports on.
    pub test: Option<Arc<dyn DetectionSet>>,
}

impl Sets {
    /// Opens the sets that a configuration names.
    ///
    /// # Errors
    /// [`Error::Config`] names the table and the folder or file that is missing or wrong, a class
    /// that one set has and another lacks, and a source without any box.
    pub fn open(config: &Config) -> Result<Self> {
        let data = &config.data;
        let threads = threads();
        let source = annotated(&data.source, None, threads)?;
        let classes = source.class_names().to_vec();
        let source: Arc<dyn DetectionSet> = match data.source_usable_only {
            true => Arc::new(in_table(&data.source, Selected::usable(source))?),
            false => source,
        };
        let target = data.target.as_ref();
        let target = target.map(|set| images(set, data.target_usable_only, threads));
        let target = target.transpose()?;
        let test = data.test.as_ref();
        let test = test.map(|set| test_set(set, ("the source", &classes)));
        let cache = data.loading.open_cache();
        let cache = cache.map_err(|error| Error::Config(error.to_string()))?;
        let (source, target) = match &cache {
            None => (source, target),
            Some(cache) => {
                let kept = Kept::AsDecoded;
                let naming = data.target.as_ref().map(|set| format!("{:?}", set.kind));
                let target = target.map(|set| -> Arc<dyn DetectionImages> {
                    let naming = naming.unwrap_or_default();
                    Arc::new(Cached::new(set, Arc::clone(cache), kept, naming))
                });
                let source = Cached::new(source, Arc::clone(cache), kept, "");
                (Arc::new(source) as Arc<dyn DetectionSet>, target)
            }
        };
        Ok(Self {
            source,
            target,
            test: test.transpose()?,
        })
    }
}

/// Opens a set with its objects. `classes` are the names to look for; `None` takes those of the
/// configuration or of the set.
///
/// # Errors
/// [`Error::Config`] names the table and what is wrong.
pub fn annotated(
    set: &SetConfig,
    classes: Option<&[String]>,
    threads: usize,
) -> Result<Arc<dyn DetectionSet>> {
    match (&set.kind, classes) {
        (SetKind::Scenes(scenes), _) => {
            let opened = SceneObjects::new(scenes, threads);
            Ok(Arc::new(in_table(set, opened)?))
        }
        (SetKind::Files(files), Some(classes)) => {
            in_table(set, with_classes(files, classes).open(threads))
        }
        (SetKind::Files(files), None) => in_table(set, files.open(threads)),
    }
}

/// Opens a set to measure on: objects of the classes `known`, which have a name for messages.
///
/// # Errors
/// Those of [`annotated`]; a set that lacks one of the classes.
pub fn test_set(set: &SetConfig, known: (&str, &[String])) -> Result<Arc<dyn DetectionSet>> {
    let opened = annotated(set, Some(known.1), threads())?;
    in_table(set, same_classes(known, (&set.key, opened.class_names())))?;
    Ok(opened)
}

/// Opens a set without its objects.
///
/// # Errors
/// [`Error::Config`] names the table and what is wrong.
pub fn images(
    set: &SetConfig,
    usable_only: bool,
    threads: usize,
) -> Result<Arc<dyn DetectionImages>> {
    match &set.kind {
        SetKind::Files(files) => in_table(set, open_detection_images(files, usable_only, threads)),
        SetKind::Scenes(scenes) => {
            let opened = in_table(set, SceneObjects::new(scenes, threads))?;
            Ok(match usable_only {
                true => Arc::new(WithoutObjects(in_table(set, Selected::usable(opened))?)),
                false => Arc::new(WithoutObjects(opened)),
            })
        }
    }
}

fn with_classes(files: &DetectionConfig, names: &[String]) -> DetectionConfig {
    let mut files = files.clone();
    match &mut files {
        DetectionConfig::Coco { classes, .. } | DetectionConfig::Catalogue { classes, .. } => {
            *classes = Some(names.to_vec());
        }
        DetectionConfig::Voc { classes, .. } => *classes = names.to_vec(),
        DetectionConfig::Images { .. } => {}
    }
    files
}

/// Annotation files are read once, before training: with all processors.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A set that cannot be opened is a fault of the table that names it.
fn in_table<T>(set: &SetConfig, opened: mic_data::Result<T>) -> Result<T> {
    opened.map_err(|error| Error::Config(format!("{}: {error}", set.key)))
}
