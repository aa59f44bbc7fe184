//! A toolkit's root of links into the unpacked wheels.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Makes `bin`, `include`, `nvvm` and `lib64` in `root` from all that lies below `nvidia`.
///
/// Libraries are linked by their own name and by the plain one that linkers ask for. What has been
/// linked before is linked anew.
pub(super) fn link(nvidia: &Path, root: &Path) -> anyhow::Result<()> {
    let parts = folders(nvidia).with_context(|| format!("cannot read {}", nvidia.display()))?;
    for (from, to) in [("bin", "bin"), ("include", "include"), ("nvvm", "nvvm")] {
        let sources = existing(&parts, from);
        let target = root.join(to);
        let made = clear(&target).and_then(|()| match &sources[..] {
            [] => Ok(()),
            [only] => symlink(only, &target),
            _ => merge(&sources, &target),
        });
        made.with_context(|| format!("cannot make {}", target.display()))?;
    }
    // pip keeps no permissions.
    for folder in ["bin", "nvvm/bin"] {
        let folder = root.join(folder);
        allow_running(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    }
    let lib = root.join("lib64");
    let linked = libraries(&existing(&parts, "lib"), &lib);
    linked.with_context(|| format!("cannot make {}", lib.display()))
}

fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

fn existing(parts: &[PathBuf], name: &str) -> Vec<PathBuf> {
    parts
        .iter()
        .map(|p| p.join(name))
        .filter(|p| p.is_dir())
        .collect()
}

/// Removes a link, or a folder of links.
fn clear(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(data) if data.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

/// A folder of links to everything in the sources; of equal names the first.
fn merge(sources: &[PathBuf], target: &Path) -> io::Result<()> {
    fs::create_dir(target)?;
    for source in sources {
        for entry in fs::read_dir(source)? {
            let entry = entry?;
            relink(&entry.path(), &target.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// A link, unless something has that name already.
fn relink(from: &Path, to: &Path) -> io::Result<()> {
    match symlink(from, to) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn allow_running(folder: &Path) -> io::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let mut permissions = fs::metadata(&path)?.permissions();
        if path.is_file() && permissions.mode() & 0o111 != 0o111 {
            permissions.set_mode(permissions.mode() | 0o111);
            fs::set_permissions(&path, permissions)?;
        }
    }
    Ok(())
}

fn libraries(sources: &[PathBuf], lib: &Path) -> io::Result<()> {
    clear(lib)?;
    fs::create_dir(lib)?;
    for source in sources {
        for entry in fs::read_dir(source)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".a") {
                relink(&entry.path(), &lib.join(&name))?;
            } else if let Some((stem, _)) = name.split_once(".so") {
                relink(&entry.path(), &lib.join(&name))?;
                relink(&entry.path(), &lib.join(format!("{stem}.so")))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_merged_and_libraries_get_plain_names() {
        let folder = tempfile::tempdir().unwrap();
        let nvidia = folder.path().join("wheels/nvidia");
        for file in [
            "cu13/bin/nvcc",
            "cu13/include/cuda.h",
            "cu13/lib/libcudart.so.13",
            "cu13/lib/libcudadevrt.a",
            "cu13/nvvm/bin/cicc",
            "cudnn/include/cudnn.h",
            "cudnn/lib/libcudnn.so.9",
        ] {
            let path = nvidia.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        let root = folder.path();
        // Twice: a second run changes nothing.
        for _ in 0..2 {
            link(&nvidia, root).unwrap();
            let text = |path: &str| fs::read_to_string(root.join(path)).unwrap();
            assert_eq!(text("include/cuda.h"), "cu13/include/cuda.h");
            assert_eq!(text("include/cudnn.h"), "cudnn/include/cudnn.h");
            assert_eq!(text("lib64/libcudart.so"), "cu13/lib/libcudart.so.13");
            assert_eq!(text("lib64/libcudnn.so.9"), "cudnn/lib/libcudnn.so.9");
            assert_eq!(text("lib64/libcudadevrt.a"), "cu13/lib/libcudadevrt.a");
            assert_eq!(text("nvvm/bin/cicc"), "cu13/nvvm/bin/cicc");
            let mode = fs::metadata(root.join("bin/nvcc"))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o111, 0o111);
        }
    }
}
