//! What the runs need: images and pretrained weights, and whether they are there.

use std::path::{Path, PathBuf};

use mic_data::classification;
use serde::Deserialize;
use toml::Table;

use super::program::{Program, value};
use super::select::{Chosen, PaperRun};

/// The list of weights files that `cargo xtask fetch` reads.
const WEIGHTS: &str = include_str!("../../../../mic-hub/manifest.toml");

/// Something that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// Where it was looked for.
    pub(super) path: PathBuf,
    /// What it is.
    pub(super) what: String,
    /// How to get it.
    pub(super) how: String,
}

impl Missing {
    /// Adds those whose path is not among `all` yet.
    fn add(all: &mut Vec<Self>, more: Vec<Self>) {
        for one in more {
            if !all.iter().any(|known| known.path == one.path) {
                all.push(one);
            }
        }
    }
}

/// One a line.
pub(super) fn lines(missing: &[Missing]) -> String {
    let line = |m: &Missing| format!("  {} ({}): {}", m.path.display(), m.what, m.how);
    missing.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What is missing for the chosen runs, each path once. Where all paths are there, the sets of each
/// configuration are opened.
pub(super) fn missing_for(chosen: &Chosen) -> Vec<Missing> {
    let mut all = missing_paths(chosen);
    if !all.is_empty() {
        return all;
    }
    for run in configurations(chosen) {
        if let Err(error) = chosen.program.open_sets(run.file, &run.sets) {
            all.push(Missing {
                path: PathBuf::from(run.file.name),
                what: error.to_string(),
                how: format!("{} data check tells more", chosen.program.name()),
            });
        }
    }
    all
}

/// Folders and files that are missing for the chosen runs, each once.
pub(super) fn missing_paths(chosen: &Chosen) -> Vec<Missing> {
    let mut all = Vec::new();
    for run in configurations(chosen) {
        Missing::add(&mut all, missing(chosen.program, run));
    }
    all
}

/// The first run of each configuration.
fn configurations(chosen: &Chosen) -> Vec<&PaperRun> {
    let mut first: Vec<&PaperRun> = Vec::new();
    for run in &chosen.runs {
        if !first.iter().any(|known| known.file.name == run.file.name) {
            first.push(run);
        }
    }
    first
}

/// What is missing for a run, by the folders and files alone.
fn missing(program: Program, run: &PaperRun) -> Vec<Missing> {
    let mut all = Vec::new();
    for set in ["source", "target", "test"] {
        Missing::add(&mut all, missing_images(program, &run.config, set));
    }
    all.extend(missing_weights(&run.config));
    all
}

/// The images that a run is measured on, if they are missing.
pub(super) fn missing_test(program: Program, run: &PaperRun) -> Vec<Missing> {
    missing_images(program, &run.config, "test")
}

fn missing_images(program: Program, config: &Table, set: &str) -> Vec<Missing> {
    let key = format!("data.{set}");
    let Some(table) = value(config, &key).and_then(toml::Value::as_table) else {
        return Vec::new();
    };
    let kind = table.get("kind").and_then(toml::Value::as_str);
    let Some(kind) = kind else { return Vec::new() };
    let expected = expected(program, set, table, kind);
    let absent = expected.into_iter().filter(|path| !path.exists());
    absent
        .map(|path| Missing {
            what: format!("{key}: {kind}"),
            how: how(program, kind, &path),
            path,
        })
        .collect()
}

fn how(program: Program, kind: &str, path: &Path) -> String {
    if program == Program::Det && path.extension().is_some_and(|e| e == "json") {
        let (set, root) = (kind.replace('_', "-"), data_root(path));
        return format!("mic-det data prepare {set} {root} makes it from the published files");
    }
    format!(
        "cargo xtask fetch data {} tells where to get it",
        fetched_as(kind)
    )
}

/// The folder of all sets of a detection annotation file, `<root>/<set>/annotations/<file>`.
fn data_root(path: &Path) -> String {
    let root = path.ancestors().nth(3);
    root.map_or_else(|| "data".into(), |root| root.display().to_string())
}

/// What `fetch data` calls a kind of set.
fn fetched_as(kind: &str) -> String {
    match kind {
        "visda2017" => "visda-2017".into(),
        other => other.replace('_', "-"),
    }
}

/// Folders and files of a published set that must be there.
pub(super) fn expected(program: Program, set: &str, table: &Table, kind: &str) -> Vec<PathBuf> {
    let text = |key: &str| table.get(key).and_then(toml::Value::as_str);
    let root = PathBuf::from(text("root").unwrap_or("."));
    let split = text("split").unwrap_or("train");
    let below = |folders: &[String]| folders.iter().map(|folder| root.join(folder)).collect();
    // Labels of the target are never read.
    let labelled = set != "target";
    let with_labels = |images: String, labels: String| match labelled {
        true => vec![images, labels],
        false => vec![images],
    };
    match (program, kind) {
        (Program::Seg, "gta") => below(&["images".into(), "labels".into()]),
        (Program::Seg, "synthia") => below(&["RGB".into(), "GT/LABELS".into()]),
        (Program::Seg, "cityscapes") => below(&with_labels(
            format!("leftImg8bit/{split}"),
            format!("gtFine/{split}"),
        )),
        (Program::Seg, "acdc") => below(&with_labels("rgb_anon".into(), "gt".into())),
        (Program::Seg, "dark_zurich") => {
            let part = if split == "train" {
                "train/night"
            } else {
                split
            };
            below(&with_labels(
                format!("rgb_anon/{part}"),
                format!("gt/{part}"),
            ))
        }
        (Program::Cls, "visda2017") => below(&domain_folders(
            table,
            &[("Synthetic", "train"), ("Real", "validation")],
        )),
        (Program::Cls, "office_home") => below(&domain_folders(
            table,
            &[
                ("Ar", "Art"),
                ("Cl", "Clipart"),
                ("Pr", "Product"),
                ("Rw", "Real_World"),
            ],
        )),
        (Program::Det, "cityscapes") => below(&[
            format!("cityscapes/leftImg8bit/{split}"),
            format!("cityscapes/annotations/instancesonly_filtered_gtFine_{split}_poly.json"),
        ]),
        (Program::Det, "foggy_cityscapes") => below(&[
            format!("foggy_cityscapes/leftImg8bit_foggy/{split}"),
            format!(
                "foggy_cityscapes/annotations/foggy_instancesonly_filtered_gtFine_{split}_poly.json"
            ),
        ]),
        _ => vec![root],
    }
}

/// Folders of the domains that a set names by their short names.
fn domain_folders(table: &Table, folders: &[(&str, &str)]) -> Vec<String> {
    let domains = table.get("domains").and_then(toml::Value::as_array);
    let domains = domains
        .into_iter()
        .flatten()
        .filter_map(toml::Value::as_str);
    domains
        .map(|domain| {
            let known = folders.iter().find(|(short, _)| *short == domain);
            known.map_or(domain, |(_, folder)| folder).to_owned()
        })
        .collect()
}

/// Names of the classes of a set of classification.
pub(super) fn class_names(kind: &str) -> Vec<String> {
    match kind {
        "visda2017" => classification::Published::VisDa2017.class_names(),
        "office_home" => classification::Published::OfficeHome.class_names(),
        _ => Vec::new(),
    }
}

#[derive(Deserialize)]
struct Manifest {
    weights: Vec<Weights>,
}

#[derive(Deserialize)]
struct Weights {
    name: String,
    page: Option<String>,
    file: String,
    saves: Option<String>,
    #[serde(default)]
    aliases: Vec<String>,
}

impl Weights {
    fn saves(&self) -> String {
        let default = || format!("{}.safetensors", self.name);
        self.saves.clone().unwrap_or_else(default)
    }
}

/// The entry of a weights file of this name; `None` too where the list cannot be read.
fn entry(file: &str) -> Option<Weights> {
    let manifest: Manifest = toml::from_str(WEIGHTS).ok()?;
    let mut all = manifest.weights.into_iter();
    all.find(|w| w.saves() == file || w.aliases.iter().any(|alias| alias == file))
}

fn pretrained(config: &Table) -> Option<PathBuf> {
    let path = value(config, "model.pretrained")?.as_str()?;
    Some(PathBuf::from(path))
}

/// What is to be set where the weights are there under the name that `fetch` gives them.
pub(super) fn converted_weights(config: &Table) -> Option<String> {
    let path = pretrained(config).filter(|path| !path.exists())?;
    let other = path.with_file_name(entry(path.file_name()?.to_str()?)?.saves());
    let other_name = toml::Value::String(other.display().to_string());
    other
        .exists()
        .then(|| format!("model.pretrained={other_name}"))
}

/// A name of the weights that is the same for the published file and the converted one.
pub(crate) fn weights_name(config: &Table) -> Option<String> {
    let path = pretrained(config)?;
    let known = path.file_name().and_then(|file| entry(file.to_str()?));
    Some(known.map_or_else(|| path.display().to_string(), |known| known.name))
}

fn missing_weights(config: &Table) -> Option<Missing> {
    let path = pretrained(config).filter(|path| !path.exists())?;
    let known = path.file_name().and_then(|file| entry(file.to_str()?));
    let how = match known {
        Some(Weights {
            name,
            page: Some(page),
            file,
            ..
        }) => format!(
            "download {file} from {page}; cargo xtask fetch weights {name} --from FILE converts it"
        ),
        Some(known) => format!("cargo xtask fetch weights {}", known.name),
        None => "it is not on the list of cargo xtask fetch weights".into(),
    };
    Some(Missing {
        path,
        what: "model.pretrained".into(),
        how,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_found_under_either_name() {
        for file in ["mit_b5.pth", "mit_b5.safetensors"] {
            assert_eq!(entry(file).unwrap().name, "mit-b5");
        }
        assert!(entry("none.pth").is_none());
        let folder = tempfile::tempdir().unwrap();
        let config = |file: &str| -> Table {
            let path = folder.path().join(file);
            let path = toml::Value::String(path.display().to_string());
            format!("[model]\npretrained = {path}").parse().unwrap()
        };
        let published = config("mit_b5.pth");
        assert_eq!(converted_weights(&published), None);
        let missing = missing_weights(&published).unwrap();
        assert_eq!(missing.how, "cargo xtask fetch weights mit-b5");
        std::fs::write(folder.path().join("mit_b5.safetensors"), "").unwrap();
        let set = converted_weights(&published).unwrap();
        assert!(set.ends_with("mit_b5.safetensors\""), "{set}");
        let same = [published, config("mit_b5.safetensors")].map(|c| weights_name(&c));
        assert_eq!(same[0], same[1]);
        let elsewhere = missing_weights(&config("R-50.pkl")).unwrap();
        assert!(elsewhere.how.contains("https://") && elsewhere.how.contains("--from"));
    }

    #[test]
    fn the_folders_of_a_set_are_named() {
        let table: Table = "root = \"d\"\nsplit = \"val\"".parse().unwrap();
        let paths = |program, set, kind| -> Vec<String> {
            let paths = expected(program, set, &table, kind);
            paths.iter().map(|p| p.display().to_string()).collect()
        };
        let seg = |set| paths(Program::Seg, set, "cityscapes");
        assert_eq!(seg("test"), ["d/leftImg8bit/val", "d/gtFine/val"]);
        assert_eq!(seg("target"), ["d/leftImg8bit/val"], "no labels");
        let det = paths(Program::Det, "test", "foggy_cityscapes");
        assert!(det[1].ends_with("foggy_instancesonly_filtered_gtFine_val_poly.json"));
        let table: Table = "root = \"d\"\ndomains = [\"Real\"]".parse().unwrap();
        let found = expected(Program::Cls, "target", &table, "visda2017");
        assert_eq!(found, [PathBuf::from("d/validation")]);
    }
}
