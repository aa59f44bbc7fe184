//! The cache that all programs of the Hub share: `models--OWNER--NAME/` with the contents of files
//! in `blobs/`, links to them in `snapshots/COMMIT/`, and commits of branches in `refs/`.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// A repository's place in the cache.
pub(crate) struct Place {
    cache: PathBuf,
    folder: String,
}

impl Place {
    pub(crate) fn new(cache: &Path, repository: &str) -> Self {
        Self {
            cache: cache.to_owned(),
            folder: folder(repository),
        }
    }

    fn below(&self, rest: &str) -> PathBuf {
        self.cache.join(&self.folder).join(rest)
    }

    /// The content that the Hub calls `etag`.
    pub(crate) fn blob(&self, etag: &str) -> PathBuf {
        self.below("blobs").join(etag)
    }

    /// What has come of it so far. The name is this program's own: others append to theirs.
    pub(crate) fn partial(&self, etag: &str) -> PathBuf {
        self.below("blobs").join(format!("{etag}.mic.incomplete"))
    }

    /// Makes the folder of the contents.
    pub(crate) fn make(&self) -> Result<()> {
        let blobs = self.below("blobs");
        fs::create_dir_all(&blobs).map_err(Error::io(&blobs))
    }

    /// Keeps other processes from fetching the same content, until it is dropped. `waits` is called
    /// if one does already.
    pub(crate) fn lock(&self, etag: &str, waits: impl FnOnce()) -> Result<File> {
        let path = self.cache.join(".locks").join(&self.folder);
        locked(&path.join(format!("{etag}.lock")), waits)
    }

    /// Makes `file` of `commit` the content `etag`, and the branch `revision` that commit. Whoever
    /// looks sees the old state or the new one.
    pub(crate) fn point(
        &self,
        revision: &str,
        commit: &str,
        file: &str,
        etag: &str,
    ) -> Result<PathBuf> {
        let snapshot = self.below("snapshots").join(commit).join(file);
        let parent = snapshot.parent().unwrap_or(&self.cache);
        fs::create_dir_all(parent).map_err(Error::io(parent))?;
        let up = "../".repeat(2 + file.matches('/').count());
        let target = format!("{up}blobs/{etag}");
        if fs::read_link(&snapshot).ok().as_deref() != Some(Path::new(&target)) {
            replace(&snapshot, |new| std::os::unix::fs::symlink(&target, new))?;
        }
        if revision != commit {
            let reference = self.below("refs").join(revision);
            let parent = reference.parent().unwrap_or(&self.cache);
            fs::create_dir_all(parent).map_err(Error::io(parent))?;
            replace(&reference, |new| fs::write(new, commit))?;
        }
        Ok(snapshot)
    }
}

/// The folder of a repository.
pub(crate) fn folder(repository: &str) -> String {
    format!("models--{}", repository.replace('/', "--"))
}

/// Removes a file of a snapshot with its content.
pub(crate) fn remove(snapshot: &Path) -> Result<()> {
    if let Ok(blob) = fs::canonicalize(snapshot)
        && blob != snapshot
    {
        fs::remove_file(&blob).map_err(Error::io(&blob))?;
    }
    fs::remove_file(snapshot).map_err(Error::io(snapshot))
}

/// Opens a lock file and locks it as `flock` does.
pub(crate) fn locked(path: &Path, waits: impl FnOnce()) -> Result<File> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(Error::io(parent))?;
    let file = File::options().create(true).append(true).open(path);
    let file = file.map_err(Error::io(path))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => waits(),
        Err(TryLockError::Error(error)) => return Err(Error::io(path)(error)),
    }
    file.lock().map_err(Error::io(path))?;
    Ok(file)
}

/// Makes a new file beside `path` and moves it there.
pub(crate) fn replace(path: &Path, make: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let new = path.with_file_name(name);
    let made = make(&new).and_then(|()| fs::rename(&new, path));
    made.map_err(|source| {
        // It may not be there.
        let _ = fs::remove_file(&new);
        crate::disk::failed(path, 4096, source)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_found_through_links_and_branches() {
        let cache = tempfile::tempdir().unwrap();
        let place = Place::new(cache.path(), "owner/name");
        place.make().unwrap();
        fs::write(place.blob("abc"), "content").unwrap();
        let commit = "0123456789012345678901234567890123456789";
        for file in ["a.bin", "deep/er/a.bin"] {
            for _ in 0..2 {
                let path = place.point("main", commit, file, "abc").unwrap();
                assert_eq!(fs::read_to_string(path).unwrap(), "content");
            }
        }
        let reference = cache.path().join("models--owner--name/refs/main");
        assert_eq!(fs::read_to_string(reference).unwrap(), commit);
        let path = cache
            .path()
            .join("models--owner--name/snapshots")
            .join(commit);
        remove(&path.join("a.bin")).unwrap();
        assert!(!place.blob("abc").exists());
    }
}
