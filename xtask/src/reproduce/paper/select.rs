//! Choosing among the paper's runs.

use std::path::PathBuf;

use mic_run::config::{Carried, Catalogue, Configuration, Experiment, nearest};
use toml::Table;

use super::needs;
use super::program::Program;
use crate::failure::Failure;
use crate::reproduce::command::CommonArgs;

/// One training run of the paper.
#[derive(Clone, Debug)]
pub(super) struct PaperRun {
    /// Its name, that of its folder.
    pub(super) name: String,
    /// The experiment.
    pub(super) experiment: String,
    /// The paper's table that it is in.
    pub(super) table: Option<u32>,
    /// What the catalogue says.
    pub(super) configuration: Configuration,
    /// The configuration file.
    pub(super) file: &'static Carried,
    /// The seed, where it is not the file's.
    pub(super) seed: Option<u64>,
    /// What is set on top of the file.
    pub(super) sets: Vec<String>,
    /// The configuration with all defaults.
    pub(super) text: String,
    /// The same, read.
    pub(super) config: Table,
}

/// The runs that a command line chooses.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    /// The program.
    pub(super) program: Program,
    /// In the order of the catalogue; at least one.
    pub(super) runs: Vec<PaperRun>,
    /// Whether the command line names what to run.
    pub(super) named: bool,
    /// Seeds on the command line.
    pub(super) seeds: Vec<u64>,
    /// What the scores are.
    pub(super) metric: String,
    /// Folder of the run folders.
    pub(super) out: PathBuf,
    /// Whether to go on with unfinished runs.
    pub(super) resume: bool,
    /// Whether folders of another version or configuration are taken.
    pub(super) accept_changes: bool,
    /// `--set` of the command line.
    pub(super) given_sets: Vec<String>,
}

/// The chosen runs with their checked configurations; without a choice the main run, which is the
/// first of the catalogue, or all where they are only listed.
///
/// # Errors
/// [`Failure::Usage`]: unknown names with the known ones, options that exclude each other, a key
/// that is wrong.
pub(super) fn choose(program: Program, args: &CommonArgs) -> Result<Chosen, Failure> {
    let catalogue = program.catalogue()?;
    let paper = &args.paper;
    let named = !(paper.exp.is_empty() && paper.table.is_empty() && paper.runs.is_empty());
    let mut picked = pick(program, &catalogue, args)?;
    let every = named || paper.list;
    if !every {
        picked.truncate(1);
    }
    let seeds = seeds(&args.seeds)?;
    let mut sets = args.set.clone();
    sets.extend(
        args.loader_threads
            .map(|n| format!("data.loader_threads={n}")),
    );
    let mut runs = Vec::new();
    for one in picked {
        let own = match (&one.seed, seeds.is_empty(), every) {
            (Some(seed), true, _) => vec![Some(*seed)],
            (None, true, true) if !one.experiment.seeds.is_empty() => {
                one.experiment.seeds.iter().copied().map(Some).collect()
            }
            (None, true, _) => vec![one.experiment.seeds.first().copied()],
            (Some(_), false, _) => {
                return Err(Failure::Usage(format!(
                    "--run {}: the name has a seed, and --seeds gives others; leave --seeds out, or \
                     name the configuration {}",
                    paper.runs.join(","),
                    one.configuration.file
                )));
            }
            (None, false, _) => seeds.iter().copied().map(Some).collect(),
        };
        for seed in own {
            let run = open(program, &catalogue, &one, seed, &sets)?;
            if !runs.iter().any(|known: &PaperRun| known.name == run.name) {
                runs.push(run);
            }
        }
    }
    let default = || PathBuf::from("runs").join(format!("{}-paper", program.task()));
    Ok(Chosen {
        program,
        runs,
        named,
        seeds,
        metric: catalogue.metric().to_owned(),
        out: args.out.clone().unwrap_or_else(default),
        resume: paper.resume,
        accept_changes: paper.accept_changes,
        given_sets: sets,
    })
}

/// A configuration of the catalogue, and the seed that a run's name holds.
struct Picked<'a> {
    experiment: &'a Experiment,
    configuration: &'a Configuration,
    seed: Option<u64>,
}

fn open(
    program: Program,
    catalogue: &Catalogue,
    one: &Picked<'_>,
    seed: Option<u64>,
    sets: &[String],
) -> Result<PaperRun, Failure> {
    let name = &one.configuration.name;
    let files = catalogue.files();
    let file = files.iter().find(|f| f.name == one.configuration.file);
    // The catalogue is read only if all its files are there.
    let file = file.ok_or_else(|| Failure::Usage(format!("there is no configuration {name}")))?;
    let mut sets: Vec<String> = seed
        .map(|seed| format!("seed={seed}"))
        .into_iter()
        .chain(sets.iter().cloned())
        .collect();
    let read = |sets: &[String]| -> Result<(String, Table), Failure> {
        let text = program.expand(file, sets)?;
        let table = text.parse::<Table>();
        let table = table.map_err(|error| Failure::Usage(format!("{}: {error}", file.name)))?;
        Ok((text, table))
    };
    let (mut text, mut config) = read(&sets)?;
    // What was fetched has a name of its own.
    if let Some(converted) = needs::converted_weights(&config) {
        sets.push(converted);
        (text, config) = read(&sets)?;
    }
    let table = one.configuration.table.or(one.experiment.table);
    Ok(PaperRun {
        name: seed.map_or_else(|| name.clone(), |seed| format!("{name}_s{seed}")),
        experiment: one.experiment.id.clone(),
        table,
        configuration: one.configuration.clone(),
        file,
        seed,
        sets,
        text,
        config,
    })
}

