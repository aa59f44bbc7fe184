//! The draws of rare class sampling.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use mic_data::rng::stream;
use mic_data::{ClassStats, RareClassSampler, RcsConfig};

fn sampler(class_temp: f64) -> RareClassSampler {
    // Class 1 has no pixel; the others have 10, 90 and 900.
    let images = [
        ("a".to_owned(), vec![500, 0, 0, 90]),
        ("b".to_owned(), vec![400, 0, 10, 0]),
    ];
    let stats = ClassStats::from_counts(4, images).unwrap();
    let config = RcsConfig {
        min_pixels: 9,
        class_temp,
        min_crop_ratio: 0.5,
    };
    RareClassSampler::new(&stats, &config).unwrap()
}

#[test]
fn probabilities_are_those_of_the_reference() {
    let check = |temperature, expected: [f32; 3]| {
        let sampler = sampler(temperature);
        assert_eq!(sampler.classes(), [2, 3, 0]);
        for (ours, theirs) in sampler.probabilities().iter().zip(expected) {
            let difference = (ours - theirs).abs();
            assert!(
                difference < 1e-6 && difference <= theirs * 0.02,
                "{ours} {theirs}"
            );
        }
    };
    check(0.01, [0.999_664_66, 3.353_5e-4, 2.2e-39]);
    check(0.1, [0.689_909_6, 0.309_996_28, 9.409_6e-5]);
}

#[test]
fn draws_follow_the_probabilities_and_the_candidates() {
    let sampler = sampler(0.3);
    let draws = 20_000;
    let mut counts = [[0u32; 2]; 4];
    for draw in 0..draws {
        let rare = sampler.sample(&mut stream(1, "rcs", draw));
        counts[usize::from(rare.class)][rare.image] += 1;
    }
    assert_eq!((counts[1], counts[2][0], counts[3][1]), ([0, 0], 0, 0));
    for (class, probability) in sampler.classes().iter().zip(sampler.probabilities()) {
        let share = f64::from(counts[usize::from(*class)].iter().sum::<u32>()) / draws as f64;
        assert!(
            (share - f64::from(*probability)).abs() < 0.015,
            "class {class}: {share}"
        );
    }
    let (a, b) = (f64::from(counts[0][0]), f64::from(counts[0][1]));
    assert!((a / (a + b) - 0.5).abs() < 0.1, "{counts:?}");
}

#[test]
fn sets_without_a_counted_pixel_are_refused() {
    let stats = ClassStats::from_counts(2, [("a".to_owned(), vec![0, 0])]).unwrap();
    let error = RareClassSampler::new(&stats, &RcsConfig::default()).unwrap_err();
    assert!(
        error.to_string().contains("every pixel is ignored"),
        "{error}"
    );
    let counts = ClassStats::from_counts(2, [("a".to_owned(), vec![0, 0, 1])]);
    assert!(counts.unwrap_err().to_string().contains("\"a\""));
}
