//! Several processes take the same steps as one with the whole batch.
//!
//! The processes are this very program, started as its test `one_rank`.

// Helpers outside #[test] functions.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use candle_core::{DType, Device, Result, Tensor};
use mic_nn::autograd::backward;
use mic_nn::init::Init;
use mic_nn::layers::{Conv2d, Conv2dConfig, Linear};
use mic_nn::ops;
use mic_nn::optim::{Grads, GroupRules, NonFinite, Optimizer, Sgd, SgdConfig};
use mic_nn::params::Store;
use mic_run::distributed::{
    Backend, Communicator, Launch, average, broadcast_store, connect, mean, same_everywhere, shard,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

const STEPS: u64 = 6;
/// Small enough that the network needs several buckets.
const BUCKET_BYTES: usize = 600;

/// A convolution and two linear layers, one of which only every second image goes through.
struct Network {
    conv: Conv2d,
    hidden: Linear,
    sometimes: Linear,
    out: Linear,
}

impl Network {
    fn new(store: &Store) -> Result<Self> {
        let root = store.root();
        let conv = Conv2dConfig {
            bias: Some(Init::Const(0.1)),
            ..Conv2dConfig::same(3, Init::torch_default(18))
        };
        let linear = |name: &str, i, o| Linear::torch_default(&root.sub(name), i, o);
        let network = Self {
            conv: Conv2d::new(&root.sub("conv"), 2, 4, &conv)?,
            hidden: linear("hidden", 4 * 25, 16)?,
            sometimes: linear("sometimes", 16, 16)?,
            out: linear("out", 16, 3)?,
        };
        // Reached by no loss.
        linear("never", 2, 2)?;
        Ok(network)
    }

    /// The squared error of one image, (1, 2, 5, 5).
    fn loss(&self, draw: u64) -> Result<Tensor> {
        let value = |i: u64| (((draw * 577 + i * 131) % 97) as f32 / 48.0) - 1.0;
        let image = Tensor::from_iter((0..50).map(value), &Device::Cpu)?.reshape((1, 2, 5, 5))?;
        let label = Tensor::from_iter((50..53).map(value), &Device::Cpu)?.reshape((1, 3))?;
        let x = ops::relu(&self.conv.forward(&image)?)?.flatten_from(1)?;
        let mut x = ops::relu(&self.hidden.forward(&x)?)?;
        if draw.is_multiple_of(2) {
            x = (self.sometimes.forward(&x)? + x)?;
        }
        (self.out.forward(&x)? - label)?.sqr()?.sum_all()
    }
}

/// What a rank has after its last step.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Outcome {
    losses: Vec<f64>,
    norms: Vec<f64>,
    weights: Vec<(String, Vec<f32>)>,
    untouched: Vec<String>,
}