fn seeds(given: &[u64]) -> Result<Vec<u64>, Failure> {
    let mut seeds = given.to_vec();
    seeds.sort_unstable();
    seeds.dedup();
    if seeds.len() < given.len() {
        return Err(Failure::Usage(format!(
            "--seeds {given:?}: expected every seed once, as the same seed gives the same numbers"
        )));
    }
    Ok(given.to_vec())
}

fn pick<'a>(
    program: Program,
    catalogue: &'a Catalogue,
    args: &CommonArgs,
) -> Result<Vec<Picked<'a>>, Failure> {
    let paper = &args.paper;
    if !paper.runs.is_empty() {
        let found = paper.runs.iter().map(|name| by_name(catalogue, name));
        return found.collect();
    }
    for id in &paper.exp {
        catalogue.experiment(id).map_err(|error| {
            Failure::Usage(format!(
                "--exp: {error}{}",
                elsewhere(program, |e| e.id == *id)
            ))
        })?;
    }
    let tables = tables(catalogue);
    if let Some(unknown) = paper.table.iter().find(|table| !tables.contains(table)) {
        let shown: Vec<String> = tables.iter().map(u32::to_string).collect();
        return Err(Failure::Usage(format!(
            "--table {unknown}: of the paper's tables {} has {}{}",
            program.task(),
            shown.join(", "),
            elsewhere(program, |e| in_table(e, *unknown))
        )));
    }
    let all = configurations(catalogue).filter(|one| {
        let table = one.configuration.table.or(one.experiment.table);
        let wanted = |table| paper.table.contains(&table);
        (paper.exp.is_empty() || paper.exp.contains(&one.experiment.id))
            && (paper.table.is_empty() || table.is_some_and(wanted))
    });
    let all: Vec<Picked<'_>> = all.collect();
    if all.is_empty() {
        return Err(Failure::Usage(format!(
            "--exp {} has no run in --table {}; leave one of them out (--list shows experiments and \
             tables)",
            paper.exp.join(","),
            paper
                .table
                .iter()
                .map(u32::to_string)
                .collect::<Vec<_>>()
                .join(",")
        )));
    }
    Ok(all)
}

fn configurations(catalogue: &Catalogue) -> impl Iterator<Item = Picked<'_>> {
    catalogue.experiments().iter().flat_map(|experiment| {
        let all = experiment.configurations.iter();
        all.map(move |configuration| Picked {
            experiment,
            configuration,
            seed: None,
        })
    })
}

/// The configuration of a run, a configuration's own name or that of its file.
fn by_name<'a>(catalogue: &'a Catalogue, name: &str) -> Result<Picked<'a>, Failure> {
    for mut one in configurations(catalogue) {
        let configuration = one.configuration;
        if name == configuration.name || name == configuration.file {
            return Ok(one);
        }
        let seed = name.strip_prefix(configuration.name.as_str());
        let seed = seed.and_then(|rest| rest.strip_prefix("_s")?.parse().ok());
        if seed.is_some() {
            one.seed = seed;
            return Ok(one);
        }
    }
    let files = || configurations(catalogue).map(|one| one.configuration.file.as_str());
    let hint = match nearest(name, files()) {
        Some(near) => format!("did you mean {near}?"),
        None => "--list shows what they are called".into(),
    };
    let known: Vec<&str> = files().collect();
    Err(Failure::Usage(format!(
        "--run {name}: there is no such run; {hint}\nknown: {}",
        known.join(", ")
    )))
}

fn in_table(experiment: &Experiment, table: u32) -> bool {
    let mut all = experiment.configurations.iter();
    all.any(|c| c.table.or(experiment.table) == Some(table))
}

fn tables(catalogue: &Catalogue) -> Vec<u32> {
    let all = configurations(catalogue);
    let mut all: Vec<u32> = all
        .filter_map(|one| one.configuration.table.or(one.experiment.table))
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Where another task has what was asked for.
fn elsewhere(program: Program, wanted: impl Fn(&Experiment) -> bool) -> String {
    let others = Program::ALL.into_iter().filter(|other| *other != program);
    let tasks: Vec<&str> = others
        .filter(|other| {
            let catalogue = other.catalogue();
            catalogue.is_ok_and(|c| c.experiments().iter().any(&wanted))
        })
        .map(Program::task)
        .collect();
    match tasks.as_slice() {
        [] => String::new(),
        some => format!("; {} has it", some.join(" and ")),
    }
}
