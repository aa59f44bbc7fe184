//! `mic-det train`.

use std::process::ExitCode;

use mic_run::cli::train::{ConfigArgs, Training, refuse_several_processes};
use mic_run::cli::{RunArgs, code_of, print};
use mic_run::train::Ending;

use crate::config::Config;
use crate::sets::Sets;
use crate::{Result, train};

/// Train a detector as a TOML file says.
///
/// The run folder gets config.toml (the configuration with all defaults and the classes),
/// events.jsonl (losses of every step), checkpoints, TensorBoard files, report.html, and at the very
/// end metrics.json. Ctrl-C saves and stops; --resume goes on and ends as if nothing had happened.
#[derive(Debug, clap::Args)]
#[command(mut_arg("config", |arg| arg.help(ConfigArgs::config_help("mic-det"))))]
#[command(after_help = "Examples:
  mic-det train --config configs/det/custom_example.toml --out runs/mine
  mic-det train --config my.toml --out runs/try --set train.iterations=500 --set mask.ratio=0.5
  mic-det train --config my.toml --out runs/no-mask --set mask=
  mic-det train --out runs/mine --resume

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
    // Training proposals of the reference's conventions compete over the whole batch.
    refuse_several_processes("mic-det")?;
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
    if let (Some(metrics), true) = (&trained.metrics, outcome.ending != Ending::Stopped) {
        print(&metrics.table())?;
    }
    Ok(code_of(outcome))
}
