//! The list of weights files: where each comes from, what it is, and which runs need it.

use std::path::Path;

use serde::Deserialize;

use crate::convert::Network;
use crate::digest::{is_commit, is_sha256};
use crate::glob::fits;
use crate::{Error, Result};

/// The manifest that the program carries.
const BUILT_IN: &str = include_str!("../manifest.toml");

/// All weights files that are known.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// In the order of the file.
    pub entries: Vec<Entry>,
}

/// A weights file.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is called on the command line.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Under which conditions it may be used.
    pub licence: String,
    /// The network that the weights are for.
    pub network: Network,
    /// The converted file in the folder of weights.
    pub saves: String,
    /// Other names that configurations have for it.
    pub aliases: Vec<String>,
    /// Names of the runs that start from it; `*` stands for anything.
    pub runs: Vec<String>,
}

/// Where a weights file comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// The Hub.
    Hub(HubFile),
    /// A page elsewhere; the file is given as a local path.
    Page(PageFile),
}

/// A file on the Hub.
#[derive(Clone, Debug)]
pub struct HubFile {
    /// `owner/name`.
    pub repository: String,
    /// A commit where the file is pinned, else a branch.
    pub revision: String,
    /// Path in the repository.
    pub file: String,
    /// SHA-256, where it is known beforehand.
    pub sha256: Option<String>,
    /// About how large it is.
    pub megabytes: Option<u64>,
}

/// A file that is not on the Hub.
#[derive(Clone, Debug)]
pub struct PageFile {
    /// The page to get it from.
    pub page: String,
    /// Its name there.
    pub file: String,
    /// The first digits of its SHA-256, where they are known.
    pub sha256: Option<String>,
}

impl HubFile {
    /// Whether nothing but one certain file can come: the revision is a commit.
    pub fn pinned(&self) -> bool {
        is_commit(&self.revision)
    }
}

impl std::fmt::Display for HubFile {
    /// Such as `nvidia/mit-b0 pytorch_model.bin`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.repository, self.file)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawManifest {
    weights: Vec<Raw>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: String,
    repository: Option<String>,
    revision: Option<String>,
    page: Option<String>,
    file: String,
    sha256: Option<String>,
    megabytes: Option<u64>,
    licence: String,
    network: Network,
    saves: Option<String>,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    runs: Vec<String>,
}

impl Manifest {
    /// The manifest that the program carries.
    ///
    /// # Errors
    /// None, if the tests of this crate pass.
    pub fn built_in() -> Result<Self> {
        Self::parse(BUILT_IN, "manifest.toml")
    }

    /// Another manifest of the same form.
    ///
    /// # Errors
    /// A file that cannot be read; an entry that is no weights file: names the entry and the key.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        Self::parse(&text, &path.display().to_string())
    }

    fn parse(text: &str, file: &str) -> Result<Self> {
        let raw: RawManifest =
            toml::from_str(text).map_err(|error| Error::Usage(format!("{file}: {error}")))?;
        let entries: Vec<Entry> = raw
            .weights
            .into_iter()
            .map(|raw| {
                let name = raw.name.clone();
                entry(raw).map_err(|reason| Error::Usage(format!("{file}: {name}: {reason}")))
            })
            .collect::<Result<_>>()?;
        for (at, entry) in entries.iter().enumerate() {
            if entries[..at].iter().any(|other| other.name == entry.name) {
                return Err(Error::Usage(format!(
                    "{file}: {} is listed twice",
                    entry.name
                )));
            }
        }
        Ok(Self { entries })
    }

    /// The entry of a name, of a converted file or of another name for it.
    ///
    /// # Errors
    /// No such entry: lists the names.
    pub fn find(&self, name: &str) -> Result<&Entry> {
        let known = |entry: &&Entry| {
            entry.name == name
                || entry.saves == name
                || entry.aliases.iter().any(|alias| alias == name)
        };
        self.entries.iter().find(known).ok_or_else(|| {
            Error::Usage(format!(
                "there are no weights {name:?}; known are {}",
                self.names().join(", ")
            ))
        })
    }

    /// The entries that a run of this name starts from.
    ///
    /// # Errors
    /// No entry is for such a run.
    pub fn for_run(&self, run: &str) -> Result<Vec<&Entry>> {
        let needs = |entry: &&Entry| entry.runs.iter().any(|pattern| fits(pattern, run));
        let found: Vec<&Entry> = self.entries.iter().filter(needs).collect();
        if found.is_empty() {
            let mut runs: Vec<&str> = self.entries.iter().flat_map(Entry::patterns).collect();
            runs.sort_unstable();
            runs.dedup();
            return Err(Error::Usage(format!(
                "no weights are listed for the run {run:?}; runs are named like {}, or give a \
                 configuration file",
                runs.join(", ")
            )));
        }
        Ok(found)
    }

    fn names(&self) -> Vec<&str> {
        self.entries
            .iter()
            .map(|entry| entry.name.as_str())
            .collect()
    }
}

