//! Any data set in a few lines of TOML.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::class_folders::{ClassFolders, same_classes};
use super::concat::{Concat, ConcatImages};
use super::digits::Digits;
use super::idx::IdxSet;
use super::image_list::ImageList;
use super::published::{Published, Split};
use super::sample::{ClassifiedSet, WithoutClasses};
use crate::datasets::ImageFolder;
use crate::sample::UnlabelledSet;
use crate::{Error, Result};

/// Where the images of one or several domains are; the key `kind` chooses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum SourceConfig {
    /// A data set of the paper.
    Published {
        /// `"visda2017"`, `"office_home"` or `"domainnet"`.
        set: Published,
        /// Its folder.
        root: PathBuf,
        /// Domains, joined in this order, such as `["Ar", "Cl"]`.
        domains: Vec<String>,
        /// `"train"` or `"test"`; differs for DomainNet only.
        #[serde(default)]
        split: Split,
    },
    /// Built-in handwritten digits.
    Digits {
        /// `"mnist"` or `"optdigits"`.
        set: Digits,
        /// `"train"` or `"test"`.
        #[serde(default)]
        split: Split,
    },
    /// A folder with one folder for each class.
    Folders {
        /// The folder.
        root: PathBuf,
        /// The classes in the order of their ids; without this key all folders, sorted by name.
        classes: Option<Vec<String>>,
    },
    /// A text file with a path and a class id a line.
    List {
        /// The file.
        list: PathBuf,
        /// Folder that relative paths are meant from.
        root: PathBuf,
        /// The classes in the order of their ids.
        classes: Vec<String>,
    },
    /// A pair of IDX files.
    Idx {
        /// Images (number, height, width), plain or gzipped.
        images: PathBuf,
        /// Class ids (number), plain or gzipped.
        labels: PathBuf,
        /// The classes in the order of their ids; without this key the ten digits.
        classes: Option<Vec<String>>,
    },
    /// Images without classes, at any depth below a folder. For a target only.
    Images {
        /// The folder.
        root: PathBuf,
        /// End of the file names, such as `.jpg`.
        suffix: String,
    },
}

impl SourceConfig {
    /// Opens the set with its classes.
    ///
    /// # Errors
    ///
    /// Those of the sets; [`Error::Invalid`] for images without classes, no domain and class names
    /// that are empty or repeated.
    pub fn open(&self) -> Result<Arc<dyn ClassifiedSet>> {
        Ok(match self {
            Self::Published {
                set,
                root,
                domains,
                split,
            } => {
                let open = |domain: &String| -> Result<Box<dyn ClassifiedSet>> {
                    Ok(Box::new(set.open(root, domain, *split)?))
                };
                Arc::new(Concat::new(
                    domains.iter().map(open).collect::<Result<_>>()?,
                )?)
            }
            Self::Digits { set, split } => Arc::new(set.open(*split)?),
            Self::Folders {
                root,
                classes: None,
            } => Arc::new(ClassFolders::open(root)?),
            Self::Folders {
                root,
                classes: Some(classes),
            } => {
                check_names(classes)?;
                Arc::new(ClassFolders::with_classes(root, classes.clone())?)
            }
            Self::List {
                list,
                root,
                classes,
            } => {
                check_names(classes)?;
                Arc::new(ImageList::read(list, root, classes.clone())?)
            }
            Self::Idx {
                images,
                labels,
                classes,
            } => {
                let digits = || (0..10).map(|digit| digit.to_string()).collect();
                let classes = classes.clone().unwrap_or_else(digits);
                check_names(&classes)?;
                Arc::new(IdxSet::read(images, labels, classes)?)
            }
            Self::Images { root, .. } => {
                return Err(Error::Invalid(format!(
                    "{} holds images without classes (kind = \"images\"), which serve as a target \
                     only",
                    root.display()
                )));
            }
        })
    }
}

impl SourceConfig {
    /// The lines of list files that keep the set from opening; nothing for sets without lists.
    pub fn list_faults(&self) -> Vec<String> {
        let faults = |list: &Path, classes: &[String]| {
            // Whatever else is wrong with it, opening tells.
            ImageList::faults(list, classes).unwrap_or_default()
        };
        match self {
            Self::List { list, classes, .. } => faults(list, classes),
            Self::Published {
                set,
                root,
                domains,
                split,
            } => {
                let lists = domains
                    .iter()
                    .filter_map(|domain| set.list_path(root, domain, *split).ok());
                lists
                    .flat_map(|list| faults(&list, &set.class_names()))
                    .collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Opens a set without its classes, as a target. Of a set with classes only the images remain.
///
/// # Errors
///
/// Those of [`SourceConfig::open`] and [`ImageFolder::open`].
pub fn open_images(config: &SourceConfig) -> Result<Arc<dyn UnlabelledSet>> {
    Ok(match config {
        SourceConfig::Images { root, suffix } => Arc::new(ImageFolder::open(root, suffix)?),
        labelled => Arc::new(WithoutClasses(labelled.open()?)),
    })
}

/// The domains of a training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainsConfig {
    /// Sets with classes, joined in this order.
    pub source: Vec<SourceConfig>,
    /// Sets whose images alone are used, joined in this order; none trains on the source alone.
    #[serde(default)]
    pub target: Vec<SourceConfig>,
}

/// Source and target of a training run.
pub type Domains = (Arc<dyn ClassifiedSet>, Option<Arc<dyn UnlabelledSet>>);

impl DomainsConfig {
    /// Opens the sets. Of a target with classes only their names are looked at, and only here.
    ///
    /// # Errors
    ///
    /// Those of the sets; [`Error::Invalid`] with the names of the classes that one set has and
    /// another lacks, and for no source.
    pub fn open(&self) -> Result<Domains> {
        let source = self
            .source
            .iter()
            .map(|config| -> Result<Box<dyn ClassifiedSet>> { Ok(Box::new(config.open()?)) });
        let source = Concat::new(source.collect::<Result<_>>()?)?;
        let mut target: Vec<Box<dyn UnlabelledSet>> = Vec::new();
        for config in &self.target {
            target.push(match config {
                SourceConfig::Images { .. } => Box::new(open_images(config)?),
                labelled => {
                    let set = labelled.open()?;
                    let names = (source.class_names(), set.class_names());
                    same_classes(("the source", names.0), ("the target", names.1))?;
                    Box::new(WithoutClasses(set))
                }
            });
        }
        let target = (!target.is_empty())
            .then(|| -> Arc<dyn UnlabelledSet> { Arc::new(ConcatImages::new(target)) });
        Ok((Arc::new(source), target))
    }
}

fn check_names(classes: &[String]) -> Result<()> {
    let mut sorted: Vec<&String> = classes.iter().collect();
    sorted.sort();
    let twice = sorted.windows(2).find(|pair| pair[0] == pair[1]);
    if let Some(pair) = twice {
        return Err(Error::Invalid(format!(
            "class {:?} is listed twice",
            pair[0]
        )));
    }
    if classes.is_empty() || classes.iter().any(|name| name.trim().is_empty()) {
        return Err(Error::Invalid(
            "classes must be a list of names, none of them empty".to_owned(),
        ));
    }
    Ok(())
}
