//! `mic-cls train`.

use std::process::ExitCode;

use mic_run::cli::train::{ConfigArgs, Training, refuse_several_processes};
use mic_run::cli::{RunArgs, code_of, print};
use mic_run::record::Evaluation;
use mic_run::train::Ending;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::sets::Sets;
use crate::{Result, train};

/// Train a classifier as a TOML file says.
///
/// The run folder gets config.toml (the configuration with all defaults and the classes),
/// events.jsonl (losses of every step), checkpoints, TensorBoard files, report.html, and at the very
/// end metrics.json. Ctrl-C saves and stops; --resume goes on and ends as if nothing had happened.
#[derive(Debug, clap::Args)]
#[command(mut_arg("config", |arg| arg.help(ConfigArgs::config_help("mic-cls"))))]
#[command(after_help = "Examples:
  mic-cls train --config configs/cls/custom_example.toml --out runs/mine
  mic-cls train --config my.toml --out runs/try --set train.iterations=500 --set mask.ratio=0.5
  mic-cls train --config my.toml --out runs/no-mask --set mask=
  mic-cls train --out runs/mine --resume

Exit codes: 0 done, 1 a run that failed, 2 wrong usage or configuration, 3 stopped by a signal and
saved.")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    run: RunArgs,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    mic_run::cli::init_logging(args.run.verbose);
    // The joint batch norms of the method would need statistics over all processes.
    refuse_several_processes("mic-cls")?;
    let training = Training::new(&args.run, true)?;
    let config = training.configuration(&args.config, Config::from_file)?;
    let sets = Sets::open(&config)?;
    let config = config.with_classes(sets.source.class_names())?;
    train::check(&config, &sets)?;
    let trained = training.run(
        &train::plan(&config)?,
        |content, session| train::run(&config, &sets, content, session),
        |trained| &trained.outcome,
    )?;
    let outcome = &trained.outcome;
    let last = outcome.progress.evaluations.last();
    if let (Some(last), true) = (last, outcome.ending != Ending::Stopped) {
        print(&Metrics::of(last).table(&last.classes))?;
        args.run.say(&best_and_last(&outcome.progress.evaluations));
    }
    Ok(code_of(outcome))
}

/// The overall accuracy and the mean of classes at the end, where each of the two was best, and what
/// the other one was there. The best ones are known from labels of the target.
fn best_and_last(evaluations: &[Evaluation]) -> String {
    let percent = |value: Option<f64>| match value {
        Some(value) => format!("{:.2}", 100.0 * value),
        None => "-".to_owned(),
    };
    let line = |what: &str, evaluation: &Evaluation| {
        let metrics = Metrics::of(evaluation);
        format!(
            "{what:18} {:>6} images, {:>6} mean of classes, after {} steps",
            percent(metrics.top1),
            percent(metrics.mean_class),
            evaluation.step
        )
    };
    let best = |score: fn(&Metrics) -> Option<f64>| {
        let better = |a: &&Evaluation, b: &&Evaluation| {
            let (a, b) = (score(&Metrics::of(a)), score(&Metrics::of(b)));
            a.partial_cmp(&b).unwrap_or(std::cmp::Ordering::Equal)
        };
        // Of equal ones the first, as the best checkpoint is chosen.
        evaluations.iter().rev().max_by(better)
    };
    let lines = [
        ("last:", evaluations.last()),
        ("best of images:", best(|metrics| metrics.top1)),
        ("best of classes:", best(|metrics| metrics.mean_class)),
    ];
    let lines = lines.map(|(what, evaluation)| Some(line(what, evaluation?)));
    lines.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_and_last_are_told_with_both_measures() {
        let evaluation = |step, top1, mean| Evaluation {
            step,
            scores: [
                ("top1".to_owned(), Some(top1)),
                ("mean_class".to_owned(), mean),
            ]
            .into(),
            ..Evaluation::default()
        };
        let all = [
            evaluation(10, 0.5, Some(0.9)),
            evaluation(20, 0.75, Some(0.25)),
            evaluation(30, 0.75, None),
        ];
        let text = best_and_last(&all);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("75.00 images,      - mean of classes, after 30"));
        assert!(lines[1].contains("75.00 images,  25.00 mean of classes, after 20"));
        assert!(lines[2].contains("50.00 images,  90.00 mean of classes, after 10"));
    }
}
