//! `config list` and `config show` on a command line.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::Serialize;

use super::{Catalogue, Configuration, Evidence, Experiment};
use crate::cli::{json, print};
use crate::{Error, Result};

/// Look at the configurations that the program carries.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// List the experiments of the paper with their configurations, and the other files
    ///
    /// The first column is what --config takes. Published scores are means over the seeds, in per
    /// cent; the mark S means read in a source, T copied from the published table and not checked against
    /// it again. A dash: none is known here.
    List {
        /// This experiment alone
        #[arg(long, value_name = "ID")]
        experiment: Option<String>,
        /// Print the names of the runs in their order, one a line; --config takes them too
        #[arg(long)]
        runs: bool,
        /// Print JSON
        #[arg(long, conflicts_with = "runs")]
        json: bool,
    },
    /// Print a configuration with all defaults filled in
    Show {
        /// A TOML file, or the name of a configuration or a run
        #[arg(value_name = "FILE|NAME")]
        config: PathBuf,
        /// Replace one value (an empty value removes the key); may be repeated
        #[arg(long = "set", value_name = "KEY=VALUE")]
        sets: Vec<String>,
    },
}

impl ConfigCommand {
    /// The text to print. `expand` reads a file or name with what is set and fills in the defaults.
    ///
    /// # Errors
    /// An unknown experiment, and those of `expand`.
    pub fn run<E: From<Error>>(
        &self,
        catalogue: &Catalogue,
        expand: impl FnOnce(&Path, &[String]) -> std::result::Result<String, E>,
    ) -> std::result::Result<String, E> {
        match self {
            Self::Show { config, sets } => expand(config, sets),
            Self::List {
                experiment,
                runs,
                json,
            } => Ok(list(catalogue, experiment.as_deref(), *runs, *json)?),
        }
    }

    /// Prints that text. `read` reads a file or name with what is set, `write` makes it TOML again.
    ///
    /// # Errors
    /// Those of [`ConfigCommand::run`], and a standard output that is closed or full.
    pub fn print<C, E: From<Error>>(
        &self,
        catalogue: &Catalogue,
        read: impl FnOnce(&Path, &[String]) -> std::result::Result<C, E>,
        write: impl FnOnce(&C) -> std::result::Result<String, E>,
    ) -> std::result::Result<(), E> {
        let expand = |what: &Path, sets: &[String]| write(&read(what, sets)?);
        Ok(print(&self.run(catalogue, expand)?)?)
    }
}

fn list(catalogue: &Catalogue, id: Option<&str>, runs: bool, as_json: bool) -> Result<String> {
    let experiments = match id {
        Some(id) => std::slice::from_ref(catalogue.experiment(id)?),
        None => catalogue.experiments(),
    };
    if as_json {
        return json(&to_json(catalogue, experiments)?);
    }
    if runs {
        let all = experiments.iter().flat_map(Experiment::runs);
        return Ok(all.map(|run| run.name + "\n").collect());
    }
    let mut text = String::new();
    let rows: Vec<[String; 5]> = experiments
        .iter()
        .flat_map(|experiment| experiment.configurations.iter().map(cells))
        .collect();
    let widths: [usize; 5] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    });
    let mut rows = rows.iter();
    for experiment in experiments {
        text += &format!(
            "{}: {}{}\n",
            experiment.id,
            experiment.about,
            seeds(experiment)
        );
        for _ in &experiment.configurations {
            let row = rows.next().into_iter().flatten().zip(widths);
            let line: Vec<String> = row.map(|(cell, width)| format!("{cell:width$}")).collect();
            text += &format!("  {}\n", line.join("  ").trim_end());
        }
        text.push('\n');
    }
    if id.is_none() {
        let others: Vec<&str> = catalogue.others().iter().map(|file| file.name).collect();
        text += &format!("other files: {}\n", others.join(", "));
    }
    text += &format!(
        "last column: published {} in per cent, [S] read in a source, [T] transcribed and not checked \
         again\n",
        catalogue.metric()
    );
    Ok(text)
}

