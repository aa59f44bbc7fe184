//! Initial values of parameters, drawn from a caller's generator.

use candle_core::Shape;
use rand::{Rng, RngCore};
use rand_distr::{Distribution, StandardNormal};

/// A distribution of initial values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Every value the same.
    Const(f64),
    /// Normal with mean 0.
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// Normal with mean 0, redrawn while the magnitude exceeds `bound`.
    TruncNormal {
        /// Standard deviation before truncation.
        std: f64,
        /// Largest magnitude (absolute, not in standard deviations).
        bound: f64,
    },
    /// Uniform on `[-bound, bound)`.
    Uniform {
        /// Largest magnitude.
        bound: f64,
    },
    /// Normal with standard deviation `sqrt(2 / fan_out)`, where the fan counts the first
    /// dimension times the kernel, as PyTorch's `kaiming_normal_(mode="fan_out")` does (groups
    /// are not taken into account).
    KaimingFanOut,
}

impl Init {
    /// PyTorch's default for weights and biases of linear and convolution layers: uniform with
    /// bound `1 / sqrt(fan_in)`.
    pub fn torch_default(fan_in: usize) -> Self {
        Self::Uniform {
            bound: 1.0 / (fan_in.max(1) as f64).sqrt(),
        }
    }

    /// Values for a tensor of `shape`, row-major.
    pub fn sample(&self, shape: &Shape, rng: &mut dyn RngCore) -> Vec<f32> {
        let count = shape.elem_count();
        let mut normal = |std: f64| {
            let z: f64 = StandardNormal.sample(rng);
            z * std
        };
        match *self {
            Self::Const(value) => vec![value as f32; count],
            Self::Normal { std } => (0..count).map(|_| normal(std) as f32).collect(),
            Self::TruncNormal { std, bound } => (0..count)
                .map(|_| {
                    loop {
                        let value = normal(std);
                        if value.abs() <= bound {
                            break value as f32;
                        }
                    }
                })
                .collect(),
            Self::Uniform { bound } => (0..count)
                .map(|_| rng.random_range(-bound..bound) as f32)
                .collect(),
            Self::KaimingFanOut => {
                let dims = shape.dims();
                let kernel: usize = dims.iter().skip(2).product();
                let fan_out = dims.first().copied().unwrap_or(1) * kernel;
                let std = (2.0 / fan_out.max(1) as f64).sqrt();
                (0..count).map(|_| normal(std) as f32).collect()
            }
        }
    }
}

/// Values for the tensor `name` that any other program can compute from the name alone: networks
/// are compared with other libraries without storing their weights.
///
/// Element `i` is uniform on [-1, 1): the top 53 bits of SplitMix64 at `fnv1a64(name) + (i + 1) * g`
/// with `g = 0x9e3779b97f4a7c15`. It is scaled by its place: tensors of two or more dimensions by
/// `sqrt(3 / fan_in)` with `fan_in = elements / dims[0]`; one-dimensional `weight`, `gamma` and
/// `running_var` become `1 + value / 10`, everything else `value / 10`.
pub fn from_name(name: &str, shape: &Shape) -> Vec<f32> {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let last = name.rsplit('.').next().unwrap_or(name);
    let (offset, scale) = match *shape.dims() {
        [] | [_] if ["weight", "gamma", "running_var"].contains(&last) => (1.0, 0.1),
        [] | [_] => (0.0, 0.1),
        [first, ..] => {
            let fan_in = shape.elem_count() as f64 / first.max(1) as f64;
            (0.0, (3.0 / fan_in.max(1.0)).sqrt())
        }
    };
    (0..shape.elem_count() as u64)
        .map(|i| {
            let mut z = seed.wrapping_add((i + 1).wrapping_mul(STEP));
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            let unit = (z >> 11) as f64 / (1u64 << 53) as f64;
            (offset + scale * (2.0 * unit - 1.0)) as f32
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn distributions_have_their_moments() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let shape = Shape::from((64, 16, 3, 3));
        let std_of = |v: &[f32]| {
            let n = v.len() as f64;
            (v.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n).sqrt()
        };
        let kaiming = Init::KaimingFanOut.sample(&shape, &mut rng);
        assert!((std_of(&kaiming) / (2.0f64 / 576.0).sqrt() - 1.0).abs() < 0.03);
        let cut = Init::TruncNormal {
            std: 1.0,
            bound: 0.5,
        }
        .sample(&shape, &mut rng);
        assert!(cut.iter().all(|x| x.abs() <= 0.5));
        let uniform = Init::torch_default(25).sample(&shape, &mut rng);
        assert!(uniform.iter().all(|x| x.abs() <= 0.2));
        assert!((std_of(&uniform) / (0.2 / 3f64.sqrt()) - 1.0).abs() < 0.03);
    }

    #[test]
    fn values_from_names_are_those_of_the_recording_script() {
        // Printed by testdata/record/fill.py.
        let expected = [
            0.09014996f32,
            0.4903235,
            -0.9541565,
            0.47239566,
            -0.26129964,
            0.9285461,
        ];
        assert_eq!(from_name("conv1.weight", &Shape::from((2, 3))), expected);
        let expected = [1.0723318f32, 0.9728003, 0.92765725];
        assert_eq!(from_name("bn.running_var", &Shape::from(3)), expected);
    }
}
