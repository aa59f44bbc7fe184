//! Opening the sets of images that a configuration names.

use std::sync::Arc;

use mic_data::UnlabelledSet;
use mic_data::classification::{ClassifiedSet, open_images, same_classes};
use mic_data::classification::{SourceConfig, WithoutClasses};

use crate::config::{Config, Selection, SetConfig};
use crate::{Error, Result};

/// The images of a run, opened. Files are read when asked for.
#[derive(Clone)]
pub struct Sets {
    /// Labelled images of the source domain.
    pub source: Arc<dyn ClassifiedSet>,
    /// Images of the target domain, where the method has use for them.
    pub target: Option<Arc<dyn UnlabelledSet>>,
    /// Labelled images that evaluation reports on.
    pub test: Option<Arc<dyn ClassifiedSet>>,
}

impl Sets {
    /// Opens the sets that a configuration names. Of a target with classes only their names are
    /// looked at, and only here.
    ///
    /// # Errors
    /// [`Error::Config`] names the table and the folder or file that is missing or wrong, a class
    /// that one set has and another lacks, and a class without source images.
    pub fn open(config: &Config) -> Result<Self> {
        let data = &config.data;
        let source = labelled(&data.source)?;
        every_class_has_images(&data.source, source.as_ref())?;
        let known = source.class_names();
        let target = data.target.as_ref();
        let target = target.map(|set| unlabelled(set, known)).transpose()?;
        let test = data.test.as_ref();
        let test = test
            .map(|set| test_set(set, ("the source", known)))
            .transpose()?;
        if let (Some(set), Some(test)) = (&data.test, &test)
            && config.train.select == Selection::MeanClass
        {
            let why = "the mean of all classes' accuracies does not exist then; use train.select = \
                       \"top1\"";
            refuse_empty_class(set, test.as_ref(), why)?;
        }
        Ok(Self {
            source,
            target,
            test,
        })
    }
}

/// Opens a set with its classes.
///
/// # Errors
/// [`Error::Config`] names the table and what is wrong.
pub fn labelled(set: &SetConfig) -> Result<Arc<dyn ClassifiedSet>> {
    in_table(set, set.images.open())
}

/// Opens a set to measure on.
///
/// # Errors
/// Those of [`labelled`]; other classes than those of `known`, which has a name for messages.
pub fn test_set(set: &SetConfig, known: (&str, &[String])) -> Result<Arc<dyn ClassifiedSet>> {
    let opened = labelled(set)?;
    let names = opened.class_names();
    in_table(set, same_classes(known, (&set.key, names)))?;
    Ok(opened)
}

fn unlabelled(set: &SetConfig, known: &[String]) -> Result<Arc<dyn UnlabelledSet>> {
    if let SourceConfig::Images { .. } = set.images {
        return in_table(set, open_images(&set.images));
    }
    Ok(Arc::new(WithoutClasses(test_set(
        set,
        ("the source", known),
    )?)))
}

fn every_class_has_images(set: &SetConfig, images: &dyn ClassifiedSet) -> Result<()> {
    if images.class_names().len() < 2 {
        return Err(Error::Config(format!(
            "{}: there is one class, {:?}; a classifier needs at least two",
            set.key,
            images.class_names()
        )));
    }
    let why = "the network could not learn it; add images, or leave the class out";
    refuse_empty_class(set, images, why)
}

/// Images of each class.
pub(crate) fn class_counts(images: &dyn ClassifiedSet) -> Vec<u64> {
    let mut counts = vec![0; images.class_names().len()];
    for index in 0..images.len() {
        if let Some(count) = counts.get_mut(images.class(index) as usize) {
            *count += 1;
        }
    }
    counts
}

fn refuse_empty_class(set: &SetConfig, images: &dyn ClassifiedSet, why: &str) -> Result<()> {
    let (names, counts) = (images.class_names(), class_counts(images));
    match counts.iter().position(|count| *count == 0) {
        Some(class) => Err(Error::Config(format!(
            "{}: class {:?} has no image: {why}",
            set.key, names[class]
        ))),
        None => Ok(()),
    }
}

/// A set that cannot be opened is a fault of the table that names it.
fn in_table<T>(set: &SetConfig, opened: mic_data::Result<T>) -> Result<T> {
    opened.map_err(|error| Error::Config(format!("{}: {error}", set.key)))
}
