//! What a reproduction will run: checked before the first iteration.

use std::path::PathBuf;

use super::method::{self, Method};
use super::provenance::folder_name;
use super::task::{Pair, Task};
use crate::failure::Failure;

/// What the command line asks for.
#[derive(Clone, Debug, Default)]
pub struct Options {
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
pub struct Plan<T> {
    /// Data and methods.
    pub task: T,
    /// Seeds, each once.
    pub seeds: Vec<u64>,
    /// The pairs of domains.
    pub pairs: Vec<Pair>,
    /// The shared start, if there is one.
    pub warmup: Option<Method>,
    /// The methods.
    pub methods: Vec<Method>,
    /// Folder of the results.
    pub out: PathBuf,
}

impl<T: Task> Plan<T> {
    /// Checks methods, seeds, every configuration and every set of images.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] with what is wrong and what is allowed.
    pub fn new(task: T, options: Options) -> Result<Self, Failure> {
        let shared = shared_overrides(&options);
        let pairs = task.pairs();
        if let Some(first) = pairs.first() {
            // What is wrong with a shared override is told before anything else.
            task.config(&[first.overrides.clone(), shared.clone()].concat())?;
        }
        let chosen = method::select(task.methods(), &options.methods, options.controls);
        let mut methods = chosen.map_err(Failure::Usage)?;
        let mut warmup = task.warmup();
        for method in methods.iter_mut().chain(&mut warmup) {
            method.overrides.splice(0..0, shared.iter().cloned());
        }
        match (&mut warmup, options.warmup) {
            (Some(warmup), Some(n)) => warmup.overrides.push(format!("train.iterations={n}")),
            (None, Some(_)) => {
                return Err(Failure::Usage(
                    "--warmup: this comparison has no shared warm-up".into(),
                ));
            }
            _ => {}
        }
        let plan = Self {
            seeds: seeds(&options.seeds)?,
            out: folder(task.name(), options.out)?,
            pairs,
            warmup,
            methods,
            task,
        };
        for pair in &plan.pairs {
            for method in plan.methods.iter().chain(&plan.warmup) {
                plan.task
                    .check(&plan.config(pair, method, plan.seeds[0])?)?;
            }
        }
        Ok(plan)
    }

    /// Overrides of the configuration file that make a method on a pair, without the seed.
    pub fn overrides(&self, pair: &Pair, method: &Method) -> Vec<String> {
        [pair.overrides.clone(), method.overrides.clone()].concat()
    }

    /// The configuration of one run.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] names the key, what was found and what is allowed.
    pub fn config(&self, pair: &Pair, method: &Method, seed: u64) -> Result<T::Config, Failure> {
        let mut sets = self.overrides(pair, method);
        sets.push(format!("seed={seed}"));
        self.task.config(&sets)
    }

    /// Where the network of a run goes.
    pub fn checkpoint(&self, pair: &Pair, method: &Method, seed: u64) -> PathBuf {
        let pair = match pair.key.as_str() {
            "" => String::new(),
            key => format!("{key}-"),
        };
        self.out
            .join(format!("{pair}{}-s{seed}.safetensors", method.key))
    }
}

fn shared_overrides(options: &Options) -> Vec<String> {
    let mut shared = Vec::new();
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

fn folder(task: &str, given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let out = given.unwrap_or_else(|| PathBuf::from("runs").join(folder_name(task)));
    if out.join("results.json").exists() {
        return Err(Failure::Usage(format!(
            "--out {}: it holds the results of another run; name another folder, or move them away",
            out.display()
        )));
    }
    Ok(out)
}
