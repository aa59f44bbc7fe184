//! The command line.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::{Args, Parser, Subcommand};

use crate::bench;
use crate::failure::Failure;
use crate::report::{notes, table};
use crate::reproduce::benchmark::Benchmark;
use crate::reproduce::gate;
use crate::reproduce::results::Results;
use crate::reproduce::{Options, Plan, reproduce};

/// Chores of the workspace.
///
/// Exit codes: 0 done, 1 failed run, 2 wrong usage or configuration.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train the methods of a comparison and report on them.
    Reproduce {
        #[command(subcommand)]
        task: Task,
    },
    /// Measure our code beside PyTorch's.
    Bench {
        #[command(subcommand)]
        device: BenchDevice,
    },
}

#[derive(Debug, Subcommand)]
enum BenchDevice {
    /// Single ops on the processor, forward and backward, alternating with PyTorch.
    Cpu(BenchArgs),
}

#[derive(Debug, Args)]
struct BenchArgs {
    /// Measure only the cases whose name contains this.
    filter: Option<String>,
    /// Threads of both sides.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Measured repetitions of every case on each side.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: u32,
    /// Python interpreter that has torch and numpy; without one only our side is measured.
    #[arg(long, default_value = "python3")]
    python: String,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Segmentation: source-only, self-training, self-training + MIC, target-supervised.
    Seg(SegArgs),
}

/// Without any option: the miniature on built-in scenes, seed 0.
#[derive(Debug, Args)]
struct SegArgs {
    /// One run of every method a seed; several give mean, spread and paired differences.
    #[arg(long, value_delimiter = ',', default_value = "0")]
    seeds: Vec<u64>,
    /// Also run MIC with ratio 0 and with its other mask modes.
    #[arg(long)]
    controls: bool,
    /// Run these methods only, such as self-training,mic.
    #[arg(long, value_delimiter = ',', conflicts_with = "controls")]
    methods: Vec<String>,
    /// Source domain: scenes or camvid:day.
    #[arg(long, default_value = "scenes")]
    source: String,
    /// Target domain: scenes or camvid:dusk.
    #[arg(long, default_value = "scenes")]
    target: String,
    /// Folder of the data, for camvid.
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,
    /// Iterations of each method in place of the configuration's.
    #[arg(long, value_name = "N")]
    iterations: Option<u64>,
    /// Iterations of the shared warm-up in place of the usual ones.
    #[arg(long, value_name = "N")]
    warmup: Option<u64>,
    /// Threads that prepare batches; the numbers do not depend on it.
    #[arg(long, value_name = "N")]
    loader_threads: Option<usize>,
    /// Override a key of the configuration in every run, such as mask.block=8.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Fail unless source-only < self-training < target-supervised holds in mIoU, by 2 and 5
    /// points, on every seed.
    #[arg(long)]
    gate: bool,
    /// Folder for report.html, results.json and the trained networks [default: runs/seg-<time>].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Does what the command line says.
///
/// # Errors
///
/// What went wrong, with the exit code it asks for.
pub fn run(cli: Cli) -> Result<(), Failure> {
    let args = match cli.command {
        Command::Reproduce {
            task: Task::Seg(args),
        } => args,
        Command::Bench {
            device: BenchDevice::Cpu(args),
        } => {
            let options = bench::Options {
                filter: args.filter,
                threads: args.threads.max(1),
                repetitions: args.repetitions as usize,
                python: args.python,
            };
            return Ok(bench::bench(&options, &mut std::io::stdout().lock())?);
        }
    };
    let benchmark = Benchmark::new(&args.source, &args.target, args.data_root);
    if args.gate && !gate::applies(&args.methods) {
        return Err(Failure::Usage(gate::NEEDS.into()));
    }
    let gated = args.gate;
    let plan = Plan::new(Options {
        benchmark: benchmark.map_err(Failure::Usage)?,
        seeds: args.seeds,
        methods: args.methods,
        controls: args.controls,
        iterations: args.iterations,
        warmup: args.warmup,
        loader_threads: args.loader_threads,
        sets: args.set,
        out: args.out,
    })?;
    let results = reproduce(&plan)?;
    let mut text = summary(&results);
    for file in ["report.html", "results.json"] {
        text += &format!("{}\n", plan.out.join(file).display());
    }
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("writing the table to the standard output")?;
    if gated {
        gate::check(&results.methods).map_err(|reason| Failure::Run(anyhow!(reason)))?;
    }
    Ok(())
}

/// The table with what must be known beside it.
fn summary(results: &Results) -> String {
    let mut text = format!("{}\n{}\n\n", results.what, notes::scope(results));
    text += &table::scores(results).transposed().to_text();
    text.push('\n');
    for line in notes::reading(results) {
        text += &format!("{line}\n");
    }
    if results.seeds.len() > 1 && !results.comparisons.is_empty() {
        text += "\nPaired differences, in points of per cent:\n";
        text += &table::differences(&results.comparisons, &results.seeds).to_text();
    }
    text + "\n" + &notes::paper_scale() + "\n\n"
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn lists_are_split_at_commas() {
        let line = "xtask reproduce seg --seeds 3,1 --methods mic,ratio-0";
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Command::Reproduce {
            task: Task::Seg(args),
        } = cli.command
        else {
            panic!("another command was parsed")
        };
        assert_eq!(
            (args.seeds, args.methods),
            (vec![3, 1], vec!["mic".into(), "ratio-0".into()])
        );
        let both = format!("{line} --controls");
        assert!(Cli::try_parse_from(both.split(' ')).is_err());
    }
}