/// Trains with a batch of `batch` images, of which this rank sees its share.
fn train(communicator: &mut dyn Communicator, batch: u64, dies: bool) -> mic_run::Result<Outcome> {
    let (rank, ranks) = (communicator.rank(), communicator.world_size());
    // Each rank draws other weights, which rank 0's replace.
    let own = vec![7; rank];
    let all = communicator.all_gather(&own)?;
    assert!(all.iter().enumerate().all(|(i, v)| *v == vec![7; i]));
    let rng = ChaCha8Rng::seed_from_u64(rank as u64);
    let store = Store::trainable(rng, DType::F32, &Device::Cpu);
    let network = Network::new(&store)?;
    same_everywhere(communicator, "the batch size", batch.to_string().as_bytes())?;
    broadcast_store(communicator, "the student", &store)?;
    let config = SgdConfig {
        momentum: 0.9,
        nesterov: false,
    };
    let mut optimizer = Sgd::new(&store.vars(), &GroupRules::uniform(0.02, 1e-3), config);
    let mut grads = Grads::new(&store.vars());
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for step in 0..STEPS {
        if dies && rank == 1 && step == 2 {
            eprintln!("rank 1 dies");
            std::process::exit(9);
        }
        grads.clear();
        let share = shard(step * batch..(step + 1) * batch, rank, ranks)?;
        let images = (share.end - share.start) as f64;
        let each = share
            .map(|draw| network.loss(draw))
            .collect::<Result<Vec<_>>>()?;
        let loss = (Tensor::stack(&each, 0)?.sum_all()? / images)?;
        grads.accumulate(&backward(&loss)?)?;
        average(&mut grads, communicator, BUCKET_BYTES)?;
        let mut loss = [f64::from(loss.to_scalar::<f32>()?)];
        mean(communicator, &mut loss)?;
        losses.push(loss[0]);
        assert!(!communicator.any(!loss[0].is_finite())?);
        norms.push(grads.clip_global_norm(1.0, NonFinite::Error)?);
        optimizer.step(&grads, &|base| base)?;
    }
    let values = |(name, tensor): (String, Tensor)| {
        mic_run::Result::Ok((name, tensor.flatten_all()?.to_vec1::<f32>()?))
    };
    let absent = grads.iter().filter(|(_, _, gradient)| gradient.is_none());
    Ok(Outcome {
        losses,
        norms,
        untouched: absent.map(|(name, _, _)| name.to_owned()).collect(),
        weights: store
            .params()
            .into_iter()
            .map(values)
            .collect::<mic_run::Result<_>>()?,
    })
}

const OUT: &str = "MIC_TEST_OUT";
const BACKEND: &str = "MIC_TEST_BACKEND";
const DIES: &str = "MIC_TEST_DIES";

#[test]
#[ignore = "started by the other tests, as one of several processes"]
fn one_rank() {
    let out = std::env::var(OUT).expect("started by another test");
    let backend = match std::env::var(BACKEND).as_deref() {
        Ok("mpi") => Backend::Mpi,
        _ => Backend::Tcp,
    };
    let launch = Launch::from_env().unwrap();
    let mut communicator = connect(&launch, backend, &Device::Cpu).unwrap();
    match train(&mut *communicator, 2, std::env::var(DIES).is_ok()) {
        Ok(outcome) => {
            let path = Path::new(&out).join(format!("rank-{}.json", launch.rank));
            std::fs::write(path, serde_json::to_vec(&outcome).unwrap()).unwrap();
            communicator.finish().unwrap();
        }
        Err(error) => {
            eprintln!("rank {}: {error}", launch.rank);
            communicator.abort(1);
        }
    }
}

