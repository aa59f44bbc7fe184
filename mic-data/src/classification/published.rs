//! The data sets of the paper.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::class_folders::{files_below, folder_names};
use super::class_names::{DOMAIN_NET, OFFICE_HOME, VISDA_2017};
use super::image_list::ImageList;
use crate::{Error, Result};

/// A data set with fixed domains, classes and file lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Published {
    /// VisDA-2017: renderings to photographs, 12 classes.
    #[serde(rename = "visda2017")]
    VisDa2017,
    /// Office-Home: art, clip art, product pictures and photographs, 65 classes.
    OfficeHome,
    /// DomainNet, cleaned version: six styles, 345 classes.
    #[serde(rename = "domainnet")]
    DomainNet,
}

/// Part of a domain. VisDA-2017 and Office-Home have one part, which serves for both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Training images.
    #[default]
    Train,
    /// Test images.
    Test,
}

/// A domain: the short name of the paper's tables, its folder, and the stem of its list file.
type Domain = (&'static str, &'static str, &'static str);

const VISDA_DOMAINS: [Domain; 2] = [
    ("Synthetic", "train", "train"),
    ("Real", "validation", "validation"),
];

const OFFICE_HOME_DOMAINS: [Domain; 4] = [
    ("Ar", "Art", "Art"),
    ("Cl", "Clipart", "Clipart"),
    ("Pr", "Product", "Product"),
    ("Rw", "Real_World", "Real_World"),
];

const DOMAIN_NET_DOMAINS: [Domain; 6] = [
    ("c", "clipart", "clipart"),
    ("i", "infograph", "infograph"),
    ("p", "painting", "painting"),
    ("q", "quickdraw", "quickdraw"),
    ("r", "real", "real"),
    ("s", "sketch", "sketch"),
];

impl Published {
    /// Names of the classes in the order of their ids.
    pub fn class_names(self) -> Vec<String> {
        let names = match self {
            Self::VisDa2017 => VISDA_2017,
            Self::OfficeHome => OFFICE_HOME,
            Self::DomainNet => DOMAIN_NET,
        };
        names.split(' ').map(str::to_owned).collect()
    }

    /// Short names of the domains.
    pub fn domains(self) -> Vec<&'static str> {
        self.table().iter().map(|domain| domain.0).collect()
    }

    fn table(self) -> &'static [Domain] {
        match self {
            Self::VisDa2017 => &VISDA_DOMAINS,
            Self::OfficeHome => &OFFICE_HOME_DOMAINS,
            Self::DomainNet => &DOMAIN_NET_DOMAINS,
        }
    }

    /// Opens a domain below `root`, by its short name or its folder's name. Images are those of the
    /// list in `root/image_list`. Without that list VisDA-2017 and Office-Home are listed from
    /// their folders, by class id and file name.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an unknown domain, class folders that are missing or unknown and a
    /// missing list of DomainNet, whose split is in its lists alone; and those of
    /// [`ImageList::read`].
    pub fn open(self, root: &Path, domain: &str, split: Split) -> Result<ImageList> {
        let (_, folder, stem) = self.find(domain)?;
        let list = self.list_file(root, stem, split);
        if list.is_file() {
            return ImageList::read(&list, root, self.class_names());
        }
        if self == Self::DomainNet {
            return Err(Error::Invalid(format!(
                "{} is missing; DomainNet is split by its lists, which come with the data set",
                list.display()
            )));
        }
        self.list_folders(root, folder)
    }

    fn find(self, domain: &str) -> Result<Domain> {
        let found = self.table().iter().find(|d| d.0 == domain || d.1 == domain);
        found.copied().ok_or_else(|| {
            Error::Invalid(format!(
                "{self:?} has no domain {domain:?}; choose from {:?}",
                self.domains()
            ))
        })
    }

    /// Where the list of a domain is expected; `domain` as in [`Published::open`].
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an unknown domain.
    pub fn list_path(self, root: &Path, domain: &str, split: Split) -> Result<PathBuf> {
        Ok(self.list_file(root, self.find(domain)?.2, split))
    }

    fn list_file(self, root: &Path, stem: &str, split: Split) -> PathBuf {
        let name = match (self, split) {
            (Self::DomainNet, Split::Train) => format!("{stem}_train.txt"),
            (Self::DomainNet, Split::Test) => format!("{stem}_test.txt"),
            _ => format!("{stem}.txt"),
        };
        root.join("image_list").join(name)
    }

    fn list_folders(self, root: &Path, folder: &str) -> Result<ImageList> {
        // The archive of Office-Home writes this name with a blank.
        let blank = folder.replace('_', " ");
        let folder = match root.join(folder).is_dir() || !root.join(&blank).is_dir() {
            true => folder,
            false => &blank,
        };
        let names = self.class_names();
        let path = root.join(folder);
        let found = folder_names(&path)?;
        let missing: Vec<_> = names.iter().filter(|name| !found.contains(name)).collect();
        let unknown: Vec<_> = found.iter().filter(|name| !names.contains(name)).collect();
        if !missing.is_empty() || !unknown.is_empty() {
            return Err(Error::Invalid(format!(
                "{} should hold one folder for each class of {self:?}; missing are {missing:?}, \
                 unknown {unknown:?}",
                path.display()
            )));
        }
        let mut list = ImageList::empty(root, names.clone());
        for (class, name) in names.iter().enumerate() {
            for file in files_below(root, &format!("{folder}/{name}"))? {
                list.push(std::iter::once(file.as_str()), class as u32);
            }
        }
        Ok(list)
    }
}
