//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use mic_run::runs::cli::RunsArgs;

use crate::bench;
use crate::cuda_toolkit;
use crate::failure::Failure;
use crate::fetch;
use crate::report::runs;
use crate::reproduce::cls::Cls;
use crate::reproduce::command::{self, CommonArgs};
use crate::reproduce::det::Det;
use crate::reproduce::paper::{self, Next, Program, ProgramArgs};
use crate::reproduce::seg::Seg;
use crate::reproduce::seg::benchmark::Benchmark;
use crate::reproduce::seg::study::Study;

/// Chores of the workspace.
///
/// Exit codes: 0 done, 1 failed run, 2 wrong usage or configuration, 3 stopped by a signal and saved.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

// There is one of it in a process.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Subcommand)]
enum Command {
    /// Train the methods of a comparison and report on them, or the paper's own runs.
    Reproduce {
        #[command(subcommand)]
        task: Task,
    },
    Runs(RunsArgs),
    /// Put finished runs into the paper's tables, beside the paper's own figures.
    Report(runs::Args),
    /// Measure our code beside PyTorch's.
    Bench {
        #[command(subcommand)]
        device: BenchDevice,
    },
    /// Fetch pretrained weights, and see which data sets are there.
    Fetch(fetch::Args),
    /// One of the programs, in this one: how a run comes to a process of its own.
    #[command(hide = true, disable_help_flag = true)]
    Program(ProgramArgs),
    /// Make a CUDA toolkit from NVIDIA's wheels on PyPI, and print its environment.
    ///
    /// For building with the feature `cuda` where no CUDA is installed. The lines that are printed
    /// set the environment of a shell: eval "$(cargo xtask cuda-toolkit)".
    CudaToolkit(cuda_toolkit::Args),
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
    /// Classification: source-only, CDAN+MCC, SDAT, SDAT + MIC, in both directions.
    Cls(ClsArgs),
    /// Detection: source-only, SADA, SADA + MIC.
    Det(DetArgs),
}

/// The miniature's domains without --source and --target.
const SCENES: &str = "scenes";

/// Without any option: the paper's main run, if its data and weights are there, else the miniature on
/// built-in scenes, seed 0. --gate asks for source-only <
/// self-training < target-supervised in mIoU, by 2 and 5 points, on every seed.
#[derive(Debug, Args)]
struct SegArgs {
    /// Source domain: scenes or camvid:day.
    #[arg(long, default_value = SCENES)]
    source: String,
    /// Target domain: scenes or camvid:dusk.
    #[arg(long, default_value = SCENES)]
    target: String,
    /// Folder of the data, for camvid.
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,
    /// What is varied.
    #[arg(long, value_enum, default_value_t)]
    study: Study,
    #[command(flatten)]
    common: CommonArgs,
}

impl SegArgs {
    /// Options that only the miniature has, as far as they are not as usual.
    fn own(&self) -> Vec<&'static str> {
        let all = [
            ("--source", self.source != SCENES),
            ("--target", self.target != SCENES),
            ("--data-root", self.data_root.is_some()),
            ("--study", self.study != Study::default()),
        ];
        let given = all.into_iter().filter(|(_, given)| *given);
        given.map(|(option, _)| option).collect()
    }
}

/// Without any option: the paper's main run, if its data and weights are there, else the miniature on
/// built-in handwritten digits (a sample of MNIST and the UCI
/// digits), both directions, seed 0. --gate asks for source-only < SDAT + MIC in accuracy, in the
/// mean over the seeds.
#[derive(Debug, Args)]
struct ClsArgs {
    /// Folder with MNIST and USPS as IDX files, SET-{train,test}-images-idx3-ubyte with
    /// SET-{train,test}-labels-idx1-ubyte, SET being mnist and usps, each plain or with .gz: MNIST to
    /// USPS and USPS to MNIST in place of the built-in digits.
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,
    #[command(flatten)]
    common: CommonArgs,
}

impl ClsArgs {
    /// Options that only the miniature has.
    fn own(&self) -> Vec<&'static str> {
        let given = self.data_root.iter();
        given.map(|_| "--data-root").collect()
    }
}

/// Without any option: the paper's main run, if its data and weights are there, else the miniature on
/// built-in street scenes from clear air to fog, seed 0. --gate asks for source-only < oracle in AP50,
/// by 20 points, on every seed.
#[derive(Debug, Args)]
struct DetArgs {
    #[command(flatten)]
    common: CommonArgs,
}

/// Does what the command line says; gives the exit code where nothing went wrong, or where a program
/// has told what did.
///
/// # Errors
///
/// What went wrong, with the exit code it asks for.
pub fn run(cli: Cli) -> Result<ExitCode, Failure> {
    match cli.command {
        Command::Reproduce { task } => reproduce(task)?,
        Command::Runs(args) => args.print::<Failure>()?,
        Command::Report(args) => runs::run(&args)?,
        Command::Bench { device } => run_bench(device)?,
        // It has said all there is to say.
        Command::Fetch(args) => std::process::exit(fetch::fetch(args)?),
        Command::Program(args) => return Ok(args.run()),
        Command::CudaToolkit(args) => mic_run::cli::print(&cuda_toolkit::make(&args)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn reproduce(task: Task) -> Result<(), Failure> {
    let (program, common, own) = match &task {
        Task::Seg(args) => (Program::Seg, &args.common, args.own()),
        Task::Cls(args) => (Program::Cls, &args.common, args.own()),
        Task::Det(args) => (Program::Det, &args.common, Vec::new()),
    };
    if paper::run(program, common, &own)? == Next::Done {
        return Ok(());
    }
    match task {
        Task::Seg(args) => {
            let benchmark = Benchmark::new(&args.source, &args.target, args.data_root);
            let benchmark = benchmark.map_err(Failure::Usage)?;
            let study = args.study.check(&benchmark).map_err(Failure::Usage)?;
            if args.common.gate && study != Study::Methods {
                let message = "--gate: only --study methods states an order of its methods";
                return Err(Failure::Usage(message.into()));
            }
            let task = Seg {
                benchmark,
                sets: args.common.set.clone(),
                study,
            };
            command::run(task, args.common)
        }
        Task::Cls(args) => {
            let task = Cls::new(args.data_root).map_err(Failure::Usage)?;
            command::run(task, args.common)
        }
        Task::Det(args) => command::run(Det, args.common),
    }
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
            task: Task::Seg(SegArgs { common, .. }),
        } = cli.command
        else {
            panic!("another command was parsed")
        };
        assert_eq!(
            (common.seeds, common.methods),
            (vec![3, 1], vec!["mic".into(), "ratio-0".into()])
        );
        let both = format!("{line} --controls");
        assert!(Cli::try_parse_from(both.split(' ')).is_err());
    }
}
