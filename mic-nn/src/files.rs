//! Writing files so that each is there whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Lets `write` fill a temporary file beside `path`, which takes the place of `path` once it is
/// complete and on the disk. Missing folders are made; after an error the older file is unchanged
/// and nothing else is left behind.
///
/// # Errors
/// Those of `write` and of the file system; they do not name the file.
pub fn write_whole(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    let mut builder = tempfile::Builder::new();
    // A temporary file is private to its owner; results are meant to be passed on.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut file = builder.tempfile_in(folder)?;
    write(file.as_file_mut())?;
    file.flush()?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    // The new name outlives a power cut only when the folder is on the disk too. Not every file
    // system can do that, and the file itself is safe: a refusal is no error.
    #[cfg(unix)]
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_older_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/file");
        write_whole(&path, |file| file.write_all(b"first")).unwrap();
        let broken = write_whole(&path, |file| {
            file.write_all(b"sec")?;
            Err(io::Error::other("disk full"))
        });
        assert_eq!(broken.unwrap_err().to_string(), "disk full");
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
