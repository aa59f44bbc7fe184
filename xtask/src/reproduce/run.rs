//! The reproduction itself: for every seed a warm-up, then every method from its weights.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use mic_data::datasets::Subset;
use mic_data::{Classes, LabelledSet};
use mic_run::train::{Outcome, Session};
use mic_seg::config::Config;
use mic_seg::metrics::Metrics;
use mic_seg::sets;
use mic_seg::train::{self, Setup, Start, Trained};

use super::methods::Method;
use super::pictures::Pictures;
use super::plan::{Plan, failure};
use super::progress::Progress;
use super::results::{
    ClassEntry, Comparison, Evaluation, Iterations, MethodRuns, Provenance, Results, Run, Scores,
    Timing, compare,
};
use crate::failure::Failure;
use crate::report;

/// Target training images that the teacher's accuracy is measured on.
const TEACHER_IMAGES: usize = 200;

/// Runs the plan. Results and report are written anew after every seed, so that a long run that is
/// stopped leaves the seeds it finished.
///
/// # Errors
///
/// [`Failure::Run`] if a run fails or a file cannot be written.
pub fn reproduce(plan: &Plan) -> Result<Results, Failure> {
    let provenance = Provenance::here();
    std::fs::create_dir_all(&plan.out)
        .with_context(|| format!("cannot make the folder {}", plan.out.display()))?;
    let first = plan.config(&plan.warmup, plan.seeds[0])?;
    let mut results = empty(plan, provenance)?;
    let setup = Setup::new(&first).map_err(failure)?;
    let test = setup
        .test()
        .context("the configuration has no test images")?;
    let batch = first.train.batch;
    let mut pictures = Pictures::new(test.as_ref(), results.classes.clone(), batch)?;
    let mut progress = Progress::new(total_iterations(&results, plan));
    for (index, &seed) in plan.seeds.iter().enumerate() {
        let start = train_one(plan, &plan.warmup, seed, None, &mut progress)?;
        results.warmup.runs.push(start.run);
        for (method, entry) in plan.methods.iter().zip(&mut results.methods) {
            let weights = &start.trained;
            let Finished { run, trained } =
                train_one(plan, method, seed, Some(weights), &mut progress)?;
            entry.runs.push(run);
            if index == 0 {
                pictures.add(method.label, &trained)?;
            }
        }
        results.seeds.push(seed);
        results.comparisons = comparisons(&results.methods);
        report::write(&plan.out, &results, &pictures.gallery(plan.seeds[0]))?;
    }
    progress.finish();
    Ok(results)
}

struct Finished {
    run: Run,
    trained: Trained,
}

fn train_one(
    plan: &Plan,
    method: &Method,
    seed: u64,
    start: Option<&Trained>,
    progress: &mut Progress,
) -> Result<Finished, Failure> {
    let config = plan.config(method, seed)?;
    let setup = Setup::new(&config).map_err(failure)?;
    let name = format!("seed {seed} {}", method.label);
    let weights = start.map(Trained::weights);
    let mut observer = progress.run(&name, config.train.iterations);
    let start = Start {
        weights: weights.as_ref(),
        ..Start::default()
    };
    let session = Session {
        watchers: vec![&mut observer],
        ..Session::default()
    };
    let trained = train::run(&config, &setup, start, session).map_err(failure)?;
    observer.finish();
    let path = plan.out.join(format!("{}-s{seed}.safetensors", method.key));
    trained.save(&path).map_err(failure)?;
    let run = record(&config, seed, &trained)
        .with_context(|| format!("{name}: cannot measure the trained network"))?;
    Ok(Finished { run, trained })
}

fn record(config: &Config, seed: u64, trained: &Trained) -> Result<Run> {
    let outcome = &trained.outcome;
    let evaluations: Vec<Evaluation> = outcome
        .progress
        .evaluations
        .iter()
        .map(|evaluation| {
            Ok(Evaluation {
                step: evaluation.step,
                scores: scores(&Metrics::of(evaluation))?,
            })
        })
        .collect::<Result<_>>()?;
    let last = evaluations.last().context("the run was not evaluated")?;
    let scalar = |name: &str| {
        let values = outcome
            .steps
            .iter()
            .map(|step| step.scalars.get(name).copied());
        // JSON has no NaN; it stands for a scalar that a step did not have.
        values
            .map(|value| value.filter(|v| v.is_finite()))
            .collect()
    };
    Ok(Run {
        seed,
        scores: last.scores.clone(),
        teacher_accuracy: teacher_accuracy(config, trained)?,
        scalars: scalar_names(outcome)
            .into_iter()
            .map(|name| (name.to_owned(), scalar(name)))
            .collect(),
        timing: Timing {
            seconds_per_step: outcome.seconds_per_step,
            seconds: outcome.seconds,
            peak_memory: outcome.peak_memory,
        },
        evaluations,
    })
}

