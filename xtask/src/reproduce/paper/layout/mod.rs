//! Generated files in the layout and the sizes of the published sets: drawn street scenes, so that a
//! real configuration can be tried without its data.

mod boxes;
mod classes;
mod frames;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use mic_data::scenes::{Scene, SceneConfig, Split, StreetScenes, Style};
use toml::Table;

use super::program::{Program, value};

/// Images of a set to train on.
const TRAIN: usize = 4;
/// Images of a set to measure on.
const TEST: usize = 2;

/// What was written.
pub(super) struct Written {
    /// `key=value` that points a configuration to the files.
    pub(super) sets: Vec<String>,
    /// An image of the target's to predict on.
    pub(super) sample: PathBuf,
}

/// One set of a configuration.
struct Asked<'a> {
    /// `source`, `target` or `test`.
    role: &'static str,
    kind: &'a str,
    table: &'a Table,
}

impl Asked<'_> {
    fn split(&self) -> &str {
        let split = self.table.get("split").and_then(toml::Value::as_str);
        split.unwrap_or("train")
    }

    fn count(&self) -> usize {
        if self.split() == "train" { TRAIN } else { TEST }
    }

    /// Rendered sets are sources: clean scenes. The others have the look of photographs.
    fn style(&self) -> Style {
        match self.kind {
            "gta" | "synthia" => Style::Source,
            _ if self.role == "source" => Style::Source,
            _ => Style::Target,
        }
    }

    fn domains(&self) -> Vec<&str> {
        let domains = self.table.get("domains").and_then(toml::Value::as_array);
        let domains = domains.into_iter().flatten();
        domains.filter_map(toml::Value::as_str).collect()
    }
}

/// Writes the sets that a configuration names below `root`.
///
/// # Errors
/// A kind of set whose layout is not known here, and files that cannot be written.
pub(super) fn write(program: Program, config: &Table, root: &Path) -> Result<Written> {
    let mut written = Written {
        sets: Vec::new(),
        sample: PathBuf::new(),
    };
    for role in ["source", "target", "test"] {
        let key = format!("data.{role}");
        let Some(table) = value(config, &key).and_then(toml::Value::as_table) else {
            continue;
        };
        let kind = table.get("kind").and_then(toml::Value::as_str);
        let kind = kind.with_context(|| format!("{key} has no kind"))?;
        let asked = Asked { role, kind, table };
        let (folder, sample) = match program {
            Program::Seg => frames::write(&asked, root)?,
            Program::Cls => classes::write(&asked, root)?,
            Program::Det => boxes::write(&asked, root)?,
        };
        let folder = toml::Value::String(folder.display().to_string());
        written.sets.push(format!("{key}.root={folder}"));
        written.sample = sample;
    }
    Ok(written)
}

/// The scenes of a set. Sets of one configuration share no scene.
fn scenes(asked: &Asked<'_>, (width, height): (u32, u32), count: usize) -> Result<StreetScenes> {
    let split = match asked.split() {
        "train" => Split::Train,
        _ => Split::Val,
    };
    let config = SceneConfig::new(width, height, asked.style());
    Ok(StreetScenes::new(config, 7, split, count)?)
}

fn scene(scenes: &StreetScenes, index: usize) -> Result<Scene> {
    Ok(scenes.scene(index)?)
}

/// Makes the folder of a file.
fn folder_of(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

fn unknown<T>(asked: &Asked<'_>) -> Result<T> {
    Err(anyhow!(
        "data.{}: no files are generated for sets of the kind {}",
        asked.role,
        asked.kind
    ))
}