fn seeds(experiment: &Experiment) -> String {
    let seeds: Vec<String> = experiment.seeds.iter().map(u64::to_string).collect();
    match seeds.len() {
        0 => String::new(),
        1 => format!("; seed {}", seeds[0]),
        _ => format!("; seeds {}", seeds.join(", ")),
    }
}

fn cells(configuration: &Configuration) -> [String; 5] {
    [
        configuration.file.clone(),
        format!("{} -> {}", configuration.source, configuration.target),
        configuration.network.clone(),
        configuration.method.clone(),
        score(configuration),
    ]
}

fn score(configuration: &Configuration) -> String {
    let Some(score) = configuration.published else {
        return "-".into();
    };
    let mark = match configuration.evidence {
        Some(Evidence::Source) => " [S]",
        Some(Evidence::Transcription) => " [T]",
        None => "",
    };
    match &configuration.note {
        Some(note) => format!("{score:.1}{mark} {note}"),
        None => format!("{score:.1}{mark}"),
    }
}

fn to_json(catalogue: &Catalogue, experiments: &[Experiment]) -> Result<impl Serialize> {
    let failed = |error| Error::Run(format!("cannot write JSON: {error}"));
    let mut all = Vec::new();
    for experiment in experiments {
        let mut value = serde_json::to_value(experiment).map_err(failed)?;
        value["runs"] = serde_json::to_value(experiment.runs()).map_err(failed)?;
        all.push(value);
    }
    Ok(serde_json::json!({ "metric": catalogue.metric(), "experiments": all }))
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::tests::sample;
    use super::*;

    fn text(command: &ConfigCommand) -> String {
        let expand = |what: &Path, sets: &[String]| -> Result<String> {
            Ok(format!("{} with {sets:?}", what.display()))
        };
        command.run(&sample(), expand).unwrap()
    }

    fn listed(experiment: Option<&str>, runs: bool, json: bool) -> String {
        text(&ConfigCommand::List {
            experiment: experiment.map(str::to_owned),
            runs,
            json,
        })
    }

    #[test]
    fn the_list_has_a_line_for_every_configuration() {
        let all = listed(None, false, false);
        let lines: Vec<&str> = all.lines().collect();
        assert_eq!(lines[0], "1: with seeds; seeds 0, 3");
        assert_eq!(
            lines[1],
            "  deep/b  S -> T  N        M  75.9 [S] 16 classes"
        );
        assert_eq!(lines[2], "  a       S -> T  Network  M  -");
        assert_eq!(lines[4], "two: as the files say");
        assert!(lines[5].ends_with("9.0 [T]"), "{all}");
        assert!(all.contains("other files: example\n"), "{all}");
        let two = listed(Some("two"), false, false);
        assert!(
            two.starts_with("two:") && !two.contains("other files"),
            "{two}"
        );
    }

    #[test]
    fn runs_and_json_are_for_programs() {
        let runs = listed(Some("1"), true, false);
        assert_eq!(runs, "long-b_s0\nlong-b_s3\nlong-a_s0\nlong-a_s3\n");
        let json: serde_json::Value = serde_json::from_str(&listed(None, false, true)).unwrap();
        let first = &json["experiments"][0];
        assert_eq!(json["metric"], "mIoU");
        assert_eq!(first["configurations"][0]["evidence"], "source");
        assert_eq!(first["runs"][1]["name"], "long-b_s3");
        assert_eq!(first["runs"][1]["sets"][0], "seed=3");
    }

    #[test]
    fn showing_is_left_to_the_task() {
        let show = ConfigCommand::Show {
            config: "a".into(),
            sets: vec!["seed=1".into()],
        };
        assert_eq!(text(&show), "a with [\"seed=1\"]");
        let list = ConfigCommand::List {
            experiment: Some("none".into()),
            runs: false,
            json: false,
        };
        let error = list.run(&sample(), |_, _| Ok::<_, Error>(String::new()));
        assert!(matches!(error, Err(Error::Usage(_))));
    }
}
