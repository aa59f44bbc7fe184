//! Times single ops, forward and backward, and the optimisers.
//!
//! `cargo bench -p mic-nn [-- part of a name]`; `-- --save-baseline NAME` and `-- --baseline NAME`
//! compare two states of the code, `RAYON_NUM_THREADS` sets the threads. `cargo xtask bench cpu
//! --ops` times the same ops beside PyTorch's.

#![allow(clippy::expect_used)]

#[path = "../../xtask/src/bench/cases.rs"]
mod cases;

use std::cell::OnceCell;
use std::time::Duration;

use candle_core::{DType, Device, Result, Tensor, Var};
use criterion::Criterion;
use mic_nn::autograd::{backward, backward_with};
use mic_nn::optim::{AdamW, AdamWConfig, Grads, GroupRules, Optimizer, Sgd, SgdConfig};
use mic_nn::threads::{stop_candle_spinning, train_in_pool};

#[global_allocator]
static ALLOCATOR: mic_nn::memory::TensorAllocator = mic_nn::memory::TensorAllocator;

/// Scalars of the optimisers' only parameter.
const PARAMETERS: usize = 20_000_000;

fn single_ops(criterion: &mut Criterion) {
    for case in cases::all() {
        // A case that the filter leaves out takes no memory.
        let prepared = OnceCell::new();
        let apply = || {
            let prepared = prepared.get_or_init(|| case.prepare().expect("the case's tensors"));
            prepared.apply().expect("the forward pass")
        };
        let mut group = criterion.benchmark_group(&case.name);
        group.bench_function("forward", |bencher| bencher.iter(apply));
        group.bench_function("forward and backward", |bencher| {
            let ones = apply().detach().ones_like().expect("a gradient");
            bencher.iter(|| backward_with(&apply(), &ones).expect("the backward pass"));
        });
    }
}

/// Builds an optimiser for named variables.
type Make<'a> = dyn Fn(&[(String, Var)]) -> Box<dyn Optimizer> + 'a;

/// A parameter and its gradient.
fn parameter() -> Result<(Vec<(String, Var)>, Grads)> {
    let var = Var::from_tensor(&Tensor::ones(PARAMETERS, DType::F32, &Device::Cpu)?)?;
    let named = vec![("p".to_string(), var)];
    let mut grads = Grads::new(&named);
    grads.accumulate(&backward(&named[0].1.sum_all()?)?)?;
    Ok((named, grads))
}

fn optimizers(criterion: &mut Criterion) {
    let rules = GroupRules::uniform(1e-4, 0.01);
    let momentum = SgdConfig {
        momentum: 0.9,
        ..SgdConfig::default()
    };
    let mut time = |name: &str, make: &Make| {
        criterion.bench_function(&format!("{name}, 20 million parameters"), |bencher| {
            let (named, grads) = parameter().expect("a parameter");
            let mut optimizer = make(&named);
            bencher.iter(|| optimizer.step(&grads, &|lr| lr).expect("a step"));
        });
    };
    time("AdamW", &|named| {
        Box::new(AdamW::new(named, &rules, AdamWConfig::default()))
    });
    time("SGD with momentum", &|named| {
        Box::new(Sgd::new(named, &rules, momentum))
    });
}

fn main() {
    // SAFETY: nothing has run before this line, so there is one thread.
    unsafe { stop_candle_spinning() };
    let run = || {
        let mut criterion = Criterion::default()
            .sample_size(10)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1))
            .configure_from_args();
        single_ops(&mut criterion);
        optimizers(&mut criterion);
        criterion.final_summary();
    };
    train_in_pool(None, run).expect("a thread pool");
}
