//! Puts the configuration files of one task into its program, which finds them wherever it is
//! installed. Included by the build scripts of the task crates.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Writes `configs.rs` for the files below `configs/<task>` to the build's output folder: the text of
/// the catalogue, and all other files with their names.
pub(crate) fn embed(task: &str) -> io::Result<()> {
    let variable = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .ok_or(io::ErrorKind::NotFound)
    };
    let folder = variable("CARGO_MANIFEST_DIR")?
        .join("../configs")
        .join(task);
    // A new file changes its folder.
    println!("cargo:rerun-if-changed={}", folder.display());
    let folder = folder.canonicalize()?;
    let mut files = Vec::new();
    list(&folder, &mut files)?;
    files.sort();
    let mut table = String::from("const FILES: &[mic_run::config::Carried] = &[\n");
    for file in &files {
        let name = file
            .strip_prefix(&folder)
            .unwrap_or(file)
            .with_extension("");
        let name = name.to_string_lossy().replace('\\', "/");
        let line = match name.as_str() {
            "catalogue" => continue,
            _ => format!(
                "    mic_run::config::Carried {{ name: {name:?}, text: include_str!({file:?}) }},"
            ),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(table, "{line}");
    }
    let catalogue = folder.join("catalogue.toml");
    let _ = writeln!(
        table,
        "];\nconst CATALOGUE: &str = include_str!({catalogue:?});"
    );
    fs::write(variable("OUT_DIR")?.join("configs.rs"), table)
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            println!("cargo:rerun-if-changed={}", path.display());
            list(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            files.push(path);
        }
    }
    Ok(())
}
