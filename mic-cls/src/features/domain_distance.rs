//! The proxy A-distance: how well a linear classifier tells two domains apart (Ben-David et al.,
//! 2010; the protocol is that of the published code).

use mic_data::rng::stream;
use rand::seq::SliceRandom;
use serde::Serialize;

use crate::{Error, Result};

const EPOCHS: u64 = 10;
const LEARNING_RATE: f64 = 0.01;
const BATCH: usize = 2;

/// How far two domains are apart.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DomainDistance {
    /// `2 (1 - 2 error)` of the domain classifier after its last epoch: 2 for domains that it tells
    /// apart without error, 0 for chance (below 0 if it is worse).
    pub a_distance: f64,
    /// The error, a fraction of the held-out features.
    pub error: f64,
    /// The same distance after every epoch.
    pub by_epoch: Vec<f64>,
    /// Features that the classifier was trained on.
    pub trained_on: usize,
    /// Features that it was measured on.
    pub measured_on: usize,
}

/// Trains a logistic regression on 80 % of the features, source against target, and measures its
/// error on the others: stochastic gradient descent with learning rate 0.01, batches of two, ten
/// epochs, raw features. The split and the order are drawn from `seed`.
///
/// # Errors
/// Fewer than five features of a domain, or features of different lengths.
pub fn domain_distance(
    source: &[Vec<f32>],
    target: &[Vec<f32>],
    seed: u64,
) -> Result<DomainDistance> {
    if source.len().min(target.len()) < 5 {
        return Err(Error::Run(format!(
            "{} source and {} target images are too few to tell domains apart; expected at least 5 \
             of each",
            source.len(),
            target.len()
        )));
    }
    let length = source[0].len();
    let labelled = |set: &[Vec<f32>], label: f64| -> Vec<(Vec<f32>, f64)> {
        set.iter().map(|x| (x.clone(), label)).collect()
    };
    let mut all = [labelled(source, 1.0), labelled(target, 0.0)].concat();
    if all.iter().any(|(x, _)| x.len() != length) {
        return Err(Error::Run("the features differ in length".into()));
    }
    all.shuffle(&mut stream(seed, "domain distance split", 0));
    let measured = all.split_off((0.8 * all.len() as f64) as usize);
    let mut classifier = Classifier {
        weights: vec![0.0; length],
        bias: 0.0,
    };
    let mut by_epoch = Vec::new();
    let mut error = 0.5;
    for epoch in 0..EPOCHS {
        all.shuffle(&mut stream(seed, "domain distance order", epoch));
        for batch in all.chunks(BATCH) {
            classifier.step(batch);
        }
        let wrong = measured
            .iter()
            .filter(|(x, label)| (classifier.probability(x) >= 0.5) != (*label > 0.5));
        error = wrong.count() as f64 / measured.len() as f64;
        by_epoch.push(2.0 * (1.0 - 2.0 * error));
    }
    Ok(DomainDistance {
        a_distance: 2.0 * (1.0 - 2.0 * error),
        error,
        by_epoch,
        trained_on: all.len(),
        measured_on: measured.len(),
    })
}

struct Classifier {
    weights: Vec<f64>,
    bias: f64,
}

impl Classifier {
    fn probability(&self, x: &[f32]) -> f64 {
        let products = self.weights.iter().zip(x).map(|(w, x)| w * f64::from(*x));
        1.0 / (1.0 + (-(products.sum::<f64>() + self.bias)).exp())
    }

    /// A step along the mean gradient of the binary cross-entropy.
    fn step(&mut self, batch: &[(Vec<f32>, f64)]) {
        let rate = LEARNING_RATE / batch.len() as f64;
        let errors: Vec<f64> = batch
            .iter()
            .map(|(x, label)| self.probability(x) - label)
            .collect();
        for ((x, _), error) in batch.iter().zip(errors) {
            for (weight, x) in self.weights.iter_mut().zip(x) {
                *weight -= rate * error * f64::from(*x);
            }
            self.bias -= rate * error;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    fn cloud(count: usize, centre: f32, purpose: &str) -> Vec<Vec<f32>> {
        let mut rng = stream(3, purpose, 0);
        (0..count)
            .map(|_| (0..6).map(|_| centre + rng.random::<f32>()).collect())
            .collect()
    }

    #[test]
    fn domains_far_apart_have_distance_two_and_equal_ones_about_none() {
        let near = cloud(200, 0.0, "a");
        let apart = domain_distance(&near, &cloud(200, 4.0, "b"), 0).unwrap();
        assert_eq!(apart.a_distance, 2.0);
        assert_eq!((apart.trained_on, apart.measured_on), (320, 80));
        assert_eq!(apart.by_epoch.len(), 10);
        let same = domain_distance(&near, &cloud(200, 0.0, "c"), 0).unwrap();
        assert!(same.a_distance.abs() < 0.8, "{same:?}");
        assert_eq!(same.a_distance, 2.0 * (1.0 - 2.0 * same.error));
    }

    #[test]
    fn a_seed_gives_the_same_numbers_and_few_images_are_refused() {
        let (a, b) = (cloud(30, 0.0, "a"), cloud(30, 0.3, "b"));
        assert_eq!(
            domain_distance(&a, &b, 5).unwrap(),
            domain_distance(&a, &b, 5).unwrap()
        );
        let error = domain_distance(&a[..4], &b, 0).unwrap_err().to_string();
        assert!(error.contains("4 source and 30 target images"), "{error}");
    }
}
