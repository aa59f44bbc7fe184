//! Recomputed blocks give the gradients of plain ones.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use mic_nn::autograd::{Gradients, backward, backward_retaining};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, Result, Tensor, Var};
use mic_nn::forward::{Drops, Forward, NormMode, RandomDrops};
use mic_nn::gradcheck::{max_relative_error, wave};
use mic_nn::init::Init;
use mic_nn::layers::{BatchNorm2d, Conv2d, Conv2dConfig, Dropout2d};
use mic_nn::models::mit::{Mit, MitConfig, Stem};
use mic_nn::ops::relu;
use mic_nn::optim::Grads;
use mic_nn::params::Store;
use mic_nn::recompute::{checkpoint, checkpoint_one};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn store() -> Store {
    Store::trainable(ChaCha8Rng::seed_from_u64(3), DType::F32, &Device::Cpu)
}

fn drops() -> RandomDrops<ChaCha8Rng> {
    RandomDrops::new(ChaCha8Rng::seed_from_u64(5))
}

fn image(shape: &[usize]) -> Result<Tensor> {
    wave(shape, 1.0, 1.37, 0.3)?.to_dtype(DType::F32)
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    // Adding 0 makes a negative zero positive; the two are equal.
    values.into_iter().map(|v| (v + 0.0).to_bits()).collect()
}

/// Every variable's gradient, in order; `None` where it has none.
fn gradients(store: &Store, grads: &Gradients) -> Vec<(String, Option<Vec<u32>>)> {
    let of = |(name, var): (String, Var)| {
        let grad = grads.get(&var).map(bits);
        (name, grad)
    };
    store.vars().into_iter().map(of).collect()
}

fn tiny_mit() -> MitConfig {
    MitConfig {
        embed_dims: vec![6, 8],
        depths: vec![2, 3],
        num_heads: vec![1, 2],
        sr_ratios: vec![2, 1],
        mlp_ratio: 2,
        drop_path_rate: 0.5,
        stem: Stem::Overlap,
    }
}

/// A loss that weighs every element differently.
fn weighed(features: &[Tensor]) -> Result<Tensor> {
    let mut total = Tensor::zeros((), DType::F32, &Device::Cpu)?;
    for (i, feature) in features.iter().enumerate() {
        let weight = wave(feature.dims(), 1.0, 0.7 + i as f64, 0.1)?.to_dtype(DType::F32)?;
        total = (total + (feature * weight)?.sum_all()?)?;
    }
    Ok(total)
}

#[test]
fn a_transformer_with_stochastic_depth() -> Result<()> {
    let store = store();
    let network = Mit::new(&tiny_mit(), &store.root())?;
    let image = image(&[3, 3, 32, 64])?;
    let run = |recompute| -> Result<_> {
        let drops = drops();
        let mode = Forward::train(&drops).recomputing(recompute);
        let loss = weighed(&network.forward(&image, &mode)?)?;
        Ok((bits(&loss), gradients(&store, &backward(&loss)?)))
    };
    let (plain, recomputed) = (run(false)?, run(true)?);
    assert!(plain.1.iter().all(|(_, grad)| grad.is_some()));
    assert_eq!(plain.0, recomputed.0);
    for (plain, recomputed) in plain.1.into_iter().zip(recomputed.1) {
        assert_eq!(plain, recomputed);
    }
    Ok(())
}

/// Convolution, batch norm, ReLU and dropout, and a second branch.
struct Block {
    conv: Conv2d,
    norm: BatchNorm2d,
    drop: Dropout2d,
}

impl Block {
    fn new(store: &Store, name: &str) -> Result<Arc<Self>> {
        let scope = store.root().sub(name);
        let config = Conv2dConfig::same(3, Init::Normal { std: 0.3 });
        Ok(Arc::new(Self {
            conv: Conv2d::new(&scope.sub("conv"), 4, 4, &config)?,
            norm: BatchNorm2d::new(&scope.sub("norm"), 4)?,
            drop: Dropout2d::new(name, 0.4),
        }))
    }

    fn forward(&self, x: &Tensor, mode: &Forward) -> Result<Tensor> {
        let y = relu(&self.norm.forward(&self.conv.forward(x)?, mode)?)?;
        x + self.drop.forward(&y, mode)?
    }
}

fn buffers(store: &Store) -> Vec<(String, Vec<f64>)> {
    let value = |t: Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let all = store.buffers().into_iter();
    all.map(|(name, b)| (name, value(b.get()).unwrap()))
        .collect()
}

#[test]
fn batch_norm_dropout_nesting_and_several_backward_passes() -> Result<()> {
    // 0: plain, 1: each block, 2: both blocks inside a third call.
    let run = |nesting: usize| -> Result<_> {
        let store = store();
        let (a, b) = (Block::new(&store, "a")?, Block::new(&store, "b")?);
        let x = Var::from_tensor(&image(&[2, 4, 5, 6])?)?;
        let drops = drops();
        let mode = Forward::train(&drops);
        let both = move |x: &Tensor, mode: &Forward, each: bool| -> Result<Tensor> {
            let mode = mode.recomputing(each);
            let (a, b) = (Arc::clone(&a), Arc::clone(&b));
            let x = mode.block(x, move |x, mode| a.forward(x, mode))?;
            mode.block(&x, move |x, mode| b.forward(x, mode))
        };
        let y = match nesting {
            2 => checkpoint_one(&x, &mode, move |x, mode| both(x, mode, true))?,
            each => both(&x, &mode, each == 1)?,
        };
        let mut named = store.vars();
        named.push(("x".into(), x));
        let mut grads = Grads::new(&named);
        // Two losses over one graph, walked back separately.
        grads.accumulate(&backward_retaining(&weighed(std::slice::from_ref(&y))?)?)?;
        grads.accumulate(&backward(&y.sqr()?.sum_all()?)?)?;
        let names = named.iter().map(|(name, _)| name);
        let all: Vec<_> = names.map(|n| bits(grads.get(n).unwrap())).collect();
        Ok((bits(&y), all, buffers(&store)))
    };
    let plain = run(0)?;
    assert_eq!(
        plain.2[2],
        ("a.norm.num_batches_tracked".to_string(), vec![1.0])
    );
    assert_eq!(plain, run(1)?);
    assert_eq!(plain, run(2)?);
    Ok(())
}

