//! A text file with one image and its class a line.

use std::io::Write;
use std::path::{Path, PathBuf};

use image::RgbImage;

use super::sample::ClassifiedSet;
use crate::files::{read_image, write_atomically};
use crate::{Error, Result};

/// Images named in a list file.
///
/// Every line is a path and, as its last word, a class id: `train/bus/bus 01.jpg 2`. Relative paths
/// are meant from the root folder; runs of blanks inside a path count as one. Empty lines are
/// skipped. The order of the file is the order of the set.
#[derive(Clone, Debug)]
pub struct ImageList {
    root: PathBuf,
    classes: Vec<String>,
    /// All paths, one after the other: a list of a million images is one allocation.
    paths: String,
    /// End in `paths` and class of each image.
    entries: Vec<(usize, u32)>,
}

impl ImageList {
    /// Reads a list file. The images are read when asked for.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be read; [`Error::Invalid`] with the line's number for a
    /// line without path, without class id or with one that is no place in `classes`, and for a
    /// file that is empty or not UTF-8.
    pub fn read(list: &Path, root: &Path, classes: Vec<String>) -> Result<Self> {
        let text = read_text(list)?;
        let mut images = Self::empty(root, classes);
        for (number, line) in lines(&text) {
            images
                .push_line(line)
                .map_err(|reason| invalid(list, number, &reason))?;
        }
        if images.entries.is_empty() {
            return Err(Error::Invalid(format!(
                "{} names no image; every line should be a path and a class id",
                list.display()
            )));
        }
        Ok(images)
    }

    /// What [`ImageList::read`] would refuse, line by line, for a list with ids of `classes` classes.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be read, [`Error::Invalid`] if it is not UTF-8.
    pub fn faults(list: &Path, classes: &[String]) -> Result<Vec<String>> {
        let text = read_text(list)?;
        let mut images = Self::empty(Path::new(""), classes.to_vec());
        let faults = lines(&text).filter_map(|(number, line)| {
            let reason = images.push_line(line).err()?;
            Some(invalid(list, number, &reason).to_string())
        });
        Ok(faults.collect())
    }

    /// A list without images.
    pub(super) fn empty(root: &Path, classes: Vec<String>) -> Self {
        Self {
            root: root.to_owned(),
            classes,
            paths: String::new(),
            entries: Vec::new(),
        }
    }

    /// Adds an image. `path` may be relative to the root folder.
    pub(super) fn push<'a>(&mut self, words: impl Iterator<Item = &'a str>, class: u32) {
        for (index, word) in words.enumerate() {
            if index > 0 {
                self.paths.push(' ');
            }
            self.paths.push_str(word);
        }
        self.entries.push((self.paths.len(), class));
    }

    fn push_line(&mut self, line: &str) -> std::result::Result<(), String> {
        let mut words = line.split_whitespace();
        let Some(class) = words.next_back() else {
            return Ok(());
        };
        let count = self.classes.len();
        let class = class
            .parse::<u32>()
            .ok()
            .filter(|id| (*id as usize) < count);
        let class = class.ok_or_else(|| {
            format!(
                "must end in a class id from 0 to {}, not in {:?}",
                count.saturating_sub(1),
                line.split_whitespace().next_back().unwrap_or_default()
            )
        })?;
        if words.clone().next().is_none() {
            return Err("has no path before the class id".to_owned());
        }
        self.push(words, class);
        Ok(())
    }

    /// Writes the list in the format that [`ImageList::read`] reads.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be written; no partial file stays.
    pub fn write(&self, list: &Path) -> Result<()> {
        write_atomically(list, |file| {
            for index in 0..self.entries.len() {
                writeln!(file, "{} {}", self.relative(index), self.entries[index].1)?;
            }
            Ok(())
        })
    }

    /// The file of image `index`.
    pub fn path(&self, index: usize) -> PathBuf {
        self.root.join(self.relative(index))
    }

    fn relative(&self, index: usize) -> &str {
        let start = index
            .checked_sub(1)
            .map_or(0, |before| self.entries[before].0);
        &self.paths[start..self.entries[index].0]
    }
}

impl ClassifiedSet for ImageList {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn class_names(&self) -> &[String] {
        &self.classes
    }

    fn name(&self, index: usize) -> String {
        self.relative(index).to_owned()
    }

    fn class(&self, index: usize) -> u32 {
        self.entries[index].1
    }

    fn pixels(&self, index: usize) -> Result<RgbImage> {
        read_image(&self.path(index))
    }

    fn file(&self, index: usize) -> Option<PathBuf> {
        Some(self.path(index))
    }
}

fn read_text(list: &Path) -> Result<String> {
    let bytes = std::fs::read(list).map_err(|source| Error::Io {
        path: list.to_owned(),
        source,
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|b| **b == b'\n').count();
        invalid(list, line, "is not UTF-8; save the list as UTF-8")
    })
}

/// Lines with their numbers, from 1 on.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    // Editors of some systems put a byte order mark in front.
    let lines = text.trim_start_matches('\u{feff}').lines();
    lines.enumerate().map(|(index, line)| (index + 1, line))
}

fn invalid(list: &Path, line: usize, reason: &str) -> Error {
    Error::Invalid(format!("{}: line {line} {reason}", list.display()))
}