/// The command line of this program as `one_rank`, without what a launcher around the tests says.
fn worker(launcher: &[&str], out: &Path) -> Command {
    let program = std::env::current_exe().unwrap();
    let program = program.to_str().unwrap();
    let test = [program, "--ignored", "--exact", "one_rank", "--nocapture"];
    let words = [launcher, &test].concat();
    let mut command = Command::new(words[0]);
    let foreign = |name: &str| {
        let sets = [
            "OMPI_",
            "PMI",
            "SLURM_",
            "TORCHELASTIC_",
            "MASTER_",
            "MIC_T",
        ];
        ["RANK", "WORLD_SIZE", "LOCAL_RANK"].contains(&name)
            || sets.iter().any(|set| name.starts_with(set))
    };
    for (name, _) in std::env::vars() {
        if foreign(&name) {
            command.env_remove(&name);
        }
    }
    command
        .args(&words[1..])
        .env(OUT, out)
        .env("RAYON_NUM_THREADS", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn free_port() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port().to_string()
}

fn over_tcp(ranks: usize, out: &Path, dies: bool) -> Vec<Output> {
    let port = free_port();
    let start = |rank: usize| -> Child {
        let mut command = worker(&[], out);
        command
            .env("RANK", rank.to_string())
            .env("LOCAL_RANK", rank.to_string())
            .env("WORLD_SIZE", ranks.to_string())
            .env("MASTER_ADDR", "127.0.0.1")
            .env("MASTER_PORT", &port)
            .env("MIC_TIMEOUT_SECONDS", "60");
        if dies {
            command.env(DIES, "1");
        }
        command.spawn().unwrap()
    };
    let children: Vec<Child> = (0..ranks).map(start).collect();
    let end = |child: Child| child.wait_with_output().unwrap();
    children.into_iter().map(end).collect()
}

fn outcome(folder: &Path, rank: usize) -> Outcome {
    let bytes = std::fs::read(folder.join(format!("rank-{rank}.json"))).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn check_succeeded(output: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
}

/// Two ranks are the same to the bit, and equal one process with the whole batch to rounding.
fn check_equal(folder: &Path) {
    let (zero, one) = (outcome(folder, 0), outcome(folder, 1));
    assert_eq!(zero, one);
    let single = train(&mut mic_run::distributed::Single, 2, false).unwrap();
    assert_eq!(zero.untouched, ["never.weight", "never.bias"]);
    assert_eq!(zero.untouched, single.untouched);
    let close = |a: f64, b: f64| (a - b).abs() <= 2e-6 * (1.0 + a.abs());
    let losses = zero.losses.iter().zip(&single.losses);
    let norms = zero.norms.iter().zip(&single.norms);
    for (a, b) in losses.chain(norms) {
        assert!(close(*a, *b), "{zero:?}\n{single:?}");
    }
    // It has trained: the steps changed the loss by far more than that.
    assert!((single.losses[0] - single.losses[STEPS as usize - 1]).abs() > 0.01);
    assert_eq!(zero.weights.len(), 10);
    for ((name, a), (_, b)) in zero.weights.iter().zip(&single.weights) {
        assert_eq!(a.len(), b.len());
        let all_close = a
            .iter()
            .zip(b)
            .all(|(a, b)| close((*a).into(), (*b).into()));
        assert!(all_close, "{name}: {a:?} {b:?}");
    }
}

#[test]
fn two_processes_over_tcp_equal_one() {
    let folder = tempfile::tempdir().unwrap();
    for output in over_tcp(2, folder.path(), false) {
        check_succeeded(&output);
    }
    check_equal(folder.path());
}

#[test]
fn a_process_that_dies_ends_the_others_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let outputs = over_tcp(2, folder.path(), true);
    assert_eq!(outputs[1].status.code(), Some(9));
    assert_eq!(outputs[0].status.code(), Some(1));
    let message = String::from_utf8_lossy(&outputs[0].stderr);
    assert!(message.contains("rank 0: process 1 has ended"), "{message}");
}

#[cfg(feature = "mpi")]
mod mpi {
    use super::*;

    const MPIRUN: &str = "mpirun";

    fn over_mpi(out: &Path, dies: bool) -> Option<Output> {
        if Command::new(MPIRUN).arg("--version").output().is_err() {
            eprintln!("{MPIRUN} is not on this machine: nothing was tested");
            return None;
        }
        let launcher = [MPIRUN, "-n", "2", "--allow-run-as-root", "--oversubscribe"];
        let mut command = worker(&launcher, out);
        command.env(BACKEND, "mpi");
        if dies {
            command.env(DIES, "1");
        }
        Some(command.output().unwrap())
    }

    #[test]
    fn two_processes_over_mpi_equal_one() {
        let folder = tempfile::tempdir().unwrap();
        let Some(output) = over_mpi(folder.path(), false) else {
            return;
        };
        check_succeeded(&output);
        check_equal(folder.path());
    }

    #[test]
    fn mpirun_ends_the_others_when_a_process_dies() {
        let folder = tempfile::tempdir().unwrap();
        if let Some(output) = over_mpi(folder.path(), true) {
            assert!(!output.status.success());
            assert!(String::from_utf8_lossy(&output.stderr).contains("rank 1 dies"));
            assert!(!folder.path().join("rank-0.json").exists());
        }
    }
}
