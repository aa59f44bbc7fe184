//! Runs of the catalogues in the order of the paper's experiments.

use mic_run::config::{Configuration, Evidence, Experiment};
use mic_run::report::chart::{Point, Series};

use super::assign::Known;
use super::cells::{Cell, Cells};
use super::found::{FoundRun, Measured};
use super::published::{Published, Score, evidence};
use crate::reproduce::paper::Program;
use crate::reproduce::statistics::{mean, sample_sd};

/// The runs of one experiment beside the paper's figures.
#[derive(Clone, Debug)]
pub(super) struct ExperimentTable {
    pub(super) title: String,
    pub(super) cells: Cells,
    /// What others' single runs came to.
    pub(super) notes: Vec<String>,
    /// Title and table of the classes, a table a configuration.
    pub(super) classes: Vec<(String, Cells)>,
    /// What the curves show.
    pub(super) measure: String,
    pub(super) curves: Vec<Series>,
}

/// A configuration and its runs.
struct Row<'a> {
    known: &'a Known,
    configuration: &'a Configuration,
    published: Option<&'a Score>,
    expected: Vec<u64>,
    /// By seed.
    runs: Vec<&'a FoundRun>,
}

/// An experiment of which there is a run; `of` gives the runs of a configuration file.
pub(super) fn table<'a>(
    known: &'a Known,
    experiment: &'a Experiment,
    published: &'a Published,
    of: impl Fn(&str) -> Vec<&'a FoundRun>,
) -> Option<ExperimentTable> {
    let row = |configuration: &'a Configuration| {
        let mut runs = of(&configuration.file);
        runs.sort_by_key(|run| run.seed);
        let own = || known.own_seed(&configuration.file).into_iter().collect();
        Row {
            known,
            configuration,
            published: published.of(known.program.task(), &configuration.file),
            expected: match experiment.seeds.is_empty() {
                true => own(),
                false => experiment.seeds.clone(),
            },
            runs,
        }
    };
    let rows: Vec<Row<'_>> = experiment.configurations.iter().map(row).collect();
    if rows.iter().all(|row| row.runs.is_empty()) {
        return None;
    }
    let metric = known.catalogue.metric();
    let ours = format!("ours, {metric}");
    let mut cells = Cells::new(["configuration", ours.as_str(), "published", "difference"]);
    let rest = ["seeds", "method", "network", "pair"];
    cells.headings.extend(rest.map(str::to_owned));
    cells.rows = rows.iter().map(|row| row.cells(published)).collect();
    let table = experiment.table.map(|table| format!(", table {table}"));
    let with_runs = || rows.iter().filter(|row| !row.finished().is_empty());
    Some(ExperimentTable {
        title: format!(
            "{}: experiment {}{}: {}",
            known.program.name(),
            experiment.id,
            table.unwrap_or_default(),
            experiment.about
        ),
        cells,
        notes: rows.iter().flat_map(Row::notes).collect(),
        classes: with_runs()
            .filter_map(|row| Some((row.short().to_owned(), row.classes(published)?)))
            .collect(),
        measure: metric.to_owned(),
        curves: with_runs()
            .enumerate()
            .map(|(number, row)| row.curve(number, published))
            .collect(),
    })
}

/// The score that the paper gives for a configuration, in per cent.
pub(super) fn score(
    program: Program,
    configuration: &Configuration,
    evaluation: &mic_run::record::Evaluation,
    published: &Published,
) -> Option<f64> {
    let named = |name: &str| evaluation.scores.get(name).copied().flatten();
    let fraction = match program {
        Program::Seg if configuration.source == "SYNTHIA" => {
            let classes = evaluation.class_scores.get("IoU")?;
            let of = |name: &String| {
                let place = evaluation.classes.iter().position(|c| c == name)?;
                classes.get(place).copied().flatten()
            };
            let values: Option<Vec<f64>> = published.synthia().iter().map(of).collect();
            mean(&values?)
        }
        Program::Seg => named("mIoU"),
        Program::Cls if configuration.note.as_deref() == Some("mean over classes") => {
            named("mean_class")
        }
        Program::Cls => named("top1"),
        Program::Det => named("AP50"),
    };
    fraction.map(|fraction| 100.0 * fraction)
}

