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
/// [`Error::Io`] for a missing or unreadable folder; [`Error::Invalid`] if no file has the suffix,
/// if such a file has a name that is not UTF-8, and for a link to a folder that it lies in.
pub fn scan(folder: &Path, suffix: &str) -> Result<Vec<ScannedFile>> {
    let found = scan_with(folder, |path| path.strip_suffix(suffix).map(str::to_owned))?;
    if found.is_empty() {
        return Err(Error::Invalid(format!(
            "no file below {} ends in {suffix:?}; check the folder and the suffix",
            folder.display()
        )));
    }
    Ok(found)
}

/// All files below `folder` (at any depth, hidden names left out) to whose path below it (with `/`
/// between folders) `name` gives a name, sorted by name.
pub(crate) fn scan_with(
    folder: &Path,
    name: impl Fn(&str) -> Option<String>,
) -> Result<Vec<ScannedFile>> {
    let mut found = Vec::new();
    let top = fs::canonicalize(folder).map_err(io(folder))?;
    descend(folder, "", &name, &mut vec![top], &mut found)?;
    found.sort();
    Ok(found)
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}

/// `above`: the real paths of `folder` and of the folders that led to it.
fn descend(
    folder: &Path,
    below: &str,
    name: &impl Fn(&str) -> Option<String>,
    above: &mut Vec<PathBuf>,
    found: &mut Vec<ScannedFile>,
) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(io(folder))? {
        let entry = entry.map_err(io(folder))?;
        let path = entry.path();
        let file_name = entry.file_name();
        let shown = file_name.to_string_lossy();
        if shown.starts_with('.') {
            continue;
        }
        let relative = format!("{below}{shown}");
        let kind = entry.file_type().map_err(io(&path))?;
        let is_folder = if kind.is_symlink() {
            match fs::metadata(&path) {
                Ok(target) => target.is_dir(),
                // A dangling link matters only where a file of the set is expected.
                Err(_) if name(&relative).is_none() => continue,
                Err(error) => return Err(io(&path)(error)),
            }
        } else {
            kind.is_dir()
        };
        if is_folder {
            if kind.is_symlink() {
                let real = fs::canonicalize(&path).map_err(io(&path))?;
                if above.contains(&real) {
                    return Err(Error::Invalid(format!(
                        "{} is a link to the folder {} that it lies in; remove the link",
                        path.display(),
                        real.display()
                    )));
                }
                above.push(real);
            } else {
                let parent = above.last().cloned().unwrap_or_default();
                above.push(parent.join(&file_name));
            }
            descend(&path, &format!("{relative}/"), name, above, found)?;
            above.pop();
        } else if let Some(name) = name(&relative) {
            // What is not UTF-8 shows as the replacement character, here or in a folder's name.
            if relative.contains(char::REPLACEMENT_CHARACTER) {
                return Err(Error::Invalid(format!(
                    "{}: the name is not UTF-8; rename the file or its folder",
                    path.display()
                )));
            }
            found.push(ScannedFile { name, path });
        }
    }
    Ok(())
}
