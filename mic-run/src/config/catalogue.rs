//! The configurations that a program carries, and the runs of the paper among them.
//!
//! A catalogue is a TOML file: experiments, each with its configurations in their order and the seeds
//! that each of them runs with. A run is a configuration and a seed, and has a name.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{nearest, read_file};
use crate::provenance::timestamp;
use crate::{Error, Result};

/// A configuration file in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Path below the task's folder, without the ending: `ablations/no_masking`.
    pub name: &'static str,
    /// The TOML.
    pub text: &'static str,
}

/// All configurations that a program carries.
#[derive(Clone, Debug)]
pub struct Catalogue {
    files: &'static [Carried],
    listed: Listed,
}

/// The catalogue's file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    metric: String,
    #[serde(rename = "experiment")]
    experiments: Vec<Experiment>,
}

/// Runs that belong together, such as those of one table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// What it is asked for by.
    pub id: String,
    /// What it shows.
    pub about: String,
    /// The table of the paper that its runs are in.
    pub table: Option<u32>,
    /// Every configuration runs with each of them; none: with its own.
    #[serde(default)]
    pub seeds: Vec<u64>,
    /// In the order of their runs.
    #[serde(rename(deserialize = "configuration"))]
    pub configurations: Vec<Configuration>,
}

/// One configuration of an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// Name of its [`Carried`] file.
    pub file: String,
    /// Name of its runs; where the experiment has seeds, `_s` and the seed follow.
    pub name: String,
    /// Labelled domain.
    pub source: String,
    /// Domain that the network is for.
    pub target: String,
    /// The network.
    pub network: String,
    /// The training method.
    pub method: String,
    /// The table of the paper that its runs are in, where it is not that of the experiment.
    pub table: Option<u32>,
    /// The score that its authors published, in per cent.
    pub published: Option<f64>,
    /// Where that score was found.
    pub evidence: Option<Evidence>,
    /// What the score is over, where that is not what is expected.
    pub note: Option<String>,
}

/// Where a published score was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Evidence {
    /// It was read in a source.
    Source,
    /// It was copied from the published table and not checked against it again.
    Transcription,
}

/// One training run: a configuration and what is set in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Name of the run.
    pub name: String,
    /// Name of its [`Carried`] file.
    pub file: String,
    /// `key=value` on top of the file.
    pub sets: Vec<String>,
}

impl Run {
    /// What the original calls the folder of a run that begins now: `<yymmdd_HHMM>_<name>_<5 hex
    /// digits>`, for `seconds` since 1970 (the time is UTC) and a random `tag` whose lowest 20 bits
    /// count.
    pub fn started_name(&self, seconds: u64, tag: u32) -> String {
        let time = timestamp(seconds);
        let digits: String = time.chars().filter(char::is_ascii_digit).collect();
        let (date, clock) = (&digits[2..8], &digits[8..12]);
        format!("{date}_{clock}_{}_{:05x}", self.name, tag & 0xf_ffff)
    }
}

/// The text of a configuration, and where it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The TOML.
    pub text: String,
    /// Stands for the file in messages.
    pub origin: String,
    /// `key=value` on top of it.
    pub sets: Vec<String>,
}

impl Experiment {
    /// Its runs: configuration by configuration, each with every seed.
    pub fn runs(&self) -> Vec<Run> {
        let of = |configuration: &Configuration| {
            let run = |name: String, sets| Run {
                name,
                file: configuration.file.clone(),
                sets,
            };
            let name = &configuration.name;
            if self.seeds.is_empty() {
                return vec![run(name.clone(), Vec::new())];
            }
            let seeded = |seed: &u64| run(format!("{name}_s{seed}"), vec![format!("seed={seed}")]);
            self.seeds.iter().map(seeded).collect()
        };
        self.configurations.iter().flat_map(of).collect()
    }
}

