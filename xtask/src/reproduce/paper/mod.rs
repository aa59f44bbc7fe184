//! The paper's own runs: which there are, what they need, and training them one after another.
//!
//! `select` chooses among the runs of a program's catalogue, `list` and `plan` tell about them,
//! `needs` looks for their data and weights, `queue` trains them, each in a process of its own,
//! `eval` measures a checkpoint, and `smoke` tries a real configuration on generated files.

mod args;
mod child;
mod estimate;
mod eval;
mod folder;
mod layout;
mod list;
mod needs;
mod plan;
mod program;
mod published;
mod queue;
mod room;
mod select;
mod smoke;
mod submit;

pub use args::PaperArgs;
pub(crate) use needs::weights_name;
pub use program::{Program, ProgramArgs};

use mic_run::cli::{note, print};

use super::command::{Cluster, CommonArgs};
use crate::failure::Failure;
use select::{Chosen, PaperRun, choose};

/// What is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Done,
    /// The miniature.
    Miniature,
}

/// Does what the command line asks for of the paper's runs. `own` are the options of the task's
/// miniature that are on the command line.
///
/// # Errors
/// What went wrong, with the exit code it asks for.
pub fn run(program: Program, args: &CommonArgs, own: &[&'static str]) -> Result<Next, Failure> {
    let (paper, miniature) = (args.paper_options(), args.miniature_options(own));
    if let (Some(paper), Some(miniature)) = (paper.first(), miniature.first()) {
        return Err(Failure::Usage(format!(
            "{paper} is for the paper's runs and {miniature} for the miniature; leave one of them out"
        )));
    }
    if paper.is_empty() {
        let plain = miniature.is_empty() && args.set.is_empty() && args.submit.is_none();
        return if plain {
            main_run_or_miniature(program, args)
        } else {
            Ok(Next::Miniature)
        };
    }
    let chosen = choose(program, args)?;
    let paper = &args.paper;
    if paper.list {
        print(&list::text(&chosen))?;
    } else if let Some(checkpoint) = &paper.only_eval {
        eval::run(&chosen, checkpoint)?;
    } else if paper.smoke {
        smoke::run(&chosen)?;
    } else if let Some(Cluster::Slurm) = args.submit {
        print(&submit::run(&chosen, args)?)?;
    } else if args.dry_run {
        print(&plan::text(&chosen))?;
    } else {
        queue::run(&chosen)?;
    }
    Ok(Next::Done)
}

/// Without any option: the paper's main run where its data and weights are there.
fn main_run_or_miniature(program: Program, args: &CommonArgs) -> Result<Next, Failure> {
    let chosen = choose(program, args)?;
    let missing = needs::missing_for(&chosen);
    let name = &chosen.runs[0].configuration.file;
    if missing.is_empty() {
        note(&format!(
            "The paper's main run, {name}: its data and weights are here. --miniature runs the \
             miniature instead."
        ));
        queue::run(&chosen)?;
        return Ok(Next::Done);
    }
    note(&format!(
        "This is the miniature, not the paper's main run ({name}), for which there is no\n{}",
        needs::lines(&missing)
    ));
    Ok(Next::Miniature)
}

/// The main run is the first of the catalogue.
impl Chosen {
    fn only(&self) -> &PaperRun {
        // A choice without a run is an error.
        &self.runs[0]
    }
}