impl Entry {
    fn patterns(&self) -> impl Iterator<Item = &str> {
        self.runs.iter().map(String::as_str)
    }
}

fn entry(raw: Raw) -> std::result::Result<Entry, String> {
    let saves = raw
        .saves
        .unwrap_or_else(|| format!("{}.safetensors", raw.name));
    path_below("saves", &saves)?;
    if saves.contains('/') {
        return Err(format!("saves is {saves:?}, expected a file name"));
    }
    let origin = match (raw.repository, raw.page) {
        (Some(repository), None) => Origin::Hub(HubFile {
            repository: checked_repository(repository)?,
            revision: checked_revision(raw.revision)?,
            file: path_below("file", &raw.file).map(|()| raw.file)?,
            sha256: checked_sha256(raw.sha256, 64)?,
            megabytes: raw.megabytes,
        }),
        (None, Some(page)) => Origin::Page(PageFile {
            page,
            file: raw.file,
            sha256: checked_sha256(raw.sha256, 8)?,
        }),
        _ => return Err("expected either repository or page".into()),
    };
    Ok(Entry {
        name: raw.name,
        origin,
        licence: raw.licence,
        network: raw.network,
        saves,
        aliases: raw.aliases,
        runs: raw.runs,
    })
}

/// Characters that stand for themselves in addresses and file names.
fn plain(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !text.is_empty() && text.chars().all(fits) && text.chars().any(|c| c != '.')
}

fn checked_repository(repository: String) -> std::result::Result<String, String> {
    match repository.split_once('/') {
        Some((owner, name)) if plain(owner) && plain(name) => Ok(repository),
        _ => Err(format!(
            "repository is {repository:?}, expected owner/name of letters, digits, dot, - and _"
        )),
    }
}

fn checked_revision(revision: Option<String>) -> std::result::Result<String, String> {
    let revision = revision.unwrap_or_else(|| "main".into());
    match revision.split('/').all(plain) {
        true => Ok(revision),
        false => Err(format!(
            "revision is {revision:?}, expected a commit of 40 digits or a branch"
        )),
    }
}

fn path_below(key: &str, path: &str) -> std::result::Result<(), String> {
    match path.split('/').all(plain) {
        true => Ok(()),
        false => Err(format!(
            "{key} is {path:?}, expected a path of letters, digits, dot, - and _"
        )),
    }
}

fn checked_sha256(
    sha256: Option<String>,
    least: usize,
) -> std::result::Result<Option<String>, String> {
    let Some(text) = sha256 else { return Ok(None) };
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits && (is_sha256(&text) || (least..64).contains(&text.len())) {
        return Ok(Some(text.to_ascii_lowercase()));
    }
    Err(format!(
        "sha256 is {text:?}, expected {least} to 64 hexadecimal digits"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_manifest_is_sound() {
        let manifest = Manifest::built_in().unwrap();
        for entry in &manifest.entries {
            assert_eq!(manifest.find(&entry.name).unwrap().name, entry.name);
            assert!(!entry.licence.is_empty());
        }
        let names = |run: &str| -> Vec<String> {
            let found = manifest.for_run(run).unwrap();
            found.iter().map(|entry| entry.name.clone()).collect()
        };
        let hrda = "gtaHR2csHR_1024x1024_dacs_a999_fdthings_rcs001-20_cpl2_m64-07-spta_\
                    hrda1-512-01_daformer_sepaspp_sl_mitb5_poly10warm_s0";
        assert_eq!(names(hrda), ["mit-b5"]);
        assert_eq!(
            names("gta2cs_advseg_m32-07-spta_dlv2red_r101v1c_poly10warm_sgd_00025_pmF_s1"),
            ["resnet101-v1c"]
        );
        assert_eq!(names("visda_vit/mic"), ["vit-base-augreg"]);
        assert!(manifest.for_run("nothing").is_err());
    }

    fn parse(extra: &str) -> Result<Manifest> {
        let text = format!(
            "[[weights]]\nname = \"a\"\nlicence = \"MIT\"\nnetwork = \"mit-b0\"\nfile = \"m.bin\"\n\
             {extra}"
        );
        Manifest::parse(&text, "list.toml")
    }

    #[test]
    fn entries_that_lead_elsewhere_are_refused() {
        assert!(parse("repository = \"o/n\"").is_ok());
        for (extra, told) in [
            ("", "repository or page"),
            ("repository = \"o/n\"\npage = \"p\"", "repository or page"),
            ("repository = \"../n\"", "owner/name"),
            ("repository = \"o/n\"\nrevision = \"../..\"", "revision"),
            ("repository = \"o/n\"\nsaves = \"../x\"", "saves"),
            ("repository = \"o/n\"\nsha256 = \"xyz\"", "sha256"),
            ("repository = \"o/n\"\nsize = 3", "size"),
        ] {
            let message = parse(extra).unwrap_err().to_string();
            assert!(
                message.contains(told) && message.contains("list.toml"),
                "{message}"
            );
        }
    }
}
