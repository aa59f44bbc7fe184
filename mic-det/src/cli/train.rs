//! `mic-det train`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mic_run::checkpoint::Progress;
use mic_run::cli::{Recorders, RunArgs, code_of, conclude, print};
use mic_run::distributed::Launch;
use mic_run::folder::CONFIG;
use mic_run::signals::StopRequest;
use mic_run::train::{Ending, Session};

use crate::config::Config;
use crate::sets::Sets;
use crate::{Error, Result, train};

/// Train a detector as a TOML file says.
///
/// The run folder gets config.toml (the configuration with all defaults and the classes),
/// events.jsonl (losses of every step), checkpoints, TensorBoard files, report.html, and at the very
/// end metrics.json. Ctrl-C saves and stops; --resume goes on and ends as if nothing had happened.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mic-det train --config configs/det/custom_example.toml --out runs/mine
  mic-det train --config my.toml --out runs/try --set train.iterations=500 --set mask.ratio=0.5
  mic-det train --config my.toml --out runs/no-mask --set mask=
  mic-det train --out runs/mine --resume

Exit codes: 0 done, 1 a run that failed, 2 wrong usage or configuration, 3 stopped by a signal and
saved.")]
pub(super) struct Args {
    /// The run's TOML file, or the name of a configuration or run in `mic-det config list`; with
    /// --resume the one in the run folder is the default.
    #[arg(long, value_name = "FILE|NAME", required_unless_present = "resume")]
    config: Option<PathBuf>,
    /// Replace one value of the configuration (an empty value removes the key); may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Start from the weights in this file; the same as --set train.init_from=FILE.
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    init_from: Option<PathBuf>,
    #[command(flatten)]
    run: RunArgs,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    mic_run::cli::init_logging(args.run.verbose);
    refuse_several_processes()?;
    let mut folder = args.run.folder(true)?;
    let config = configuration(args, &folder.join(CONFIG))?;
    let sets = Sets::open(&config)?;
    let config = config.with_classes(sets.source.class_names())?;
    train::check(&config, &sets)?;
    let text = config.to_toml()?;
    folder.begin()?;
    let (content, progress) = match args.run.resume(&folder, &text)? {
        Some(resumed) => (Some(resumed.content), resumed.position),
        None => (None, Progress::default()),
    };
    folder.put_text(CONFIG, &text)?;
    let plan = train::plan(&config)?;
    let mut recorders = Recorders::open(&args.run, &folder, &plan, progress.step)?;
    let stop = StopRequest::on_signals()
        .map_err(|error| Error::Run(format!("cannot catch signals: {error}")))?;
    let session = Session {
        folder: Some(&folder),
        watchers: recorders.watchers(),
        stop,
        progress,
    };
    let trained = train::run(&config, &sets, content.as_ref(), session)?;
    let outcome = &trained.outcome;
    conclude(&args.run, &folder, &plan, outcome)?;
    if let (Some(metrics), true) = (&trained.metrics, outcome.ending != Ending::Stopped) {
        print(&metrics.table())?;
    }
    Ok(code_of(outcome))
}

/// Training proposals of the reference's conventions compete over the whole batch.
fn refuse_several_processes() -> Result<()> {
    let launch = Launch::from_env()?;
    if launch.world_size > 1 {
        return Err(Error::Config(format!(
            "mic-det trains in one process, and this one was started with {} others; start it \
             without torchrun, mpirun or srun",
            launch.world_size - 1
        )));
    }
    Ok(())
}

/// The configuration of the file, or of the run to go on with.
fn configuration(args: &Args, own: &Path) -> Result<Config> {
    let mut sets = args.sets.clone();
    sets.extend(args.run.sets());
    if let Some(file) = &args.init_from {
        let file = toml::Value::String(file.display().to_string());
        sets.push(format!("train.init_from={file}"));
    }
    Config::from_file(args.config.as_deref().unwrap_or(own), &sets)
}
