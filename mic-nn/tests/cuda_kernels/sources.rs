//! The kernels' sources.

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the sources.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels")
}

/// Names and texts of the files that end in `extension`, sorted by name.
pub(crate) fn files(extension: &str) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_string();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// The kernels that a source defines.
pub(crate) fn kernels(source: &str) -> Vec<String> {
    source
        .split("extern \"C\" __global__ void ")
        .skip(1)
        .map(|rest| rest[..rest.find('(').unwrap()].trim().to_string())
        .collect()
}

/// One unit of all sources: every file in a namespace of its own, headers before them.
pub(crate) fn unit() -> String {
    let mut unit = String::new();
    for (name, _) in files("cuh") {
        unit += &format!("#include \"{name}\"\n");
    }
    for (name, _) in files("cu") {
        let space = name.trim_end_matches(".cu");
        unit += &format!("namespace unit_{space} {{\n#include \"{name}\"\n}}\n");
    }
    unit
}

#[test]
fn a_kernel_name_occurs_once() {
    let mut names: Vec<String> = files("cu").iter().flat_map(|f| kernels(&f.1)).collect();
    let count = names.len();
    assert!(count > 50, "{count} kernels found");
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}