/// What the score of a class is called.
fn class_score(program: Program) -> &'static str {
    match program {
        Program::Seg => "IoU",
        Program::Cls => "accuracy",
        Program::Det => "AP50",
    }
}

/// `mean ± sd`, or the one value.
fn spread(values: &[f64]) -> Option<String> {
    let mean = mean(values)?;
    Some(match sample_sd(values) {
        Some(sd) => format!("{mean:.1} ± {sd:.1}"),
        None => format!("{mean:.1}"),
    })
}

fn seeds(all: &[u64]) -> String {
    let all: Vec<String> = all.iter().map(u64::to_string).collect();
    all.join(", ")
}

impl<'a> Row<'a> {
    fn finished(&self) -> Vec<(&'a FoundRun, &'a Measured)> {
        let runs = self.runs.iter();
        runs.filter_map(|run| Some((*run, run.result.as_ref()?)))
            .collect()
    }

    /// The configuration's name without its folder, or with the folder that says what it is of.
    fn short(&self) -> &'a str {
        let file = self.configuration.file.as_str();
        file.strip_prefix("ablations/").unwrap_or(file)
    }

    fn scores(&self, published: &Published) -> Vec<f64> {
        let all = self.finished().into_iter();
        all.filter_map(|(_, result)| {
            let test = result.test.as_ref()?;
            score(self.known.program, self.configuration, test, published)
        })
        .collect()
    }

    fn cells(&self, published: &Published) -> Vec<Cell> {
        let c = self.configuration;
        let scores = self.scores(published);
        let difference = mean(&scores).zip(c.published);
        let dash = || Cell::from("-");
        vec![
            self.short().into(),
            spread(&scores).map_or_else(dash, Cell::from),
            match c.published {
                None => dash(),
                Some(score) => {
                    let note = c.note.as_ref().map(|note| format!(", {note}"));
                    let note = note.unwrap_or_default();
                    let evidence = match c.evidence {
                        Some(Evidence::Source) => String::new(),
                        other => format!(", {}", evidence(other)),
                    };
                    format!("{score:.1}{evidence}{note}").into()
                }
            },
            difference.map_or_else(dash, |(ours, theirs)| {
                Cell::from(format!("{:+.1}", ours - theirs))
            }),
            self.seeds(),
            c.method.as_str().into(),
            c.network.as_str().into(),
            format!("{} to {}", c.source, c.target).into(),
        ]
    }

    /// How many runs are there, and which are missing.
    fn seeds(&self) -> Cell {
        let (mut done, mut going) = (Vec::new(), Vec::new());
        for run in &self.runs {
            match run.result {
                Some(_) => done.push(run.seed),
                None => going.push(format!("seed {} is {}", run.seed, run.state)),
            }
        }
        let missing: Vec<u64> = self
            .expected
            .iter()
            .copied()
            .filter(|seed| !self.runs.iter().any(|run| run.seed == *seed))
            .collect();
        let mut text = match (done.len(), self.runs.is_empty()) {
            (_, true) => return Cell::marked("no run"),
            (0, _) => "none finished".to_owned(),
            (n, _) => format!("n = {n} ({})", seeds(&done)),
        };
        let whole = going.is_empty() && missing.is_empty();
        for part in going {
            text += &format!("; {part}");
        }
        if !missing.is_empty() {
            text += &format!("; missing {}", seeds(&missing));
        }
        if whole {
            text.into()
        } else {
            Cell::marked(text)
        }
    }

    fn notes(&self) -> Vec<String> {
        let published = self.published.into_iter().flat_map(|score| &score.seeds);
        published
            .map(|seeds| {
                let values: Vec<String> = seeds.values.iter().map(|v| format!("{v:.2}")).collect();
                let mean = mean(&seeds.values).filter(|_| values.len() > 1);
                let mean = mean.map(|mean| format!(" (mean {mean:.2})"));
                format!(
                    "{}: single runs of {}: {}{}; read in {}",
                    self.short(),
                    seeds.who,
                    values.join(", "),
                    mean.unwrap_or_default(),
                    seeds.from
                )
            })
            .collect()
    }

    /// The classes of the last evaluations beside those of the paper.
    fn classes(&self, published: &Published) -> Option<Cells> {
        let measured = class_score(self.known.program);
        let all: Vec<_> = self
            .finished()
            .into_iter()
            .filter_map(|(run, result)| {
                let test = result.test.as_ref()?;
                Some((run.seed, &test.classes, test.class_scores.get(measured)?))
            })
            .collect();
        let (_, names, _) = all.first()?;
        let theirs = self.published.map(|s| evidence(Some(s.evidence)));
        let mut cells = Cells::new(["class".to_owned(), format!("ours, {measured}")]);
        cells.headings.extend(theirs.map(str::to_owned));
        cells
            .headings
            .extend(theirs.map(|_| "difference".to_owned()));
        for (place, name) in names.iter().enumerate() {
            let values = all
                .iter()
                .filter_map(|(seed, _, scores)| Some((*seed, scores.get(place).copied()??)));
            let values: Vec<(u64, f64)> = values.collect();
            let percents: Vec<f64> = values.iter().map(|(_, value)| 100.0 * value).collect();
            let fallen: Vec<u64> = values
                .iter()
                .filter(|(_, value)| *value == 0.0)
                .map(|(seed, _)| *seed)
                .collect();
            let ours = match (spread(&percents), fallen.is_empty()) {
                (None, _) => Cell::from("-"),
                (Some(text), true) => Cell::from(text),
                (Some(text), false) => {
                    Cell::marked(format!("{text}, collapsed at seed {}", seeds(&fallen)))
                }
            };
            let mut row = vec![Cell::from(name.as_str()), ours];
            if let Some(score) = self.published {
                let theirs = published.class(score, name);
                let dash = || Cell::from("-");
                row.push(theirs.map_or_else(dash, |v| Cell::from(format!("{v:.1}"))));
                let difference = mean(&percents).zip(theirs);
                row.push(
                    difference.map_or_else(dash, |(a, b)| Cell::from(format!("{:+.1}", a - b))),
                );
            }
            cells.rows.push(row);
        }
        Some(cells)
    }

    /// The score over the evaluations that all finished runs have, with its range.
    fn curve(&self, number: usize, published: &Published) -> Series {
        let lines: Vec<Vec<(u64, f64)>> = self
            .finished()
            .into_iter()
            .map(|(_, result)| {
                let all = result.evaluations.iter();
                all.filter_map(|evaluation| {
                    let score = score(
                        self.known.program,
                        self.configuration,
                        evaluation,
                        published,
                    )?;
                    Some((evaluation.step, score))
                })
                .collect()
            })
            .collect();
        let first = lines.first().cloned().unwrap_or_default();
        let point = |(step, _): &(u64, f64)| {
            let at = |line: &Vec<(u64, f64)>| {
                let mut all = line.iter();
                all.find(|(other, _)| other == step)
                    .map(|(_, value)| *value)
            };
            let values: Option<Vec<f64>> = lines.iter().map(at).collect();
            let values = values?;
            Some(Point {
                x: *step as f64,
                mean: mean(&values)?,
                low: values.iter().copied().fold(f64::INFINITY, f64::min),
                high: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            })
        };
        Series {
            label: self.short().to_owned(),
            colour: number % 8,
            points: first.iter().filter_map(point).collect(),
            faint: Vec::new(),
        }
    }
}

/// A line about a figure that was read nowhere.
pub(super) fn has_transcriptions(tables: &[ExperimentTable]) -> bool {
    let label = evidence(Some(Evidence::Transcription));
    tables.iter().any(|table| {
        let mut cells = table.cells.rows.iter().flatten();
        let classes = table.classes.iter().flat_map(|(_, cells)| &cells.headings);
        cells.any(|cell| cell.text.contains(label)) || classes.into_iter().any(|h| h == label)
    })
}
