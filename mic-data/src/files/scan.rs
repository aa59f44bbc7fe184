//! Listing the files of a folder.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// A file found by [`scan`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScannedFile {
    /// Path below the scanned folder without the suffix, with `/` between folders.
    pub name: String,
    /// The file.
    pub path: PathBuf,
}

/// All files below `folder` (at any depth, hidden names left out) that end in `suffix`, sorted by
/// name: the order of a folder listing differs between machines.
///
/// # Errors
///
/// [`Error::Io`] for a missing or unreadable folder; [`Error::Invalid`] if no file has the suffix.
pub fn scan(folder: &Path, suffix: &str) -> Result<Vec<ScannedFile>> {
    let mut found = Vec::new();
    descend(folder, "", suffix, &mut found)?;
    if found.is_empty() {
        return Err(Error::Invalid(format!(
            "no file below {} ends in {suffix:?}; check the folder and the suffix",
            folder.display()
        )));
    }
    found.sort();
    Ok(found)
}

fn descend(folder: &Path, below: &str, suffix: &str, found: &mut Vec<ScannedFile>) -> Result<()> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    };
    for entry in fs::read_dir(folder).map_err(io(folder))? {
        let path = entry.map_err(io(folder))?.path();
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        if file_name.starts_with('.') {
            continue;
        }
        let relative = format!("{below}{file_name}");
        if fs::metadata(&path).map_err(io(&path))?.is_dir() {
            descend(&path, &format!("{relative}/"), suffix, found)?;
        } else if let Some(name) = relative.strip_suffix(suffix) {
            found.push(ScannedFile {
                name: name.to_owned(),
                path,
            });
        }
    }
    Ok(())
}