#[test]
fn several_inputs_and_results() -> Result<()> {
    let w = Var::from_tensor(&wave(&[3, 3], 1.0, 0.9, 0.2)?)?;
    let block = |w: Tensor| {
        move |x: &[Tensor], _: &Forward| -> Result<Vec<Tensor>> {
            let product = x[0].matmul(&w)?;
            let second = (&product * &x[1])?.tanh()?;
            // The last result is a view that starts inside its storage.
            Ok(vec![
                (&product + &second)?,
                second.clone(),
                second.narrow(0, 1, 1)?,
            ])
        }
    };
    let inputs = [wave(&[2, 3], 1.0, 0.7, 0.1)?, wave(&[2, 3], 1.0, 1.7, 0.5)?];
    // Gradients of inputs and of a captured tensor that is given as an input.
    let error = max_relative_error(&inputs, 10, |x| {
        let y = checkpoint(
            &[&x[0], &x[1]],
            &Forward::eval(),
            block(w.as_tensor().clone()),
        )?;
        Tensor::cat(&[&y[0], &y[1].sqr()?, &y[2]], 0)
    })?;
    assert!(error < 1e-7, "{error:e}");
    // Of a variable; the second result is not used, one input is no part of a graph.
    let gradient = |recompute: bool| -> Result<Tensor> {
        let x = [&inputs[0].t()?.contiguous()?.t()?, &inputs[1]];
        let y = match recompute {
            true => checkpoint(&x, &Forward::eval(), block(w.as_tensor().clone()))?,
            false => block(w.as_tensor().clone())(&x.map(Tensor::clone), &Forward::eval())?,
        };
        let loss = (y[0].sqr()?.sum_all()? + y[2].sum_all()?)?;
        let grads = backward(&loss)?;
        // candle's own product computes a gradient for constants.
        let constants = x.iter().filter(|x| grads.get(x).is_some()).count();
        assert!(!recompute || constants == 0);
        Ok(grads.get(&w).unwrap().clone())
    };
    // candle's ops are walked result by result, whose gradients add up in another order.
    let difference = (gradient(true)? - gradient(false)?)?.abs()?.max_all()?;
    assert!(difference.to_scalar::<f64>()? < 1e-14);
    Ok(())
}

#[test]
fn without_a_graph_the_block_runs_once_and_nothing_is_kept() -> Result<()> {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let x = image(&[2, 3])?;
    let y = checkpoint_one(&x, &Forward::eval(), move |x, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        x.sqr()
    })?;
    assert!(!y.track_op());
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    // The closure is gone.
    assert_eq!(Arc::strong_count(&runs), 1);
    Ok(())
}

#[test]
fn an_unused_input_gets_no_gradient() -> Result<()> {
    let a = Var::from_tensor(&image(&[2])?)?;
    let b = Var::from_tensor(&image(&[2])?)?;
    let inner = b.affine(2.0, 0.0)?;
    let y = checkpoint(&[&a, &inner], &Forward::eval(), |x, _| {
        Ok(vec![x[0].sqr()?])
    })?;
    let grads = backward(&y[0].sum_all()?)?;
    assert!(grads.get(&a).is_some());
    assert!(grads.get(&b).is_none());
    Ok(())
}

/// Counts how often flags are asked for.
struct Counting(Cell<usize>);

impl Drops for Counting {
    fn keep(&self, _: &str, _: f64, count: usize) -> Vec<bool> {
        self.0.set(self.0.get() + 1);
        vec![true; count]
    }
}

#[test]
fn flags_are_drawn_once_and_impure_blocks_are_refused() -> Result<()> {
    let drops = Counting(Cell::new(0));
    let mode = Forward::train(&drops);
    let x = Var::from_tensor(&image(&[2])?)?;
    let y = checkpoint_one(&x, &mode, |x, mode| {
        assert_ne!(mode.norm, NormMode::Running);
        mode.drops.unwrap().keep("here", 0.5, 1);
        x.sqr()
    })?;
    backward(&y.sum_all()?)?;
    assert_eq!(drops.0.get(), 1);

    let run = AtomicUsize::new(0);
    let y = checkpoint_one(&x, &mode, move |x, mode| {
        let count = 1 + run.fetch_add(1, Ordering::Relaxed);
        mode.drops.unwrap().keep("there", 0.5, count);
        x.sqr()
    })?;
    let error = backward(&y.sum_all()?).err().unwrap().to_string();
    let want = "checkpoint: the block's second run asks for 2 flags of there, its first for 1";
    assert!(error.contains(want), "{error}");

    let run = AtomicUsize::new(0);
    let y = checkpoint_one(&x, &mode, move |x, _| {
        x.narrow(0, 0, 1 + run.fetch_add(1, Ordering::Relaxed))?
            .sqr()
    })?;
    let error = backward(&y.sum_all()?).err().unwrap().to_string();
    assert!(
        error.contains("second run returned shapes [[2]], its first [[1]]"),
        "{error}"
    );

    let error = checkpoint(&[&x], &mode, |_, _| Ok(vec![])).err().unwrap();
    assert!(error.to_string().contains("returned nothing"));
    Ok(())
}
