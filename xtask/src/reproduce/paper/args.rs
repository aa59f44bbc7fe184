//! Options of `reproduce` for the paper's runs.

use std::path::PathBuf;

use clap::Args;

use crate::reproduce::command::CommonArgs;

/// Which of the paper's runs, and what to do with them.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "The paper's runs")]
pub struct PaperArgs {
    /// The runs of these experiments, such as 80; --list shows all.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub exp: Vec<String>,
    /// The runs in these tables of the paper, such as 2.
    #[arg(long, value_name = "NUMBER", value_delimiter = ',')]
    pub table: Vec<u32>,
    /// These runs, by their own name or that of their configuration.
    #[arg(long = "run", value_name = "NAME", value_delimiter = ',',
          conflicts_with_all = ["exp", "table"])]
    pub runs: Vec<String>,
    /// Show the runs with their published scores, and end.
    #[arg(long, conflicts_with_all = ["only_eval", "smoke", "resume", "submit", "dry_run"])]
    pub list: bool,
    /// Go on with unfinished runs; those that are not there begin, finished ones are left alone.
    #[arg(long)]
    pub resume: bool,
    /// Go on although a run folder is of another version or configuration.
    #[arg(long, requires = "resume")]
    pub accept_changes: bool,
    /// Measure this checkpoint (a run folder or a weights file) as the run is measured.
    #[arg(long, value_name = "CHECKPOINT",
          conflicts_with_all = ["smoke", "resume", "submit", "dry_run"])]
    pub only_eval: Option<PathBuf>,
    /// Try every stage of the first chosen run for a few iterations: generated files in the layout and
    /// sizes of the real sets, random weights; train, save, resume, measure, predict.
    #[arg(long, conflicts_with_all = ["resume", "submit", "dry_run"])]
    pub smoke: bool,
    /// The miniature, although data and weights of the paper's main run are there.
    #[arg(long)]
    pub miniature: bool,
}

impl CommonArgs {
    /// Options on the command line that only the paper's runs have.
    pub(super) fn paper_options(&self) -> Vec<&'static str> {
        let paper = &self.paper;
        let all = [
            ("--exp", !paper.exp.is_empty()),
            ("--table", !paper.table.is_empty()),
            ("--run", !paper.runs.is_empty()),
            ("--list", paper.list),
            ("--resume", paper.resume),
            ("--only-eval", paper.only_eval.is_some()),
            ("--smoke", paper.smoke),
            (
                "--dry-run without --submit",
                self.dry_run && self.submit.is_none(),
            ),
        ];
        given(all)
    }

    /// Options on the command line that only the miniature has, after those of the task itself.
    pub(super) fn miniature_options(&self, own: &[&'static str]) -> Vec<&'static str> {
        let all = [
            ("--miniature", self.paper.miniature),
            ("--methods", !self.methods.is_empty()),
            ("--controls", self.controls),
            ("--iterations", self.iterations.is_some()),
            ("--warmup", self.warmup.is_some()),
            ("--gate", self.gate),
        ];
        [own.to_vec(), given(all)].concat()
    }
}

fn given<const N: usize>(all: [(&'static str, bool); N]) -> Vec<&'static str> {
    let there = all.into_iter().filter(|(_, there)| *there);
    there.map(|(option, _)| option).collect()
}
