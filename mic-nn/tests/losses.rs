//! Losses against values recorded from PyTorch (`testdata/record/losses.py`), gradient checks,
//! views and misuse.

#![allow(clippy::unwrap_used)]

use mic_nn::autograd::backward;
use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor, Var};
use mic_nn::gradcheck::{max_relative_error, wave};
use mic_nn::ops::{
    Reduction, binary_cross_entropy_with_logits, entropy, gradient_reversal, kl_divergence,
    sigmoid, smooth_l1,
};

const REDUCTIONS: [Reduction; 4] = [
    Reduction::None,
    Reduction::Sum,
    Reduction::Mean,
    Reduction::BatchMean,
];

fn largest_difference(a: &Tensor, b: &Tensor) -> Result<f64> {
    assert_eq!(a.dims(), b.dims());
    let (a, b) = (a.to_dtype(DType::F64)?, b.to_dtype(DType::F64)?);
    (a - b)?.abs()?.flatten_all()?.max(0)?.to_scalar()
}

fn reduction(case: &str) -> Reduction {
    match case {
        "none" => Reduction::None,
        "sum" => Reduction::Sum,
        "mean" => Reduction::Mean,
        "batchmean" => Reduction::BatchMean,
        other => panic!("unknown reduction {other}"),
    }
}

fn check(name: &str, recorded: &HashMap<String, Tensor>, dtype: DType, bound: f64) -> Result<()> {
    let (op, case) = name.split_once('.').unwrap();
    let get = |key: &str| recorded.get(&format!("{name}.{key}"));
    let x = Var::from_tensor(&get("x").unwrap().to_dtype(dtype)?)?;
    let t = get("t").map(|t| Var::from_tensor(&t.to_dtype(dtype)?));
    let t = t.transpose()?;
    let target = || t.as_ref().unwrap().as_tensor();
    let value = match op {
        "sigmoid" => sigmoid(&x)?,
        "bce" => binary_cross_entropy_with_logits(&x, target(), reduction(case))?,
        "l1" | "smooth" => {
            let beta = get("beta").unwrap().to_scalar()?;
            smooth_l1(&x, target(), beta, reduction(case))?
        }
        "kl" => kl_divergence(&x, target(), reduction(case))?,
        "entropy" => entropy(&x, false)?,
        other => panic!("unknown op {other}"),
    };
    let grads = backward(&value.sum_all()?)?;
    let scale = |t: &Tensor| -> Result<f64> {
        let largest = t.abs()?.flatten_all()?.max(0)?.to_scalar::<f64>()?;
        Ok(largest.max(1.0) * bound)
    };
    let close = |ours: &Tensor, key: &str| -> Result<()> {
        let theirs = get(key).unwrap();
        let error = largest_difference(ours, theirs)?;
        assert!(error <= scale(theirs)?, "{name}.{key}: {error:e}");
        Ok(())
    };
    close(&value, "value")?;
    close(grads.get(&x).unwrap(), "dx")?;
    if let Some(t) = &t {
        close(grads.get(t).unwrap(), "dt")?;
    }
    Ok(())
}

#[test]
fn values_and_gradients_are_pytorchs() -> Result<()> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../testdata/recorded/losses.safetensors"
    );
    let recorded = candle_core::safetensors::load(path, &Device::Cpu)?;
    let names: Vec<&str> = recorded
        .keys()
        .filter_map(|k| k.strip_suffix(".value"))
        .collect();
    assert!(!names.is_empty());
    for name in names {
        check(name, &recorded, DType::F64, 1e-13)?;
        check(name, &recorded, DType::F32, 1e-6)?;
    }
    Ok(())
}

