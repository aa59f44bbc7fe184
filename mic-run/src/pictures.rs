//! Sample pictures as files.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use mic_nn::files::write_whole;

use crate::folder::PICTURES;
use crate::record::{Event, Picture};
use crate::watch::Watch;
use crate::{Error, Result, png};

/// Writes pictures to `pictures/<name>-<step>.png` below a run folder; a `/` in a name is a folder.
#[derive(Debug)]
pub struct PictureFiles {
    folder: PathBuf,
    error: Option<Error>,
}

/// A picture below a run folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureFile {
    /// What it shows.
    pub name: String,
    /// Steps done when it was made.
    pub step: u64,
    /// The file.
    pub path: PathBuf,
}

impl PictureFiles {
    /// Pictures of the run in `run_folder`; nothing is written yet.
    pub fn new(run_folder: &Path) -> Self {
        Self {
            folder: run_folder.join(PICTURES),
            error: None,
        }
    }

    fn write(&self, done: u64, picture: &Picture) -> Result<()> {
        let inside = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !picture.name.split('/').all(inside) {
            return Err(Error::Usage(format!(
                "picture name {:?} cannot name a file; use letters, digits, -, _ and /",
                picture.name
            )));
        }
        let path = self.folder.join(format!("{}-{done:08}.png", picture.name));
        let bytes = png::encode(picture)?;
        write_whole(&path, |file| file.write_all(&bytes)).map_err(Error::io(&path))
    }
}

impl Watch for PictureFiles {
    fn event(&mut self, _event: &Event) {}

    fn pictures(&mut self, done: u64, pictures: &[Picture]) {
        for picture in pictures {
            if let Err(error) = self.write(done, picture) {
                self.error.get_or_insert(error);
            }
        }
    }

    fn finish(&mut self) -> Result<()> {
        self.error.take().map_or(Ok(()), Err)
    }
}

/// Pictures below `run_folder`, by name and step; none if there is no such folder.
///
/// # Errors
/// A folder that cannot be read.
pub fn list(run_folder: &Path) -> Result<Vec<PictureFile>> {
    let folder = run_folder.join(PICTURES);
    let mut found = Vec::new();
    collect(&folder, "", &mut found)?;
    found.sort_by(|a, b| (&a.name, a.step).cmp(&(&b.name, b.step)));
    Ok(found)
}

fn collect(folder: &Path, prefix: &str, found: &mut Vec<PictureFile>) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::io(folder))?,
    };
    for entry in entries {
        let entry = entry.map_err(Error::io(folder))?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().map_err(Error::io(&path))?.is_dir() {
            collect(&path, &format!("{prefix}{name}/"), found)?;
        } else if let Some((name, step)) = parse(&name) {
            found.push(PictureFile {
                name: format!("{prefix}{name}"),
                step,
                path,
            });
        }
    }
    Ok(())
}

/// `name-00001000.png` as name and step.
fn parse(file: &str) -> Option<(&str, u64)> {
    let (name, step) = file.strip_suffix(".png")?.rsplit_once('-')?;
    let step = step.parse().ok()?;
    (!name.is_empty()).then_some((name, step))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(name: &str) -> Picture {
        Picture {
            name: name.into(),
            width: 1,
            height: 1,
            rgb: vec![1, 2, 3],
        }
    }

    #[test]
    fn pictures_are_found_by_name_and_step() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(list(folder.path()).unwrap(), []);
        let mut files = PictureFiles::new(folder.path());
        files.pictures(20, &[picture("test/a-1"), picture("b")]);
        files.pictures(3, &[picture("b")]);
        files.finish().unwrap();
        fs::write(folder.path().join("pictures/notes.txt"), "no picture").unwrap();
        let found = list(folder.path()).unwrap();
        let names: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.step)).collect();
        assert_eq!(names, [("b", 3), ("b", 20), ("test/a-1", 20)]);
        assert_eq!(png::read(&found[0].path, "b").unwrap(), picture("b"));
    }

    #[test]
    fn the_first_bad_picture_is_reported_and_the_others_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = PictureFiles::new(folder.path());
        files.pictures(1, &[picture("../a"), picture("b"), picture("/c")]);
        let error = files.finish().unwrap_err().to_string();
        assert!(error.contains("../a"), "{error}");
        assert_eq!(list(folder.path()).unwrap().len(), 1);
    }
}
