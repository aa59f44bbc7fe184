//! The reproduction itself: for every seed and pair of domains a warm-up, then every method from its
//! weights.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use mic_run::train::{Outcome, Session};

use super::method::Method;
use super::plan::Plan;
use super::progress::Progress;
use super::results::{
    Comparison, Evaluation, Iterations, MethodRuns, Notes, PairRuns, Provenance, Results, Run,
    Timing, compare,
};
use super::task::{Pair, Start, Task};
use crate::failure::Failure;
use crate::report;

/// Runs the plan. Results and report are written anew after every seed, so that a long run that is
/// stopped leaves the seeds it finished.
///
/// # Errors
///
/// [`Failure::Run`] if a run fails or a file cannot be written.
pub fn reproduce<T: Task>(plan: &Plan<T>) -> Result<Results, Failure> {
    let provenance = Provenance::here();
    std::fs::create_dir_all(&plan.out)
        .with_context(|| format!("cannot make the folder {}", plan.out.display()))?;
    let mut results = empty(plan, provenance)?;
    let first = plan.warmup.as_ref().or(plan.methods.first());
    let collector = |pair: &Pair| -> Result<_, Failure> {
        let method = first.context("there is no method to run")?;
        let config = plan.config(pair, method, plan.seeds[0])?;
        Ok(plan.task.pictures(&config)?)
    };
    let pictures = plan.pairs.iter().map(collector);
    let mut pictures = pictures.collect::<Result<Vec<_>, _>>()?;
    let measure = results.main().clone();
    let mut progress = Progress::new(
        total_iterations(&results, plan),
        plan.task.loss(),
        &measure.label,
    );
    for (index, &seed) in plan.seeds.iter().enumerate() {
        for (place, pair) in plan.pairs.iter().enumerate() {
            let done = &mut results.pairs[place];
            let start = match (&plan.warmup, &mut done.warmup) {
                (Some(warmup), Some(entry)) => {
                    let finished = train_one(plan, (pair, warmup, seed), None, &mut progress)?;
                    entry.runs.push(finished.run);
                    Some((finished.trained, plan.checkpoint(pair, warmup, seed)))
                }
                _ => None,
            };
            for (method, entry) in plan.methods.iter().zip(&mut done.methods) {
                let start = start.as_ref();
                let start = start.map(|(trained, path)| Start { trained, path });
                let Finished { run, trained } =
                    train_one(plan, (pair, method, seed), start, &mut progress)?;
                entry.runs.push(run);
                if index == 0 {
                    pictures[place].add(method.label, &trained)?;
                }
            }
            done.comparisons = comparisons(plan, &done.methods);
        }
        results.seeds.push(seed);
        results.notes = notes(plan, &results);
        let galleries = pictures.iter().map(|p| p.gallery(plan.seeds[0]));
        report::write(&plan.out, &results, &galleries.collect::<Vec<_>>())?;
    }
    progress.finish();
    Ok(results)
}

struct Finished<T> {
    run: Run,
    trained: T,
}

fn train_one<T: Task>(
    plan: &Plan<T>,
    (pair, method, seed): (&Pair, &Method, u64),
    start: Option<Start<'_, T::Trained>>,
    progress: &mut Progress,
) -> Result<Finished<T::Trained>, Failure> {
    let task = &plan.task;
    let config = plan.config(pair, method, seed)?;
    let iterations = task.summary(&config)?.iterations;
    let mut name = format!("seed {seed} {}", method.label);
    if !pair.label.is_empty() {
        name = format!("{}, {name}", pair.label);
    }
    let mut observer = progress.run(&name, iterations);
    let session = Session {
        watchers: vec![&mut observer],
        ..Session::default()
    };
    let trained = task.train(&config, start, session)?;
    observer.finish();
    task.save(&trained, &plan.checkpoint(pair, method, seed))?;
    let run = record(task, &config, seed, &trained)
        .with_context(|| format!("{name}: cannot measure the trained network"))?;
    Ok(Finished { run, trained })
}

fn record<T: Task>(task: &T, config: &T::Config, seed: u64, trained: &T::Trained) -> Result<Run> {
    let outcome = task.outcome(trained);
    let evaluations = &outcome.progress.evaluations;
    let last = evaluations.last().context("the run was not evaluated")?;
    let last = task.scored(last)?;
    let mut scores = last.scores;
    scores.extend(task.further(config, trained)?);
    let evaluations = evaluations.iter().map(|evaluation| {
        Ok(Evaluation {
            step: evaluation.step,
            scores: task.scored(evaluation)?.scores,
        })
    });
    let scalar = |name: &str| {
        let steps = outcome.steps.iter();
        let values = steps.map(|step| step.scalars.get(name).copied());
        // JSON has no NaN; it stands for a scalar that a step did not have.
        values
            .map(|value| value.filter(|v| v.is_finite()))
            .collect()
    };
    Ok(Run {
        seed,
        scores,
        class_scores: last.classes,
        evaluations: evaluations.collect::<Result<_>>()?,
        scalars: scalar_names(task, outcome)
            .into_iter()
            .map(|name| (name.to_owned(), scalar(name)))
            .collect(),
        timing: Timing {
            seconds_per_step: outcome.seconds_per_step,
            seconds: outcome.seconds,
            peak_memory: outcome.peak_memory,
        },
    })
}

