//! Everything that the report shows.

use anyhow::Result;
use mic_run::memory::readable;

use super::assign::{Known, Place};
use super::cells::{Cell, Cells};
use super::found::{Everything, FoundRun, Miniature};
use super::grid::{Entry, Grid, grids};
use super::paper::{self, ExperimentTable};
use super::published::Published;
use crate::reproduce::paper::Program;

/// The report.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) experiments: Vec<ExperimentTable>,
    pub(super) grids: Vec<Grid>,
    pub(super) miniatures: Vec<Miniature>,
    /// Runs that are none of the paper's.
    pub(super) others: Cells,
    /// Files that were left out.
    pub(super) problems: Vec<String>,
    pub(super) has_transcriptions: bool,
}

impl Report {
    /// Puts what was found in order.
    ///
    /// # Errors
    /// A catalogue that does not hold together.
    pub(super) fn of(all: Everything) -> Result<Self> {
        let published = Published::read()?;
        let mut experiments = Vec::new();
        let mut entries = Vec::new();
        let mut others = Cells::new([
            "run",
            "program",
            "seed",
            "state",
            "score",
            "s/step",
            "memory",
            "what it is",
        ]);
        for program in Program::ALL {
            let runs: Vec<&FoundRun> = all
                .runs
                .iter()
                .filter(|run| run.program == program.name())
                .collect();
            if runs.is_empty() {
                continue;
            }
            let known = Known::read(program)?;
            let placed: Vec<(&FoundRun, Place)> =
                runs.iter().map(|run| (*run, known.place(run))).collect();
            let of = |file: &str| -> Vec<&FoundRun> {
                let of_it = |place: &Place| matches!(place, Place::Of(known) if known == file);
                let all = placed.iter().filter(|(_, place)| of_it(place));
                all.map(|(run, _)| *run).collect()
            };
            let tables = known.catalogue.experiments().iter();
            experiments.extend(tables.filter_map(|e| paper::table(&known, e, &published, of)));
            let foreign = placed.iter().filter(|(_, p)| !matches!(p, Place::Of(_)));
            others
                .rows
                .extend(foreign.map(|(run, place)| other(run, place)));
            entries.extend(placed.iter().filter_map(|(run, place)| entry(run, place)));
        }
        let strangers = all.runs.iter().filter(|run| {
            let mut programs = Program::ALL.iter();
            !programs.any(|program| run.program == program.name())
        });
        others
            .rows
            .extend(strangers.map(|run| other(run, &Place::Other)));
        for miniature in &all.miniatures {
            entries.extend(entries_of(miniature));
        }
        Ok(Self {
            has_transcriptions: paper::has_transcriptions(&experiments),
            grids: grids(&entries),
            experiments,
            others,
            problems: all.problems,
            miniatures: all.miniatures,
        })
    }
}

fn entry<'a>(run: &'a FoundRun, place: &Place) -> Option<Entry<'a>> {
    let test = run.result.as_ref()?.test.as_ref()?;
    let of = match place {
        Place::Of(file) | Place::Like(file, _) => file.clone(),
        Place::Other => run.name.clone(),
    };
    Some(Entry {
        label: format!("{}, {of} and its like", run.program),
        config: &run.config,
        score: 100.0 * test.main_score()?,
        measure: test.main.clone(),
    })
}

fn entries_of(miniature: &Miniature) -> Vec<Entry<'_>> {
    let results = &miniature.results;
    let measure = results.main();
    let methods = results.pairs.iter().flat_map(|pair| {
        let methods = pair.methods.iter();
        methods.map(move |method| (pair, method))
    });
    methods
        .flat_map(|(pair, method)| {
            let label = match pair.label.as_str() {
                "" => results.what.clone(),
                label => format!("{}, {label}", results.what),
            };
            method.runs.iter().filter_map(move |run| {
                Some(Entry {
                    label: label.clone(),
                    config: &method.config,
                    score: 100.0 * measure.of(run)?,
                    measure: measure.label.clone(),
                })
            })
        })
        .collect()
}

fn other(run: &FoundRun, place: &Place) -> Vec<Cell> {
    let result = run.result.as_ref();
    let test = result.and_then(|result| result.test.as_ref());
    let score = test.and_then(|test| Some((test.main.as_str(), test.main_score()?)));
    let dash = || Cell::from("-");
    vec![
        run.folder.display().to_string().into(),
        run.program.as_str().into(),
        run.seed.to_string().into(),
        match result {
            Some(_) => run.state.as_str().into(),
            None => Cell::marked(run.state.as_str()),
        },
        score.map_or_else(dash, |(name, value)| {
            format!("{name} {:.2}", 100.0 * value).into()
        }),
        result
            .and_then(|result| result.seconds_per_step)
            .map_or_else(dash, |seconds| format!("{seconds:.3}").into()),
        result
            .and_then(|result| result.peak_memory_bytes)
            .map_or_else(dash, |bytes| readable(bytes).into()),
        match place {
            Place::Like(file, differences) => {
                let shown: Vec<&str> = differences.iter().take(4).map(String::as_str).collect();
                let more = differences.len().saturating_sub(shown.len());
                let more = match more {
                    0 => String::new(),
                    n => format!(" and {n} more"),
                };
                format!("{file} with {}{more}", shown.join(", ")).into()
            }
            Place::Of(file) => file.as_str().into(),
            Place::Other => "none of the paper's".into(),
        },
    ]
}
