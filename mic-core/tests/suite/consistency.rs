//! The consistency loss: gradients against finite differences, weights, refusals.

use crate::golden::values;
use candle_core::{DType, Device, Tensor, Var};
use mic_core::{Confidence, PseudoLabelConfig, PseudoLabels, cross_entropy, masked_consistency};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f64> = (0..shape.iter().product())
        .map(|_| rng.random_range(-3.0..3.0))
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn scalar(tensor: &Tensor) -> f64 {
    values(tensor)[0]
}

/// Compares the gradient of `loss` with central differences at every element.
fn check_gradient(logits: &Tensor, loss: impl Fn(&Tensor) -> Tensor) {
    let var = Var::from_tensor(logits).unwrap();
    let gradients = loss(&var).backward().unwrap();
    let gradient = values(gradients.get(&var).unwrap());
    let start = values(logits);
    let step = 1e-5;
    for index in 0..start.len() {
        let at = |offset: f64| {
            let mut moved = start.clone();
            moved[index] += offset;
            scalar(&loss(
                &Tensor::from_vec(moved, logits.dims(), &Device::Cpu).unwrap(),
            ))
        };
        let numeric = (at(step) - at(-step)) / (2.0 * step);
        assert!(
            (gradient[index] - numeric).abs() < 1e-9,
            "[{index}] {numeric}"
        );
    }
}

#[test]
fn gradients_equal_finite_differences() {
    let labels = Tensor::new(&[[[0u8, 2], [255, 1]], [[2, 2], [1, 255]]], &Device::Cpu).unwrap();
    let weight = random(&[2, 2, 2], 1).abs().unwrap();
    check_gradient(&random(&[2, 3, 2, 2], 2), |logits| {
        cross_entropy(logits, &labels, Some(&weight), Some(255)).unwrap()
    });
    let labels = Tensor::new(&[3u32, 0, 1], &Device::Cpu).unwrap();
    check_gradient(&random(&[3, 4], 3), |logits| {
        cross_entropy(logits, &labels, None, None).unwrap()
    });
    let teacher = random(&[3, 4], 4);
    let pseudo = PseudoLabelConfig::new(Confidence::MaxProbability)
        .label(&teacher, None)
        .unwrap();
    check_gradient(&random(&[3, 4], 5), |logits| {
        masked_consistency(logits, &pseudo).unwrap()
    });
}

#[test]
fn the_mean_is_over_all_pixels() {
    // Two pixels with logits (2, 0) and (0, 1).
    let logits = Tensor::new(&[2f32, 0.0, 0.0, 1.0], &Device::Cpu).unwrap();
    let logits = logits.reshape((1, 2, 1, 2)).unwrap();
    let labels = Tensor::new(&[[[0u8, 255]]], &Device::Cpu).unwrap();
    let loss = cross_entropy(&logits, &labels, None, Some(255)).unwrap();
    assert!((scalar(&loss) - 0.0635).abs() < 5e-5);
    let weight = Tensor::new(&[[[0.5f32, f32::NAN]]], &Device::Cpu).unwrap();
    let loss = cross_entropy(&logits, &labels, Some(&weight), Some(255)).unwrap();
    assert!((scalar(&loss) - 0.0317).abs() < 5e-5);
}

#[test]
fn large_logits_stay_finite() {
    let logits = Var::new(&[[1000f32, -1000.0], [-1000.0, 1000.0]], &Device::Cpu).unwrap();
    let labels = Tensor::new(&[0u8, 0], &Device::Cpu).unwrap();
    let loss = cross_entropy(&logits, &labels, None, None).unwrap();
    assert_eq!(scalar(&loss), 1000.0);
    let gradients = loss.backward().unwrap();
    assert_eq!(
        values(gradients.get(&logits).unwrap()),
        [0.0, 0.0, -0.5, 0.5]
    );
}

#[test]
fn confident_pixels_get_more_weight() {
    // Samples of probability 0.5 and about 0.98 for their first class.
    let teacher = Tensor::new(&[[0f32, 0.0], [4.0, 0.0]], &Device::Cpu).unwrap();
    let sure = 1.0 / (1.0 + (-4f64).exp());
    let weights = |confidence| {
        let pseudo = PseudoLabelConfig::new(confidence)
            .label(&teacher, None)
            .unwrap();
        assert_eq!(values(&pseudo.label), [0.0, 0.0]);
        (values(&pseudo.weight), f64::from(pseudo.confidence))
    };
    let (weight, mean) = weights(Confidence::MaxProbability);
    for (got, expected) in weight
        .iter()
        .chain([&mean])
        .zip([0.5, sure, (0.5 + sure) / 2.0])
    {
        assert!((got - expected).abs() < 1e-6);
    }
    assert_eq!(weights(Confidence::Above(0.5)), (vec![1.0, 1.0], 1.0));
    assert_eq!(weights(Confidence::Above(0.8)), (vec![0.0, 1.0], 0.5));
    assert_eq!(weights(Confidence::ShareAbove(0.8)), (vec![0.5, 0.5], 0.5));
    assert_eq!(weights(Confidence::None), (vec![1.0, 1.0], 1.0));
}

#[test]
fn many_classes_get_u32_labels() {
    let teacher = Tensor::arange(0f32, 600.0, &Device::Cpu)
        .unwrap()
        .reshape((2, 300))
        .unwrap();
    let pseudo = PseudoLabelConfig::new(Confidence::None)
        .label(&teacher, None)
        .unwrap();
    assert_eq!(pseudo.label.to_vec1::<u32>().unwrap(), [299, 299]);
    assert!(masked_consistency(&teacher, &pseudo).is_ok());
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let cpu = &Device::Cpu;
    let logits = Tensor::zeros((1, 3, 4, 4), DType::F32, cpu).unwrap();
    let labels = Tensor::zeros((1, 4, 4), DType::U8, cpu).unwrap();
    let message = |result: mic_core::Result<Tensor>| result.unwrap_err().to_string();
    let small = Tensor::zeros((1, 2, 2), DType::U8, cpu).unwrap();
    assert!(message(cross_entropy(&logits, &small, None, None)).contains("[1, 4, 4]"));
    let wrong = (labels.ones_like().unwrap() * 7.0).unwrap();
    assert!(message(cross_entropy(&logits, &wrong, None, Some(255))).contains("label 7"));
    assert!(cross_entropy(&logits, &wrong, None, Some(7)).is_ok());
    let floats = labels.to_dtype(DType::F32).unwrap();
    assert!(message(cross_entropy(&logits, &floats, None, None)).contains("F32"));

    let mut config = PseudoLabelConfig::new(Confidence::ShareAbove(0.9));
    let refuse = |config: PseudoLabelConfig, logits: &Tensor, valid: Option<&Tensor>| {
        let result: mic_core::Result<PseudoLabels> = config.label(logits, valid);
        result.unwrap_err().to_string()
    };
    assert!(refuse(config, &labels, None).contains("[1, 4, 4]"));
    assert!(refuse(config, &logits, Some(&small)).contains("[1, 2, 2]"));
    config.ignore_top = 1;
    assert!(refuse(config, &logits, Some(&labels)).contains("exclude each other"));
    let flat = Tensor::zeros((2, 3), DType::F32, cpu).unwrap();
    assert!(refuse(config, &flat, None).contains("need logits (B, C, H, W)"));
    config.confidence = Confidence::Above(1.5);
    assert!(refuse(config, &logits, None).contains("1.5"));
}