impl Catalogue {
    /// Reads the catalogue's TOML over the files that the program carries.
    ///
    /// # Errors
    /// Text that is no catalogue; a configuration without a file; a name or an id that stands there
    /// twice.
    pub fn read(text: &str, files: &'static [Carried]) -> Result<Self> {
        let failed =
            |message: String| Error::Usage(format!("catalogue of configurations: {message}"));
        let listed: Listed = toml::from_str(text)
            .map_err(|error| failed(error.to_string().trim_end().to_owned()))?;
        let catalogue = Self { files, listed };
        let all = || {
            catalogue
                .experiments()
                .iter()
                .flat_map(|e| &e.configurations)
        };
        if let Some(lost) = all().find(|c| catalogue.file(&c.file).is_none()) {
            return Err(failed(format!("there is no file {:?}", lost.file)));
        }
        let ids = catalogue.experiments().iter().map(|e| e.id.as_str());
        let names = all().map(|c| c.name.as_str());
        if let Some(name) = twice(ids).or_else(|| twice(names)) {
            return Err(failed(format!("{name:?} stands there twice")));
        }
        Ok(catalogue)
    }

    /// What its scores are.
    pub fn metric(&self) -> &str {
        &self.listed.metric
    }

    /// The experiments in their order.
    pub fn experiments(&self) -> &[Experiment] {
        &self.listed.experiments
    }

    /// The experiment of this id.
    ///
    /// # Errors
    /// An unknown id, with those that there are.
    pub fn experiment(&self, id: &str) -> Result<&Experiment> {
        let ids = || self.experiments().iter().map(|e| e.id.as_str());
        let found = self.experiments().iter().find(|e| e.id == id);
        found.ok_or_else(|| {
            let known: Vec<&str> = ids().collect();
            Error::Usage(format!(
                "there is no experiment {id:?}; there are {}",
                known.join(", ")
            ))
        })
    }

    /// The files, sorted by name.
    pub fn files(&self) -> &'static [Carried] {
        self.files
    }

    /// The files that belong to no experiment.
    pub fn others(&self) -> Vec<&'static Carried> {
        let listed = |file: &Carried| {
            let mut all = self.experiments().iter().flat_map(|e| &e.configurations);
            all.any(|c| c.file == file.name)
        };
        self.files.iter().filter(|file| !listed(file)).collect()
    }

    /// The run of this name.
    pub fn run(&self, name: &str) -> Option<Run> {
        let mut all = self.experiments().iter().flat_map(Experiment::runs);
        all.find(|run| run.name == name)
    }

    fn file(&self, name: &str) -> Option<&'static Carried> {
        self.files.iter().find(|file| file.name == name)
    }

    /// The text of the file at `what`; where there is none, of the carried configuration or run of
    /// that name.
    ///
    /// # Errors
    /// A file that cannot be read, and a name that is neither, with the one that was probably meant.
    pub fn open(&self, what: &Path) -> Result<Opened> {
        let carried = what.to_str().filter(|_| !what.exists());
        if let Some(opened) = carried.and_then(|name| self.carried(name)) {
            return Ok(opened);
        }
        let text = read_file(what).map_err(|error| match carried {
            Some(name) => Error::Usage(format!("{error}; {}", self.hint(name))),
            None => error,
        })?;
        Ok(Opened {
            text,
            origin: what.display().to_string(),
            sets: Vec::new(),
        })
    }

    /// Opens a configuration and reads it with `read`, which gets its text, what stands for it in
    /// messages, and what is set on top: what a run sets, then `sets`.
    ///
    /// # Errors
    /// Those of [`Catalogue::open`] and of `read`.
    pub fn load<C, E: From<Error>>(
        &self,
        what: &Path,
        sets: &[String],
        read: impl FnOnce(&str, &str, &[String]) -> std::result::Result<C, E>,
    ) -> std::result::Result<C, E> {
        let opened = self.open(what)?;
        read(&opened.text, &opened.origin, &[&opened.sets, sets].concat())
    }

    fn carried(&self, name: &str) -> Option<Opened> {
        let (file, sets) = match self.run(name) {
            Some(run) => (self.file(&run.file)?, run.sets),
            None => (self.file(name)?, Vec::new()),
        };
        Some(Opened {
            text: file.text.to_owned(),
            origin: file.name.to_owned(),
            sets,
        })
    }

    fn hint(&self, name: &str) -> String {
        match nearest(name, self.files.iter().map(|file| file.name)) {
            Some(near) => format!(
                "no configuration of that name is built in either, but {near} is; `config list` \
                 shows all"
            ),
            None => {
                "no configuration of that name is built in either; `config list` shows all".into()
            }
        }
    }
}

