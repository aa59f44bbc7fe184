//! What a reproduction will run: checked before the first iteration.

use std::path::PathBuf;

use mic_seg::config::Config;
use mic_seg::train::Setup;

use super::benchmark::Benchmark;
use super::methods::{self, Method};
use super::provenance::folder_name;
use crate::failure::Failure;

/// What the command line asks for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data.
    pub benchmark: Benchmark,
    /// One run of every method a seed.
    pub seeds: Vec<u64>,
    /// Keys of the methods to run; empty for the usual ones.
    pub methods: Vec<String>,
    /// Whether the usual methods include the controls.
    pub controls: bool,
    /// Iterations of each method in place of the file's.
    pub iterations: Option<u64>,
    /// Iterations of the warm-up in place of the usual ones.
    pub warmup: Option<u64>,
    /// Threads that prepare batches in place of the file's.
    pub loader_threads: Option<usize>,
    /// Further overrides of every run.
    pub sets: Vec<String>,
    /// Folder of the results.
    pub out: Option<PathBuf>,
}

/// A checked reproduction.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The data.
    pub benchmark: Benchmark,
    /// Seeds, each once.
    pub seeds: Vec<u64>,
    /// The shared start.
    pub warmup: Method,
    /// The methods.
    pub methods: Vec<Method>,
    /// Folder of the results.
    pub out: PathBuf,
}

impl Plan {
    /// Checks methods, seeds, every configuration and every set of images.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] with what is wrong and what is allowed.
    pub fn new(options: Options) -> Result<Self, Failure> {
        let benchmark = options.benchmark.clone();
        let (file, text) = benchmark.config();
        let shared = shared_overrides(&options);
        let base = Config::from_toml_str(text, file, &shared).map_err(failure)?;
        let mode = base.raw.mask.map_or(String::new(), |mask| mask.mode);
        let chosen = methods::select(&benchmark, &options.methods, options.controls, &mode);
        let mut methods = chosen.map_err(Failure::Usage)?;
        let mut warmup = methods::warmup();
        for method in methods.iter_mut().chain([&mut warmup]) {
            method.overrides.splice(0..0, shared.iter().cloned());
        }
        warmup
            .overrides
            .extend(options.warmup.map(|n| format!("train.iterations={n}")));
        let plan = Self {
            seeds: seeds(&options.seeds)?,
            out: folder(options.out)?,
            benchmark,
            warmup,
            methods,
        };
        for method in plan.methods.iter().chain([&plan.warmup]) {
            Setup::new(&plan.config(method, plan.seeds[0])?).map_err(failure)?;
        }
        Ok(plan)
    }

    /// The configuration of one run.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] names the key, what was found and what is allowed.
    pub fn config(&self, method: &Method, seed: u64) -> Result<Config, Failure> {
        let (file, text) = self.benchmark.config();
        let mut sets = method.overrides.clone();
        sets.push(format!("seed={seed}"));
        Config::from_toml_str(text, file, &sets).map_err(failure)
    }
}

/// The failure that an error of the task crate amounts to.
pub(super) fn failure(error: mic_seg::Error) -> Failure {
    match error {
        mic_seg::Error::Config(message) => Failure::Usage(message),
        other => Failure::Run(other.into()),
    }
}

fn shared_overrides(options: &Options) -> Vec<String> {
    let mut shared = options.benchmark.overrides();
    if let Some(iterations) = options.iterations {
        shared.push(format!("train.iterations={iterations}"));
        // As many points on the curves as the file's length gives.
        shared.push(format!("train.eval_every={}", (iterations / 5).max(1)));
    }
    shared.extend(
        options
            .loader_threads
            .map(|n| format!("data.loader_threads={n}")),
    );
    shared.extend(options.sets.iter().cloned());
    shared
}

fn seeds(given: &[u64]) -> Result<Vec<u64>, Failure> {
    let mut seeds = given.to_vec();
    seeds.sort_unstable();
    seeds.dedup();
    match seeds.len() {
        0 => Err(Failure::Usage(
            "--seeds: expected at least one, such as 0,1,2".into(),
        )),
        n if n < given.len() => Err(Failure::Usage(format!(
            "--seeds {given:?}: expected every seed once, as the same seed gives the same numbers"
        ))),
        _ => Ok(given.to_vec()),
    }
}

fn folder(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let out = given.unwrap_or_else(|| PathBuf::from("runs").join(folder_name("seg")));
    if out.join("results.json").exists() {
        return Err(Failure::Usage(format!(
            "--out {}: it holds the results of another run; name another folder, or move them away",
            out.display()
        )));
    }
    Ok(out)
}
