//! What is drawn: the same for the same seed, and in the right proportions.

use crate::golden::values;
use candle_core::Device;
use mic_core::BlockMaskConfig;
use mic_core::augment::{ColorJitterConfig, GaussianBlur, SIGMA_RANGE, Sharing, StrongConfig};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

#[test]
fn masks_repeat_per_seed_and_differ_per_image() {
    let config = BlockMaskConfig {
        block: 16,
        ratio: 0.7,
    };
    let draw = |seed| config.sample(&mut rng(seed), 2, 128, 96).unwrap();
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    let mask = draw(1).mask(&Device::Cpu).unwrap();
    assert_ne!(values(&mask.get(0).unwrap()), values(&mask.get(1).unwrap()));
    let draws = draw(1).uniforms(&Device::Cpu).unwrap();
    let again = mic_core::BlockMask::from_uniforms(&draws, 0.7, 128, 96).unwrap();
    assert_eq!(again, draw(1));
}

#[test]
fn the_visible_share_is_one_minus_the_ratio() {
    for ratio in [0.0, 0.3, 0.5, 0.7, 1.0] {
        let config = BlockMaskConfig { block: 1, ratio };
        let mask = config
            .sample(&mut rng(5), 4, 100, 100)
            .unwrap()
            .mask(&Device::Cpu)
            .unwrap();
        let share = values(&mask).iter().sum::<f64>() / mask.elem_count() as f64;
        // Five standard deviations of 40,000 draws.
        assert!((share - (1.0 - ratio)).abs() <= 5.0 * (ratio * (1.0 - ratio) / 4e4).sqrt());
    }
}

#[test]
fn jitter_factors_stay_in_their_ranges_and_orders_vary() {
    let config = ColorJitterConfig {
        brightness: 1.5,
        contrast: 0.2,
        saturation: 0.3,
        hue: 0.1,
    };
    let jitter = config.sample(&mut rng(7), 1000).unwrap();
    for (factors, low, high) in [
        (&jitter.brightness, 0.0, 2.0),
        (&jitter.contrast, 0.8, 1.2),
        (&jitter.saturation, 0.7, 1.3),
        (&jitter.hue, -0.1, 0.1),
    ] {
        assert_eq!(factors.len(), 1000);
        assert!(factors.iter().all(|f| (low..=high).contains(f)));
        let mean = factors.iter().sum::<f32>() / 1000.0;
        assert!(
            (mean - (low + high) / 2.0).abs() < 0.06 * (high - low),
            "{mean}"
        );
        let widest = factors
            .iter()
            .fold(0f32, |far, f| far.max((f - mean).abs()));
        assert!(widest > 0.49 * (high - low));
    }
    let mut orders: Vec<String> = (0..500)
        .map(|seed| format!("{:?}", config.sample(&mut rng(seed), 1).unwrap().order))
        .collect();
    orders.sort();
    orders.dedup();
    assert_eq!(orders.len(), 24);
    assert!(ColorJitterConfig { hue: 0.6, ..config }.check().is_err());
    assert!(
        ColorJitterConfig {
            contrast: -0.1,
            ..config
        }
        .check()
        .is_err()
    );
}

#[test]
fn gates_open_four_times_in_five_and_every_other_time() {
    let config = StrongConfig::default();
    let mut rng = rng(11);
    let gates: Vec<_> = (0..10_000).map(|_| config.sample_gates(&mut rng)).collect();
    let share = |open: usize| open as f64 / 10_000.0;
    assert!((share(gates.iter().filter(|g| g.jitter).count()) - 0.8).abs() < 0.02);
    assert!((share(gates.iter().filter(|g| g.blur).count()) - 0.5).abs() < 0.025);
    let never = StrongConfig {
        blur: false,
        ..config
    };
    assert!((0..100).all(|_| !never.sample_gates(&mut rng).blur));
    for _ in 0..1000 {
        let sigma = GaussianBlur::sample(&mut rng).sigma;
        assert!((SIGMA_RANGE.0..SIGMA_RANGE.1).contains(&sigma));
    }
}

#[test]
fn strong_parameters_are_shared_as_asked() {
    let config = StrongConfig::default();
    let open = config.gates(0.9, 0.9);
    let shared = config
        .sample(&mut rng(13), 3, open, Sharing::PerBatch)
        .unwrap();
    assert_eq!(
        (
            shared.jitter.len(),
            shared.jitter[0].hue.len(),
            shared.blur.len()
        ),
        (1, 3, 1)
    );
    let own = config
        .sample(&mut rng(13), 3, open, Sharing::PerImage)
        .unwrap();
    assert_eq!(
        (own.jitter.len(), own.jitter[0].hue.len(), own.blur.len()),
        (3, 1, 3)
    );
    assert_eq!(
        own,
        config
            .sample(&mut rng(13), 3, open, Sharing::PerImage)
            .unwrap()
    );
    let closed = config.gates(0.2, 0.5);
    let off = config
        .sample(&mut rng(13), 3, closed, Sharing::PerBatch)
        .unwrap();
    assert!(off.jitter.is_empty() && off.blur.is_empty());
}
