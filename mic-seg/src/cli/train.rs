//! `mic-seg train`.

use std::path::PathBuf;
use std::process::ExitCode;

use mic_run::cli::{Recorders, RunArgs, code_of, conclude, print};
use mic_run::distributed::Launch;
use mic_run::folder::CONFIG;
use mic_run::signals::StopRequest;
use mic_run::train::{Ending, Session};

use crate::config::Config;
use crate::metrics::Metrics;
use crate::subset::Subset;
use crate::train::{self, Setup, Start};
use crate::{Error, Result};

/// Train a network as a TOML file says.
///
/// The run folder gets config.toml (the configuration with all defaults), events.jsonl (losses of
/// every step), checkpoints, TensorBoard files, report.html, and at the very end metrics.json.
/// Ctrl-C saves and stops; --resume goes on and ends as if nothing had happened.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mic-seg train --config configs/seg/scenes_mic.toml --out runs/scenes
  mic-seg train --config gta2cs_mic_hrda --out runs/hrda --set data.source.root=/data/gta
  mic-seg train --config my.toml --out runs/try --set train.iterations=500 --set mask.ratio=0.5
  mic-seg train --config my.toml --out runs/no-mask --set mask=
  mic-seg train --out runs/scenes --resume

Exit codes: 0 done, 1 a run that failed, 2 wrong usage or configuration, 3 stopped by a signal and
saved.")]
pub(super) struct Args {
    /// The run's TOML file, or the name of a configuration or run in `mic-seg config list`; with
    /// --resume the one in the run folder is the default.
    #[arg(long, value_name = "FILE|NAME", required_unless_present = "resume")]
    config: Option<PathBuf>,
    /// Replace one value of the configuration (an empty value removes the key); may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Start from the weights in this file or run folder; the same as --set train.init_from=FILE.
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    init_from: Option<PathBuf>,
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
    let mut folder = args.run.folder(launch.is_main())?;
    let config = configuration(args, &folder.join(CONFIG))?;
    let text = config.to_toml()?;
    let setup = Setup::new(&config)?;
    let stop = StopRequest::on_signals()
        .map_err(|error| Error::Run(format!("cannot catch signals: {error}")))?;
    if launch.is_main() {
        folder.begin()?;
    }
    let (content, progress) = match args.run.resume(&folder, &text)? {
        Some(resumed) => (Some(resumed.content), resumed.position),
        None => Default::default(),
    };
    let start = Start {
        resumed: content.as_ref(),
        launch: Some(&launch),
        backend: args.run.backend,
        ..Start::default()
    };
    if !launch.is_main() {
        let session = Session {
            stop,
            progress,
            ..Session::default()
        };
        let outcome = train::run(&config, &setup, start, session)?.outcome;
        return Ok(code_of(&outcome));
    }
    folder.put_text(CONFIG, &text)?;
    let plan = train::plan(&config)?;
    let mut recorders = Recorders::open(&args.run, &folder, &plan, progress.step)?;
    let session = Session {
        folder: Some(&folder),
        watchers: recorders.watchers(),
        stop,
        progress,
    };
    let outcome = train::run(&config, &setup, start, session)?.outcome;
    conclude(&args.run, &folder, &plan, &outcome)?;
    if let (Some(last), false) = (
        outcome.progress.evaluations.last(),
        outcome.ending == Ending::Stopped,
    ) {
        let names = config.classes.names();
        print(&Metrics::of(last).table_with(names, &Subset::of(&config)))?;
    }
    Ok(code_of(&outcome))
}

/// The configuration of the file, or of the run to go on with.
fn configuration(args: &Args, own: &std::path::Path) -> Result<Config> {
    let mut sets = args.sets.clone();
    sets.extend(args.run.sets());
    if let Some(file) = &args.init_from {
        let file = toml::Value::String(file.display().to_string());
        sets.push(format!("train.init_from={file}"));
        if args.without_head {
            sets.push("train.init_head=false".into());
        }
    }
    Config::from_file(args.config.as_deref().unwrap_or(own), &sets)
}