fn scalar_names<'a>(task: &impl Task, outcome: &'a Outcome) -> BTreeSet<&'a str> {
    let steps = outcome.steps.iter();
    let names = steps.flat_map(|step| step.scalars.keys().map(String::as_str));
    // What a clock measured is no result.
    names.filter(|name| !task.is_clock(name)).collect()
}

fn comparisons<T: Task>(plan: &Plan<T>, methods: &[MethodRuns]) -> Vec<Comparison> {
    let measures = plan.task.measures();
    let mut all = Vec::new();
    for against in plan.task.comparisons() {
        let Some(baseline) = methods.iter().find(|m| m.key == against.baseline) else {
            continue;
        };
        for method in methods {
            let wanted = against.method.is_none_or(|key| method.key == key);
            if wanted && method.key != baseline.key {
                all.extend(compare(method, baseline, &measures));
            }
        }
    }
    // One measure after the other is easier to read; the sort keeps the order of the methods.
    all.sort_by_key(|comparison| measures.iter().position(|m| *m == comparison.measure));
    all
}

fn notes<T: Task>(plan: &Plan<T>, results: &Results) -> Notes {
    let runs = results.pairs.iter().flat_map(|pair| &pair.methods);
    let runs = runs.flat_map(|method| &method.runs);
    let names = runs.flat_map(|run| run.scalars.keys());
    let titles = names.filter_map(|name| {
        let title = plan.task.scalar_title(name)?;
        Some((name.clone(), title.to_owned()))
    });
    Notes {
        reading: plan.task.reading(results),
        paper_scale: plan.task.paper_scale(),
        scalars: titles.collect(),
    }
}

fn empty<T: Task>(plan: &Plan<T>, provenance: Provenance) -> Result<Results, Failure> {
    let (task, seed) = (&plan.task, plan.seeds[0]);
    let first = plan.pairs.first().context("there is no pair of domains")?;
    let iterations = |method: Option<&Method>| -> Result<u64, Failure> {
        Ok(match method {
            Some(method) => task.summary(&plan.config(first, method, seed)?)?.iterations,
            None => 0,
        })
    };
    let base = task.summary(&task.config(&first.overrides)?)?;
    let pairs = plan.pairs.iter().map(|pair| empty_pair(plan, pair));
    Ok(Results {
        what: task.title(),
        program: format!("mic-{}", task.name()),
        config_file: task.file().0.into(),
        measures: task.measures(),
        class_measure: task.class_measure().into(),
        classes: base.classes,
        seeds: Vec::new(),
        iterations: Iterations {
            warmup: iterations(plan.warmup.as_ref())?,
            adaptation: iterations(plan.methods.first())?,
        },
        pairs: pairs.collect::<Result<_, _>>()?,
        notes: Notes::default(),
        provenance,
    })
}

fn empty_pair<T: Task>(plan: &Plan<T>, pair: &Pair) -> Result<PairRuns, Failure> {
    let seed = plan.seeds[0];
    let entry = |method: &Method| -> Result<MethodRuns, Failure> {
        let config = plan.config(pair, method, seed)?;
        Ok(MethodRuns {
            key: method.key.into(),
            label: method.label.into(),
            note: method.note.into(),
            overrides: plan.overrides(pair, method),
            config: plan.task.summary(&config)?.table,
            runs: Vec::new(),
        })
    };
    let shared = plan.methods.last().or(plan.warmup.as_ref());
    let shared = shared.context("there is no method to run")?;
    let shared = plan.config(pair, shared, seed)?;
    Ok(PairRuns {
        key: pair.key.clone(),
        label: pair.label.clone(),
        data: plan.task.summary(&shared)?.data,
        warmup: plan.warmup.as_ref().map(entry).transpose()?,
        methods: plan.methods.iter().map(entry).collect::<Result<_, _>>()?,
        comparisons: Vec::new(),
    })
}

fn total_iterations<T>(results: &Results, plan: &Plan<T>) -> u64 {
    let one = results.iterations.warmup + results.iterations.adaptation * plan.methods.len() as u64;
    one * (plan.seeds.len() * plan.pairs.len()) as u64
}
