//! The CPU's ops in F64, and comparisons with them.

use candle_core::{Device, Result, Tensor, Var};
use half::bf16;
use mic_nn::autograd::backward;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::emulator::Storage;

pub(crate) fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Uniform numbers in [-2, 2) that the storage type holds exactly.
pub(crate) fn values(rng: &mut impl Rng, storage: Storage, count: usize) -> Vec<f32> {
    let value = |_| {
        let value = rng.random_range(-2.0f32..2.0);
        match storage {
            Storage::F32 => value,
            Storage::Bf16 => bf16::from_f32(value).to_f32(),
        }
    };
    (0..count).map(value).collect()
}

/// Uniform F32 in [-2, 2).
pub(crate) fn floats(rng: &mut impl Rng, count: usize) -> Vec<f32> {
    values(rng, Storage::F32, count)
}

/// Values with the shape of the tensor that they are.
pub(crate) type Shaped<'a> = (&'a [f32], &'a [usize]);

/// A tensor in F64.
pub(crate) fn tensor((values, shape): Shaped<'_>) -> Tensor {
    let values: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// A result, a random gradient of it, and the gradients of the inputs.
pub(crate) struct Expected {
    pub(crate) y: Vec<f64>,
    pub(crate) g: Vec<f32>,
    pub(crate) gradients: Vec<Vec<f64>>,
}

/// Runs an op forward and back in F64.
pub(crate) fn expected(
    rng: &mut impl Rng,
    storage: Storage,
    inputs: &[Shaped<'_>],
    op: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Expected {
    let vars: Vec<Var> = inputs
        .iter()
        .map(|&input| Var::from_tensor(&tensor(input)).unwrap())
        .collect();
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let y = op(&tensors).unwrap();
    let g = values(rng, storage, y.elem_count());
    let weighted = (&y * tensor((&g, y.dims()))).unwrap().sum_all().unwrap();
    let grads = backward(&weighted).unwrap();
    let gradient = |var: &Var| flat(grads.get(var).unwrap());
    Expected {
        gradients: vars.iter().map(gradient).collect(),
        y: flat(&y),
        g,
    }
}

pub(crate) fn flat(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Largest errors, as a share of the largest expected magnitude.
#[derive(Clone, Copy)]
pub(crate) struct Tolerance {
    single: f64,
    half: f64,
}

/// `single` for F32, and half a unit in the last place (2^-8) more for BF16.
pub(crate) const fn tolerance(single: f64) -> Tolerance {
    Tolerance {
        single,
        half: single + 0.004,
    }
}

impl Tolerance {
    /// For results that were computed from a rounded result.
    pub(crate) const fn after_rounding(self) -> Self {
        Self {
            single: self.single,
            half: self.single + 0.012,
        }
    }
}

/// Compares with the expected values; NaN must be where it is expected and nowhere else.
pub(crate) fn close(what: &str, storage: Storage, got: &[f32], want: &[f64], tolerance: Tolerance) {
    assert_eq!(got.len(), want.len(), "{what}: number of values");
    let tolerance = match storage {
        Storage::F32 => tolerance.single,
        Storage::Bf16 => tolerance.half,
    };
    let largest = want
        .iter()
        .filter(|w| w.is_finite())
        .fold(0f64, |m, w| m.max(w.abs()));
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let got = f64::from(got);
        let same = got == want || got.is_nan() && want.is_nan();
        assert!(
            same || (got - want).abs() <= tolerance * largest,
            "{what} ({storage:?}): element {i} is {got}, expected {want}, within {tolerance} of \
             {largest}"
        );
    }
}

/// As [`close`] for results that are F32 whatever the storage type is.
pub(crate) fn close_single(what: &str, got: &[f32], want: &[f64], tolerance: Tolerance) {
    close(what, Storage::F32, got, want, tolerance);
}
