//! The command line of a reproduction: options that all tasks have, and what they do.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use mic_run::cli::print;

use super::paper::PaperArgs;
use super::plan::{Options, Plan};
use super::results::Results;
use super::run::reproduce;
use super::submit;
use super::task::Task;
use crate::failure::Failure;
use crate::report::{notes, table};

/// Options of every `reproduce` command.
#[derive(Clone, Debug, Args)]
pub struct CommonArgs {
    /// One run of every method a seed; several give mean, spread and paired differences. [default: 0,
    /// or those of the paper's runs]
    #[arg(long, value_delimiter = ',')]
    pub seeds: Vec<u64>,
    /// Also run the controls: MIC with ratio 0 and other variants.
    #[arg(long)]
    pub controls: bool,
    /// Run these methods only, such as source-only,mic.
    #[arg(long, value_delimiter = ',', conflicts_with = "controls")]
    pub methods: Vec<String>,
    /// Iterations of each method in place of the configuration's.
    #[arg(long, value_name = "N")]
    pub iterations: Option<u64>,
    /// Iterations of the shared warm-up in place of the usual ones.
    #[arg(long, value_name = "N")]
    pub warmup: Option<u64>,
    /// Threads that prepare batches; the numbers do not depend on it.
    #[arg(long, value_name = "N")]
    pub loader_threads: Option<usize>,
    /// Override a key of the configuration in every run, such as mask.block=8.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Fail unless the order of the methods that the task states holds.
    #[arg(long)]
    pub gate: bool,
    /// Folder for report.html, results.json and the trained networks [default: runs/TASK-TIME]; of the
    /// paper's runs that of their run folders [default: runs/TASK-paper].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Run each seed as an element of a job array of this cluster.
    #[arg(long, value_enum, value_name = "CLUSTER")]
    pub submit: Option<Cluster>,
    /// What each element asks the cluster for, such as time=12:00:00; may be repeated. Keys: time,
    /// partition, account, gpus, cpus, memory, at-once.
    #[arg(long, value_name = "KEY=VALUE", requires = "submit")]
    pub slurm: Vec<String>,
    /// Print what would be run and what it will take, or with --submit the script, and end.
    #[arg(long)]
    pub dry_run: bool,
    /// The paper's runs.
    #[command(flatten)]
    pub paper: PaperArgs,
}

/// A cluster's batch system.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Cluster {
    /// SLURM.
    Slurm,
}

/// Checks, runs and reports a comparison, or submits it.
///
/// # Errors
///
/// What went wrong, with the exit code it asks for.
pub fn run<T: Task>(task: T, args: CommonArgs) -> Result<(), Failure> {
    let gate = task.gate();
    if args.gate && !gate.applies(&args.methods) {
        return Err(Failure::Usage(gate.needs()));
    }
    let plan = Plan::new(
        task,
        Options {
            seeds: match args.seeds.is_empty() {
                true => vec![0],
                false => args.seeds,
            },
            methods: args.methods,
            controls: args.controls,
            iterations: args.iterations,
            warmup: args.warmup,
            loader_threads: args.loader_threads,
            sets: args.set,
            out: args.out,
        },
    )?;
    if let Some(Cluster::Slurm) = args.submit {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let name = format!("mic-{}", plan.task.name());
        let job = submit::job(&name, &arguments, &plan.seeds, &plan.out, &args.slurm)?;
        let text = if args.dry_run {
            job.script()?
        } else {
            submit::submit(&job, &plan.out)?
        };
        return Ok(print(&text)?);
    }
    let results = reproduce(&plan)?;
    let mut text = summary(&results);
    for file in ["report.html", "results.json"] {
        text += &format!("{}\n", plan.out.join(file).display());
    }
    print(&text)?;
    if args.gate {
        let checked = gate.check(results.main(), &results.pairs);
        checked.map_err(|reason| Failure::Run(anyhow!(reason)))?;
    }
    Ok(())
}

/// The tables with what must be known beside them.
fn summary(results: &Results) -> String {
    let mut text = format!("{}\n{}\n\n", results.what, notes::scope(results));
    for pair in &results.pairs {
        if results.several() {
            text += &match results.data() {
                Some(_) => format!("{}\n\n", pair.label),
                None => format!("{}: {}\n\n", pair.label, pair.data),
            };
        }
        text += &table::scores(results, pair).transposed().to_text();
        text.push('\n');
    }
    for line in notes::reading(results) {
        text += &format!("{line}\n");
    }
    for pair in &results.pairs {
        if results.seeds.len() > 1 && !pair.comparisons.is_empty() {
            let title = match pair.label.as_str() {
                "" => String::new(),
                label => format!("{label}: "),
            };
            text += &format!("\n{title}Paired differences, in points of per cent:\n");
            text += &table::differences(&pair.comparisons, &results.seeds).to_text();
        }
    }
    text + "\n" + &results.notes.paper_scale + "\n\n"
}
