//! `mic-seg train`.

use std::collections::HashMap;
use std::process::ExitCode;

use candle_core::Tensor;
use mic_run::cli::train::{ConfigArgs, Training};
use mic_run::cli::{RunArgs, code_of, print};
use mic_run::distributed::Launch;
use mic_run::train::{Ending, Session};

use crate::Result;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::subset::Subset;
use crate::train::{self, Setup, Start};

/// Help of `--init-from`, which takes run folders here.
const INIT_FROM: &str = "Start from the weights in this file or run folder; the same as --set \
                         train.init_from=FILE";

/// Train a network as a TOML file says.
///
/// The run folder gets config.toml (the configuration with all defaults), events.jsonl (losses of
/// every step), checkpoints, TensorBoard files, report.html, and at the very end metrics.json.
/// Ctrl-C saves and stops; --resume goes on and ends as if nothing had happened.
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("config", |arg| arg.help(ConfigArgs::config_help("mic-seg"))),
    mut_arg("init_from", |arg| arg.help(INIT_FROM))
)]
#[command(after_help = "Examples:
  mic-seg train --config configs/seg/scenes_mic.toml --out runs/scenes
  mic-seg train --config gta2cs_mic_hrda --out runs/hrda --set data.source.root=/data/gta
  mic-seg train --config my.toml --out runs/try --set train.iterations=500 --set mask.ratio=0.5
  mic-seg train --config my.toml --out runs/no-mask --set mask=
  mic-seg train --out runs/scenes --resume

Exit codes: 0 done, 1 a run that failed, 2 wrong usage or configuration, 3 stopped by a signal and
saved.")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Take the backbone alone from there and a new head, for other classes or another kind of head;
    /// the same as --set train.init_head=false.
    #[arg(long, requires = "init_from")]
    without_head: bool,
    #[command(flatten)]
    run: RunArgs,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    mic_run::cli::init_logging(args.run.verbose);
    let launch = Launch::from_env()?;
    let training = Training::new(&args.run, launch.is_main())?;
    let config = training.configuration(&args.config, |file, sets| {
        Config::from_file(file, &all_sets(sets, args))
    })?;
    let plan = train::plan(&config)?;
    let setup = Setup::new(&config)?;
    let steps = |content: Option<&HashMap<String, Tensor>>, session: Session<'_>| {
        let start = Start {
            resumed: content,
            launch: Some(&launch),
            backend: args.run.backend,
            ..Start::default()
        };
        train::run(&config, &setup, start, session)
    };
    let outcome = training
        .run(&plan, steps, |trained| &trained.outcome)?
        .outcome;
    if !launch.is_main() {
        return Ok(code_of(&outcome));
    }
    if let (Some(last), false) = (
        outcome.progress.evaluations.last(),
        outcome.ending == Ending::Stopped,
    ) {
        let names = config.classes.names();
        print(&Metrics::of(last).table_with(names, &Subset::of(&config)))?;
    }
    Ok(code_of(&outcome))
}

/// What is set on top of the configuration.
fn all_sets(sets: &[String], args: &Args) -> Vec<String> {
    let mut sets = sets.to_vec();
    if args.without_head {
        sets.push("train.init_head=false".into());
    }
    sets
}
