//! What the training commands of all tasks have in common: which configuration a run has, and what
//! happens around it in its folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;

use super::{Recorders, RunArgs, conclude};
use crate::checkpoint::Progress;
use crate::distributed::Launch;
use crate::folder::{CONFIG, RunFolder};
use crate::signals::StopRequest;
use crate::train::{Outcome, Plan, Session};
use crate::{Error, Result};

/// Which configuration a run has.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigArgs {
    /// The run's TOML file, or the name of a configuration or run in `config list`; with --resume the
    /// one in the run folder is the default.
    #[arg(long, value_name = "FILE|NAME", required_unless_present = "resume")]
    pub config: Option<PathBuf>,
    /// Replace one value of the configuration (an empty value removes the key); may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Start from the weights in this file; the same as --set train.init_from=FILE.
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    pub init_from: Option<PathBuf>,
}

impl ConfigArgs {
    /// The help of `--config` in `program`, which names its list of configurations.
    pub fn config_help(program: &str) -> String {
        format!(
            "The run's TOML file, or the name of a configuration or run in `{program} config list`; \
             with --resume the one in the run folder is the default"
        )
    }

    /// What these options and those of `run` mean as `--set` of the configuration.
    fn sets(&self, run: &RunArgs) -> Vec<String> {
        let mut sets = self.sets.clone();
        sets.extend(run.sets());
        if let Some(file) = &self.init_from {
            let file = toml::Value::String(file.display().to_string());
            sets.push(format!("train.init_from={file}"));
        }
        sets
    }
}

/// A training run in its folder.
pub struct Training<'a> {
    args: &'a RunArgs,
    folder: RunFolder,
    main: bool,
}

impl<'a> Training<'a> {
    /// A run in the folder that `args` name, which is checked but unchanged. Of several processes the
    /// `main` one writes it.
    ///
    /// # Errors
    /// [`Error::Usage`] for a folder that cannot take the run.
    pub fn new(args: &'a RunArgs, main: bool) -> Result<Self> {
        Ok(Self {
            args,
            folder: args.folder(main)?,
            main,
        })
    }

    /// Reads the configuration that `config` gives, or that of the run to go on with. `read` gets the
    /// file or name, and what is set on top of it.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn configuration<C, E>(
        &self,
        config: &ConfigArgs,
        read: impl FnOnce(&Path, &[String]) -> std::result::Result<C, E>,
    ) -> std::result::Result<C, E> {
        let own = self.folder.join(CONFIG);
        let file = config.config.as_deref().unwrap_or(&own);
        read(file, &config.sets(self.args))
    }

    /// Begins the run or goes on with it, keeps its records while `train` works, and writes its
    /// result. `train` gets everything that steps have changed, where the run goes on; `outcome` is
    /// what it reports.
    ///
    /// # Errors
    /// Those of [`RunArgs::resume`], files that cannot be written, and those of `train`.
    pub fn run<T, E: From<Error>>(
        mut self,
        plan: &Plan,
        train: impl FnOnce(Option<&HashMap<String, Tensor>>, Session<'_>) -> std::result::Result<T, E>,
        outcome: impl FnOnce(&T) -> &Outcome,
    ) -> std::result::Result<T, E> {
        let stop = StopRequest::on_signals()
            .map_err(|error| Error::Run(format!("cannot catch signals: {error}")))?;
        if self.main {
            self.folder.begin()?;
        }
        let (content, progress) = match self.args.resume(&self.folder, &plan.config)? {
            Some(resumed) => (Some(resumed.content), resumed.position),
            None => (None, Progress::default()),
        };
        let mut recorders = self.recorders(plan, progress.step)?;
        let session = Session {
            folder: self.main.then_some(&self.folder),
            watchers: recorders.watchers(),
            stop,
            progress,
        };
        let trained = train(content.as_ref(), session)?;
        if self.main {
            conclude(self.args, &self.folder, plan, outcome(&trained))?;
        }
        Ok(trained)
    }

    fn recorders(&self, plan: &Plan, done: u64) -> Result<Recorders> {
        if !self.main {
            return Ok(Recorders::default());
        }
        self.folder.put_text(CONFIG, &plan.config)?;
        Recorders::open(self.args, &self.folder, plan, done)
    }
}

/// Refuses to be one of several processes that a launcher started `program` in.
///
/// # Errors
/// [`Error::Usage`] tells how to start it; and those of [`Launch::from_env`].
pub fn refuse_several_processes(program: &str) -> Result<()> {
    let launch = Launch::from_env()?;
    if launch.world_size > 1 {
        return Err(Error::Usage(format!(
            "{program} trains in one process, and this one was started with {} others; start it \
             without torchrun, mpirun or srun",
            launch.world_size - 1
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        run: RunArgs,
    }

    fn parse(line: &str) -> Program {
        Program::try_parse_from(line.split(' ')).unwrap()
    }

    #[test]
    fn options_count_in_the_order_of_sets_records_and_weights() {
        let line = "p --config a.toml --out b --set seed=1 --skip-bad 2 --init-from c";
        let program = parse(line);
        assert_eq!(
            program.config.sets(&program.run),
            ["seed=1", "data.skip_bad=2", "train.init_from=\"c\""]
        );
    }

    #[test]
    fn only_a_run_that_goes_on_has_a_configuration_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().display();
        let file = |line: &str| {
            let program = parse(&format!("p --out {out} {line}"));
            let training = Training::new(&program.run, true).unwrap();
            let read = |file: &Path, _: &[String]| Ok::<_, Error>(file.to_owned());
            training.configuration(&program.config, read).unwrap()
        };
        assert_eq!(file("--config a.toml"), PathBuf::from("a.toml"));
        std::fs::write(folder.path().join(CONFIG), "seed = 1\n").unwrap();
        assert_eq!(file("--resume"), folder.path().join(CONFIG));
        assert_eq!(file("--resume --config b"), PathBuf::from("b"));
        let without = Program::try_parse_from(["p", "--out", "a"]);
        assert!(without.is_err_and(|error| error.to_string().contains("--config")));
    }
}
