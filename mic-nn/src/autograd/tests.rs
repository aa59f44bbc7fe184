use candle_core::{D, Device, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::gradcheck::wave;
use crate::ops;

fn var(shape: &[usize], phase: f64) -> Result<Var> {
    Var::from_tensor(&wave(shape, 1.0, 0.7, phase)?)
}

fn largest(t: &Tensor) -> Result<f64> {
    t.abs()?.flatten_all()?.max(D::Minus1)?.to_scalar()
}

/// candle's `a + b` and this crate's, at random, and so on.
fn random_graph(leaves: &[Var], rng: &mut ChaCha8Rng, ours: bool) -> Result<Tensor> {
    let mut tensors: Vec<Tensor> = leaves.iter().map(|v| v.as_tensor().clone()).collect();
    for _ in 0..30 {
        let pick = |rng: &mut ChaCha8Rng| rng.random_range(0..tensors.len());
        let (a, b) = (pick(rng), pick(rng));
        let (a, b) = (tensors[a].clone(), tensors[b].clone());
        let kind = rng.random_range(0..6);
        // Both graphs draw the same numbers; only `ours` uses this crate's ops for some.
        let own = rng.random_bool(0.5) && ours;
        let new = match kind {
            0 if own => ops::add(&a, &b)?,
            0 => (&a + &b)?,
            1 if own => ops::gelu(&a)?,
            1 => a.gelu_erf()?,
            2 => (&a * &b)?,
            3 => a.reshape((3, 4))?.reshape((2, 6))?.contiguous()?,
            4 if own => ops::softmax(&a, 1)?,
            4 => {
                let e = a.exp()?;
                e.broadcast_div(&e.sum_keepdim(1)?)?
            }
            _ => a.reshape((3, 4))?.t()?.reshape((2, 6))?,
        };
        tensors.push((new * 0.7)?);
    }
    let mut sum = tensors[tensors.len() - 1].sum_all()?;
    for t in tensors.iter().rev().skip(1).step_by(3) {
        sum = (sum + t.sqr()?.sum_all()?)?;
    }
    Ok(sum)
}

#[test]
fn mixed_graphs_agree_with_candle_alone() -> Result<()> {
    for seed in 0..40 {
        let leaves = [var(&[2, 6], 0.1)?, var(&[2, 6], 0.5)?];
        let theirs = random_graph(&leaves, &mut ChaCha8Rng::seed_from_u64(seed), false)?;
        let want = theirs.backward()?;
        let loss = random_graph(&leaves, &mut ChaCha8Rng::seed_from_u64(seed), true)?;
        let kept = backward_retaining(&loss)?;
        let got = backward(&loss)?;
        for leaf in &leaves {
            let Some(want) = want.get(leaf) else {
                assert!(got.get(leaf).is_none(), "seed {seed}");
                continue;
            };
            let got = got.get(leaf).unwrap();
            let scale = largest(want)?.max(1.0);
            assert!(largest(&(got - want)?)? < 1e-6 * scale, "seed {seed}");
            assert_eq!(largest(&(got - kept.get(leaf).unwrap())?)?, 0.0);
        }
    }
    Ok(())
}

#[test]
fn candles_own_pass_is_refused_by_name() -> Result<()> {
    let x = var(&[3], 0.2)?;
    let loss = ops::gelu(&x)?.sum_all()?;
    let message = loss.backward().unwrap_err().to_string();
    assert!(message.contains("gelu") && message.contains("mic_nn::autograd::backward"));
    // The attempt has left nothing behind.
    assert_eq!(backward(&loss)?.len(), 1);
    Ok(())
}

#[test]
fn a_graph_is_walked_once_unless_kept() -> Result<()> {
    let x = var(&[3], 0.2)?;
    let y = ops::gelu(&x)?;
    let (first, second) = (y.sum_all()?, y.sqr()?.sum_all()?);
    backward_retaining(&first)?;
    let together = backward(&second)?;
    assert!(together.get(&x).is_some());
    let message = backward(&first).unwrap_err().to_string();
    assert!(
        message.contains("gelu") && message.contains("backward_retaining"),
        "{message}"
    );
    Ok(())
}

#[test]
fn tensors_without_a_graph_have_no_gradients() -> Result<()> {
    let constant = wave(&[3], 1.0, 1.0, 0.0)?;
    assert!(backward(&ops::gelu(&constant)?.sum_all()?)?.is_empty());
    assert!(!ops::gelu(&constant)?.track_op());
    // A variable alone is its own gradient's place.
    let x = var(&[3], 0.2)?;
    assert_eq!(backward(&x)?.get(&x).unwrap().to_vec1::<f64>()?, [1.0; 3]);
    Ok(())
}

#[test]
fn nodes_go_with_their_results() -> Result<()> {
    let x = var(&[3], 0.2)?;
    let y = ops::gelu(&x)?;
    let node = node::node_of(&y).unwrap();
    let weak = std::sync::Arc::downgrade(&node);
    drop(node);
    let z = ops::gelu(&y.reshape((3, 1))?)?;
    let id = y.clone();
    drop(y);
    assert!(weak.upgrade().is_some() && node::node_of(&id).is_some());
    drop(id);
    // The graph of z keeps the node, not the tensor.
    assert!(weak.upgrade().is_some());
    drop(z);
    assert!(weak.upgrade().is_none());
    Ok(())
}

#[test]
fn long_chains_are_walked_and_dropped_on_a_small_stack() {
    let run = || -> Result<()> {
        for walked in [false, true] {
            let x = Var::new(&[1f32], &Device::Cpu)?;
            let one = Tensor::new(&[1f32], &Device::Cpu)?;
            let mut y = x.as_tensor().clone();
            for _ in 0..50_000 {
                y = ops::add(&y, &one)?;
            }
            if walked {
                let gradient = backward(&y)?.get(&x).unwrap().to_vec1::<f32>()?;
                assert_eq!(gradient, [1.0]);
            }
        }
        Ok(())
    };
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(run);
    thread.unwrap().join().unwrap().unwrap();
}

#[test]
fn a_given_gradient_weighs_the_elements() -> Result<()> {
    let x = var(&[2, 3], 0.2)?;
    let weights = wave(&[2, 3], 1.0, 0.3, 0.4)?;
    let given = backward_with(&ops::gelu(&x)?, &weights)?;
    let summed = backward(&(ops::gelu(&x)? * &weights)?.sum_all()?)?;
    let difference = (given.get(&x).unwrap() - summed.get(&x).unwrap())?;
    assert_eq!(largest(&difference)?, 0.0);
    let message = backward_with(&ops::gelu(&x)?, &weights.t()?).unwrap_err();
    assert!(
        message
            .to_string()
            .contains("expected a gradient of [2, 3] F64, got [3, 2] F64")
    );
    Ok(())
}