#[test]
fn gradients_match_differences() -> Result<()> {
    let (x, t) = (
        wave(&[3, 4], 2.0, 1.3, 0.2)?,
        (wave(&[3, 4], 0.4, 0.9, 0.1)? + 0.5)?,
    );
    let single = std::slice::from_ref(&x);
    assert!(max_relative_error(single, 12, |x| sigmoid(&x[0]))? < 1e-7);
    let pair = [x.clone(), t];
    for r in REDUCTIONS {
        let f = |v: &[Tensor]| binary_cross_entropy_with_logits(&v[0], &v[1], r);
        assert!(max_relative_error(&pair, 12, f)? < 1e-7);
        let f = |v: &[Tensor]| smooth_l1(&v[0], &v[1], 0.7, r);
        assert!(max_relative_error(&pair, 12, f)? < 1e-7);
        let f = |v: &[Tensor]| kl_divergence(&v[0], &v[1], r);
        assert!(max_relative_error(&pair, 12, f)? < 1e-7);
    }
    let z = wave(&[2, 5, 2, 3], 2.0, 1.3, 0.2)?;
    for normalised in [false, true] {
        let f = |z: &[Tensor]| entropy(&z[0], normalised);
        assert!(max_relative_error(std::slice::from_ref(&z), 60, f)? < 1e-7);
    }
    Ok(())
}

#[test]
fn reversal_keeps_the_value_and_turns_the_gradient() -> Result<()> {
    let x = Var::from_tensor(&wave(&[3, 4], 2.0, 1.3, 0.2)?)?;
    let y = gradient_reversal(&x.t()?, 0.25)?;
    assert_eq!(largest_difference(&y, &x.t()?)?, 0.0);
    let grads = backward(&y.sqr()?.sum_all()?)?;
    let wanted = (x.as_tensor() * -0.5)?;
    assert!(largest_difference(grads.get(&x).unwrap(), &wanted)? < 1e-15);
    Ok(())
}

#[test]
fn views_give_what_copies_give() -> Result<()> {
    let (x, t) = (
        wave(&[3, 4], 2.0, 1.3, 0.2)?,
        (wave(&[3, 4], 0.4, 0.9, 0.1)? + 0.5)?,
    );
    let none = Reduction::None;
    let same =
        |a: Tensor, b: Tensor| -> Result<bool> { Ok(largest_difference(&a, &b.t()?)? == 0.0) };
    let (xt, tt) = (x.t()?, t.t()?);
    assert!(same(sigmoid(&xt)?, sigmoid(&x)?)?);
    let f = binary_cross_entropy_with_logits;
    assert!(same(f(&xt, &tt, none)?, f(&x, &t, none)?)?);
    assert!(same(
        smooth_l1(&xt, &tt, 0.7, none)?,
        smooth_l1(&x, &t, 0.7, none)?
    )?);
    assert!(same(
        kl_divergence(&xt, &tt, none)?,
        kl_divergence(&x, &t, none)?
    )?);
    let copy = entropy(&xt.contiguous()?, true)?;
    assert_eq!(largest_difference(&entropy(&xt, true)?, &copy)?, 0.0);
    let uniform = entropy(&x.zeros_like()?, true)?;
    assert!(largest_difference(&uniform, &uniform.ones_like()?)? < 1e-15);
    Ok(())
}

#[test]
fn misuse_is_named() -> Result<()> {
    let message = |r: Result<Tensor>| r.err().map(|e| e.to_string()).unwrap_or_default();
    let x = wave(&[3, 4], 2.0, 1.3, 0.2)?;
    let (t, f) = (x.t()?, x.to_dtype(DType::F32)?);
    let mean = Reduction::Mean;
    for t in [&t, &f] {
        let text = message(binary_cross_entropy_with_logits(&x, t, mean));
        assert!(text.contains("binary_cross_entropy_with_logits: expected a target"));
        assert!(message(smooth_l1(&x, t, 1.0, mean)).contains("smooth_l1: expected"));
        assert!(message(kl_divergence(&x, t, mean)).contains("kl_divergence: expected"));
    }
    assert!(message(smooth_l1(&x, &x, -1.0, mean)).contains("smooth_l1: beta"));
    assert!(message(entropy(&x.flatten_all()?, false)).contains("entropy: expected logits"));
    assert!(message(entropy(&x.narrow(1, 0, 1)?, true)).contains("entropy: at least 2"));
    assert!(message(gradient_reversal(&x, f64::NAN)).contains("gradient_reversal: the coef"));
    let integers = x.to_dtype(DType::U8)?;
    assert!(message(sigmoid(&integers)).contains("sigmoid: dtype U8"));
    assert!(message(gradient_reversal(&integers, 1.0)).contains("gradient_reversal: dtype U8"));
    Ok(())
}
