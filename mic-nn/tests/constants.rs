//! Heavy ops compute gradients only for what is part of a graph: an image gets none.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use candle_core::{DType, Device, Result, Tensor, Var};
use mic_nn::autograd::backward;
use mic_nn::forward::{Forward, RandomDrops};
use mic_nn::gradcheck::wave;
use mic_nn::models::mit::{Mit, MitConfig};
use mic_nn::ops;
use mic_nn::params::Store;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

type Op = fn(&[Tensor]) -> Result<Tensor>;

/// An op with the shapes of its inputs.
fn table() -> Vec<(&'static str, Vec<Vec<usize>>, Op)> {
    vec![
        (
            "conv2d",
            vec![vec![2, 3, 6, 5], vec![4, 3, 3, 3], vec![4]],
            |x| ops::conv2d(&x[0], &x[1], Some(&x[2]), &padded(1)),
        ),
        (
            "conv2d 1x1",
            vec![vec![2, 3, 6, 5], vec![4, 3, 1, 1], vec![4]],
            |x| ops::conv2d(&x[0], &x[1], Some(&x[2]), &ops::Conv2dOptions::default()),
        ),
        (
            "conv2d in groups",
            vec![vec![2, 4, 6, 5], vec![4, 1, 3, 3], vec![4]],
            |x| ops::conv2d(&x[0], &x[1], Some(&x[2]), &padded(4)),
        ),
        (
            "depthwise",
            vec![vec![2, 6, 5, 4], vec![4, 1, 3, 3], vec![4]],
            |x| ops::depthwise_conv2d_nhwc(&x[0], &x[1], Some(&x[2]), &padded(1)),
        ),
        ("linear", vec![vec![2, 5, 3], vec![4, 3], vec![4]], |x| {
            ops::linear(&x[0], &x[1], Some(&x[2]))
        }),
        ("layer_norm", vec![vec![2, 5, 8], vec![8], vec![8]], |x| {
            ops::layer_norm(&x[0], &x[1], &x[2], 1e-5)
        }),
        (
            "group_norm",
            vec![vec![2, 4, 3, 3], vec![4], vec![4]],
            |x| ops::group_norm(&x[0], 2, &x[1], &x[2], 1e-5),
        ),
        (
            "batch_norm",
            vec![vec![2, 4, 3, 3], vec![4], vec![4]],
            |x| Ok(ops::batch_norm(&x[0], &x[1], &x[2], 1e-5)?.0),
        ),
        (
            "batch_norm_eval",
            vec![vec![2, 4, 3, 3], vec![4], vec![4]],
            |x| {
                let mean = Tensor::zeros(4, DType::F32, &Device::Cpu)?;
                let var = mean.ones_like()?;
                ops::batch_norm_eval(&x[0], &x[1], &x[2], &mean, &var, 1e-5)
            },
        ),
        ("attention", vec![vec![2, 5, 4], vec![2, 3, 8]], |x| {
            ops::attention(&x[0], &x[1], 2)
        }),
        ("add", vec![vec![2, 5, 4], vec![2, 5, 4]], |x| {
            ops::add(&x[0], &x[1])
        }),
        ("add_drop_path", vec![vec![2, 5, 4], vec![2, 5, 4]], |x| {
            ops::add_drop_path(&x[0], &x[1], &[true, false], 0.5)
        }),
    ]
}

fn padded(groups: usize) -> ops::Conv2dOptions {
    ops::Conv2dOptions {
        padding: (1, 1),
        groups,
        ..Default::default()
    }
}

#[test]
fn only_tracked_inputs_get_gradients() -> Result<()> {
    for (name, shapes, op) in table() {
        let vars = shapes.iter().map(|shape| {
            let value = wave(shape, 1.0, 1.37, 0.3)?.to_dtype(DType::F32)?;
            Var::from_tensor(&value)
        });
        let vars = vars.collect::<Result<Vec<_>>>()?;
        for tracked in 0..1 << vars.len() {
            let is_tracked = |i: usize| tracked & (1 << i) != 0;
            let inputs: Vec<Tensor> = (0..vars.len())
                .map(|i| match is_tracked(i) {
                    true => vars[i].as_tensor().clone(),
                    false => vars[i].as_detached_tensor(),
                })
                .collect();
            let y = op(&inputs)?;
            assert_eq!(y.track_op(), tracked != 0, "{name}");
            let grads = backward(&y.sqr()?.sum_all()?)?;
            for (i, input) in inputs.iter().enumerate() {
                // A norm's scale and shift come out of the same loop; one alone costs no less.
                let due = is_tracked(i) || input.rank() == 1 && grads.get(input).is_some();
                let found = grads.get(input).is_some();
                assert_eq!(found, due, "{name}: input {i}, tracked {tracked:b}");
            }
        }
    }
    Ok(())
}

#[test]
fn an_image_gets_no_gradient_from_a_network() -> Result<()> {
    let store = Store::trainable(ChaCha8Rng::seed_from_u64(3), DType::F32, &Device::Cpu);
    let config = MitConfig {
        embed_dims: vec![6, 8],
        depths: vec![1, 1],
        num_heads: vec![1, 2],
        sr_ratios: vec![2, 1],
        mlp_ratio: 2,
        ..MitConfig::variant(0)?
    };
    let network = Mit::new(&config, &store.root())?;
    let image = wave(&[1, 3, 32, 32], 1.0, 1.37, 0.3)?.to_dtype(DType::F32)?;
    let drops = RandomDrops::new(ChaCha8Rng::seed_from_u64(5));
    for recompute in [false, true] {
        let mode = Forward::train(&drops).recomputing(recompute);
        let features = network.forward(&image, &mode)?;
        let grads = backward(&features[1].sum_all()?)?;
        assert!(grads.get(&image).is_none());
        assert!(store.vars().iter().any(|(_, var)| grads.get(var).is_some()));
    }
    Ok(())
}
