//! The command line.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::{Args, Parser, Subcommand};
use mic_run::cli::print;
use mic_run::runs::cli::RunsCommand;

use crate::bench;
use crate::failure::Failure;
use crate::fetch;
use crate::report::{notes, table};
use crate::reproduce::benchmark::Benchmark;
use crate::reproduce::gate;
use crate::reproduce::results::Results;
use crate::reproduce::{Options, Plan, reproduce, submit};

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
    /// Look at runs.
    Runs {
        #[command(subcommand)]
        command: RunsCommand,
    },
    /// Measure our code beside PyTorch's.
    Bench {
        #[command(subcommand)]
        device: BenchDevice,
    },
    /// Fetch pretrained weights, and see which data sets are there.
    Fetch(fetch::Args),
}

#[derive(Debug, Subcommand)]
enum BenchDevice {
    /// On the processor: single ops, training steps of whole networks and their peak memory.
    ///
    /// Both sides compute the same in turn: same weights, inputs, optimiser and number of threads.
    /// What they compute is compared first. Without a Python that has PyTorch our side is measured
    /// alone. The exit code is 1 if the sides disagree.
    Cpu(BenchArgs),
    /// Images a second of the training pipelines beside PyTorch's DataLoader.
    ///
    /// Both sides read the same generated files in turn, with as many workers. What they make of
    /// one image is compared first. Without a Python that has PyTorch our side is measured alone.
    Data(DataArgs),
    /// Take the first batch of a set and print seconds and memory as JSON.
    #[command(hide = true)]
    DataStart(StartArgs),
    /// Train a network for a few steps and print the memory of this process as JSON.
    #[command(hide = true)]
    CpuMemory(MemoryArgs),
}

#[derive(Debug, Args)]
struct BenchArgs {
    /// Measure only what has this in its name, such as conv, "linear 8x197" or mit-b5.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Measure single ops, forward and backward; without --ops, --networks and --memory all three.
    #[arg(long)]
    ops: bool,
    /// Measure training steps of whole networks.
    #[arg(long)]
    networks: bool,
    /// Measure the peak memory of training networks, each in a process of its own.
    #[arg(long)]
    memory: bool,
    /// Threads of both sides [default: one for each processor].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,
    /// Measured repetitions of everything on each side [default: 30 of an op, 7 of a step].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: Option<u32>,
    /// Python interpreter that has torch, numpy, torchvision and timm.
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: String,
    /// Also write the tables to this file.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Sizes that take no time, to try the command and to compare what both sides compute.
    #[arg(long)]
    tiny: bool,
}

impl BenchArgs {
    fn options(self) -> bench::Options {
        let all = !(self.ops || self.networks || self.memory);
        bench::Options {
            filter: self.filter,
            ops: self.ops || all,
            networks: self.networks || all,
            memory: self.memory || all,
            threads: self.threads.map_or_else(processors, |n| n as usize),
            repetitions: self.repetitions.map(|n| n as usize),
            python: self.python,
            markdown: self.markdown,
            tiny: self.tiny,
        }
    }
}

#[derive(Debug, Args)]
struct DataArgs {
    /// Measure only pipelines with this in their name, such as visda.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Workers of both sides [default: one for each processor].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,
    /// Measured turns of each side [default: 7].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: Option<u32>,
    /// Images of the sets whose first batch is timed; 0 leaves that out.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    large: usize,
    /// Python interpreter that has torch, torchvision, pillow and opencv-python-headless.
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: String,
    /// Also write the tables to this file.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Sizes that take no time, to try the command.
    #[arg(long)]
    tiny: bool,
}

impl DataArgs {
    fn options(self) -> bench::data::Options {
        bench::data::Options {
            filter: self.filter,
            threads: self.threads.map_or_else(processors, |n| n as usize),
            repetitions: self.repetitions.map(|n| n as usize),
            large: self.large,
            python: self.python,
            markdown: self.markdown,
            tiny: self.tiny,
        }
    }
}

#[derive(Debug, Args)]
struct StartArgs {
    #[arg(long)]
    images: PathBuf,
    #[arg(long)]
    labels: Option<PathBuf>,
    #[arg(long)]
    list: Option<PathBuf>,
    #[arg(long)]
    threads: usize,
    #[arg(long)]
    tiny: bool,
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[derive(Debug, Args)]
struct MemoryArgs {
    #[arg(long)]
    network: String,
    #[arg(long)]
    threads: usize,
    #[arg(long)]
    recompute: bool,
    #[arg(long)]
    tiny: bool,
}

fn run_bench(device: BenchDevice) -> anyhow::Result<()> {
    let out = &mut std::io::stdout().lock();
    match device {
        BenchDevice::Cpu(args) => {
            let options = args.options();
            match bench::again_with_threads(options.threads)? {
                // It has said all there is to say.
                Some(code) => std::process::exit(code),
                None => bench::bench(&options, out),
            }
        }
        BenchDevice::Data(args) => bench::data::bench(&args.options(), out),
        BenchDevice::DataStart(args) => {
            let StartArgs {
                images,
                labels,
                list,
                ..
            } = args;
            bench::data::start(images, labels, list, args.threads, args.tiny, out)
        }
        BenchDevice::CpuMemory(args) => {
            bench::memory(&args.network, args.recompute, args.threads, args.tiny, out)
        }
    }
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
    /// Run each seed as an element of a job array of this cluster.
    #[arg(long, value_enum, value_name = "CLUSTER")]
    submit: Option<Cluster>,
    /// What each element asks the cluster for, such as time=12:00:00; may be repeated. Keys: time,
    /// partition, account, gpus, cpus, memory, at-once.
    #[arg(long, value_name = "KEY=VALUE", requires = "submit")]
    slurm: Vec<String>,
    /// Print the script instead of submitting it.
    #[arg(long, requires = "submit")]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Cluster {
    Slurm,
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
        Command::Runs { command } => {
            return Ok(print(&command.run()?)?);
        }
        Command::Bench { device } => return Ok(run_bench(device)?),
        // It has said all there is to say.
        Command::Fetch(args) => std::process::exit(fetch::fetch(args)?),
    };
    let benchmark = Benchmark::new(&args.source, &args.target, args.data_root);
    if args.gate && !gate::applies(&args.methods) {
        return Err(Failure::Usage(gate::NEEDS.into()));
    }
    let gated = args.gate;
    let (submitted, resources, dry_run) = (args.submit, args.slurm, args.dry_run);
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
    if let Some(Cluster::Slurm) = submitted {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let job = submit::job(&arguments, &plan.seeds, &plan.out, &resources)?;
        let text = if dry_run {
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