/// The first word that has been there before.
fn twice<'a>(words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = std::collections::HashSet::new();
    let mut words = words;
    words.find(|word| !seen.insert(*word))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const FILES: &[Carried] = &[
        Carried {
            name: "a",
            text: "seed = 4",
        },
        Carried {
            name: "deep/b",
            text: "seed = 5",
        },
        Carried {
            name: "example",
            text: "",
        },
    ];

    const TEXT: &str = r#"
metric = "mIoU"
[[experiment]]
id = "1"
about = "with seeds"
seeds = [0, 3]
[[experiment.configuration]]
file = "deep/b"
name = "long-b"
source = "S"
target = "T"
network = "N"
method = "M"
published = 75.94
evidence = "source"
note = "16 classes"
[[experiment.configuration]]
file = "a"
name = "long-a"
source = "S"
target = "T"
network = "Network"
method = "M"
[[experiment]]
id = "two"
about = "as the files say"
[[experiment.configuration]]
file = "a"
name = "again"
source = "S"
target = "T"
network = "N"
method = "M"
published = 9.0
evidence = "transcription"
"#;

    pub(in crate::config) fn sample() -> Catalogue {
        Catalogue::read(TEXT, FILES).unwrap()
    }

    #[test]
    fn configurations_are_the_outer_loop_and_seeds_the_inner() {
        let catalogue = sample();
        let names = |id: &str| -> Vec<String> {
            let runs = catalogue.experiment(id).unwrap().runs();
            runs.into_iter().map(|run| run.name).collect()
        };
        assert_eq!(
            names("1"),
            ["long-b_s0", "long-b_s3", "long-a_s0", "long-a_s3"]
        );
        assert_eq!(names("two"), ["again"]);
        let run = catalogue.run("long-b_s3").unwrap();
        assert_eq!(
            (run.file.as_str(), run.sets),
            ("deep/b", vec!["seed=3".to_owned()])
        );
        let unknown = catalogue.experiment("3").unwrap_err().to_string();
        assert!(
            unknown.contains("\"3\"") && unknown.contains("1, two"),
            "{unknown}"
        );
        let others: Vec<&str> = catalogue.others().iter().map(|file| file.name).collect();
        assert_eq!(others, ["example"]);
    }

    #[test]
    fn started_runs_have_the_time_and_a_tag_around_their_name() {
        let run = sample().run("long-b_s3").unwrap();
        let name = run.started_name(951_782_399, 0xff0_0abc);
        assert_eq!(name, "000228_2359_long-b_s3_00abc");
    }

    #[test]
    fn files_come_first_then_runs_then_carried_files() {
        let catalogue = sample();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        std::fs::write(&file, "seed = 9").unwrap();
        assert_eq!(catalogue.open(&file).unwrap().text, "seed = 9");
        let open = |name: &str| catalogue.open(Path::new(name));
        let run = open("long-a_s3").unwrap();
        assert_eq!(
            (run.text.as_str(), run.sets),
            ("seed = 4", vec!["seed=3".to_owned()])
        );
        let carried = open("deep/b").unwrap();
        assert_eq!(
            (carried.text.as_str(), carried.origin.as_str()),
            ("seed = 5", "deep/b")
        );
        for (name, part) in [("deep/c", "but deep/b is"), ("none.toml", "config list")] {
            let error = open(name).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(part), "{error}");
        }
        // A file that is there and cannot be read is no name.
        let error = catalogue.open(folder.path()).unwrap_err().to_string();
        assert!(!error.contains("built in"), "{error}");
    }

    #[test]
    fn catalogues_that_do_not_hold_together_are_refused() {
        for (from, to, part) in [
            ("file = \"deep/b\"", "file = \"c\"", "no file \"c\""),
            (
                "name = \"again\"",
                "name = \"long-a\"",
                "\"long-a\" stands there twice",
            ),
            ("id = \"two\"", "id = \"1\"", "\"1\" stands there twice"),
            ("note =", "nota =", "nota"),
        ] {
            let text = TEXT.replace(from, to);
            let error = Catalogue::read(&text, FILES).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
