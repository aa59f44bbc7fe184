//! Schedules against the classification reference's record.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;

use golden::Golden;
use mic_nn::schedule::{InverseDecay, WarmStart};

/// The record is in single precision.
fn assert_close(actual: f64, recorded: f64, what: &str) {
    let allowed = 1e-7 * recorded.abs();
    assert!(
        (actual - recorded).abs() <= allowed,
        "{what}: {actual:e}, recorded {recorded:e}"
    );
}

#[test]
fn learning_rates() {
    let golden = Golden::open("cls", "losses");
    let number = |key: &str| golden.config[key].as_f64().unwrap();
    let schedule = InverseDecay {
        gamma: number("lr_gamma"),
        decay: number("lr_decay"),
    };
    let (steps, rates) = (golden.numbers("lr.iter"), golden.numbers("lr.value"));
    assert!(!steps.is_empty() && rates.len() == 2 * steps.len());
    for (&step, rates) in steps.iter().zip(rates.chunks(2)) {
        for (factor, &rate) in [0.1, 1.0].into_iter().zip(rates) {
            let lr = schedule.lr(step as usize, factor * number("lr"));
            assert_close(lr, rate, &format!("iteration {step}"));
        }
    }
}

#[test]
fn reversal_coefficients() {
    let golden = Golden::open("cls", "losses");
    let (steps, coefficients) = (golden.numbers("grl.iter"), golden.numbers("grl.coeff"));
    assert!(!steps.is_empty() && coefficients.len() == steps.len());
    for (&step, &recorded) in steps.iter().zip(&coefficients) {
        let coefficient = WarmStart::default().coefficient(step as usize);
        assert_close(coefficient, recorded, &format!("iteration {step}"));
    }
}