fn scalar_names(outcome: &Outcome) -> Vec<&str> {
    let steps = outcome.steps.iter();
    let mut names: Vec<&str> = steps
        .flat_map(|step| step.scalars.keys().map(String::as_str))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn scores(metrics: &Metrics) -> Result<Scores> {
    let unlabelled = || anyhow!("the test images have no labelled pixel");
    Ok(Scores {
        miou: metrics.miou.ok_or_else(unlabelled)?,
        pixel_accuracy: metrics.aacc.ok_or_else(unlabelled)?,
        iou: metrics.iou.clone(),
    })
}

/// The teacher's labels of target training images against the ground truth, which is opened here
/// for this number alone, after training.
fn teacher_accuracy(config: &Config, trained: &Trained) -> Result<Option<f64>> {
    let Some(target) = &config.data.target else {
        return Ok(None);
    };
    let target: Arc<dyn LabelledSet> = sets::labelled(target, &config.classes)?;
    let count = TEACHER_IMAGES.min(target.len());
    let metrics = trained.pseudo_label_metrics(&Subset::labelled(target, 0..count)?)?;
    Ok(metrics.and_then(|metrics| metrics.aacc))
}

/// Every method against self-training, and masking against the same pass without a mask.
fn comparisons(methods: &[MethodRuns]) -> Vec<Comparison> {
    let find = |key: &str| methods.iter().find(|method| method.key == key);
    let against = |key: &str| {
        let baseline = find(key).into_iter();
        baseline.flat_map(|b| {
            methods
                .iter()
                .filter(|m| m.key != b.key)
                .map(move |m| (m, b))
        })
    };
    let masked = against("ratio-0").filter(|(method, _)| method.key == "mic");
    let pairs = against("self-training").chain(masked);
    let mut all: Vec<Comparison> = pairs
        .flat_map(|(method, baseline)| compare(method, baseline))
        .collect();
    // One measure after the other is easier to read; the sort keeps the order of the methods.
    all.sort_by_key(|comparison| comparison.measure as u8);
    all
}

fn empty(plan: &Plan, provenance: Provenance) -> Result<Results, Failure> {
    let seed = plan.seeds[0];
    let entry = |method: &Method| -> Result<MethodRuns, Failure> {
        let config = plan.config(method, seed)?;
        Ok(MethodRuns {
            key: method.key.into(),
            label: method.label.into(),
            note: method.note.into(),
            overrides: method.overrides.clone(),
            config: toml::Table::try_from(&config.raw).context("writing the configuration")?,
            runs: Vec::new(),
        })
    };
    let warmup = plan.config(&plan.warmup, seed)?;
    let adaptation = match plan.methods.first() {
        Some(method) => plan.config(method, seed)?.train.iterations,
        None => 0,
    };
    Ok(Results {
        what: plan.benchmark.title().into(),
        config_file: plan.benchmark.config().0.into(),
        data: describe(plan, &warmup)?,
        classes: classes(&warmup.classes),
        seeds: Vec::new(),
        iterations: Iterations {
            warmup: warmup.train.iterations,
            adaptation,
        },
        warmup: entry(&plan.warmup)?,
        methods: plan.methods.iter().map(entry).collect::<Result<_, _>>()?,
        comparisons: Vec::new(),
        provenance,
    })
}

fn describe(plan: &Plan, config: &Config) -> Result<String, Failure> {
    let data = &config.data;
    let count = |set: Option<&mic_seg::config::SetConfig>| match set {
        Some(set) => sets::labelled(set, &config.classes)
            .map(|opened| opened.len())
            .map_err(failure),
        None => Ok(0),
    };
    let counts = [
        count(Some(&data.source))?,
        count(data.target.as_ref())?,
        count(data.test.as_ref())?,
    ];
    Ok(plan.benchmark.data(counts[0], counts[1], counts[2]))
}

fn classes(classes: &Classes) -> Vec<ClassEntry> {
    let pairs = classes.names().iter().zip(classes.palette());
    let entry = |(name, colour): (&String, &[u8; 3])| ClassEntry {
        name: name.clone(),
        colour: *colour,
    };
    pairs.map(entry).collect()
}

fn total_iterations(results: &Results, plan: &Plan) -> u64 {
    let one = results.iterations.warmup + results.iterations.adaptation * plan.methods.len() as u64;
    one * plan.seeds.len() as u64
}
