//! A random share of boxes, positives and negatives in proportion (Ren et al., "Faster R-CNN",
//! sec. 3.1.3).

use mic_data::rng::stream;
use rand::seq::index;
use serde::{Deserialize, Serialize};

/// Chooses among candidates. How many there are depends on the network, so the choice cannot be
/// drawn before the step; what it depends on is the seed, the step and the place alone.
pub trait Picks {
    /// `count` distinct numbers below `of`, in any order. `site` names the place, such as
    /// `main.rpn_sampler.img0.pos`.
    fn pick(&self, site: &str, of: usize, count: usize) -> Vec<usize>;
}

/// Random choices, from a stream of its own for every place and step.
#[derive(Clone, Copy, Debug)]
pub struct RandomPicks {
    seed: u64,
    step: u64,
}

impl RandomPicks {
    /// The choices of `step` of the run `seed`.
    pub fn new(seed: u64, step: u64) -> Self {
        Self { seed, step }
    }
}

impl Picks for RandomPicks {
    fn pick(&self, site: &str, of: usize, count: usize) -> Vec<usize> {
        let mut rng = stream(self.seed, &format!("pick.{site}"), self.step);
        index::sample(&mut rng, of, count.min(of)).into_vec()
    }
}

/// How many boxes of an image are trained on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BalancedSampler {
    /// At most this many.
    pub batch: usize,
    /// The share of positives, 0 to 1; where there are fewer, negatives take their place, but not
    /// the other way round.
    pub positive_fraction: f64,
}

/// Chosen boxes, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sampled {
    /// Those with a positive label.
    pub positive: Vec<usize>,
    /// Those with label 0.
    pub negative: Vec<usize>,
}

impl Sampled {
    /// All of them, ascending.
    pub fn all(&self) -> Vec<usize> {
        let mut all = [self.positive.as_slice(), &self.negative].concat();
        all.sort_unstable();
        all
    }
}

impl BalancedSampler {
    /// Chooses among boxes by their labels: at least 1 is positive, 0 negative, below does not
    /// count.
    pub fn sample(&self, labels: &[i64], site: &str, picks: &dyn Picks) -> Sampled {
        let those = |keep: fn(i64) -> bool| -> Vec<usize> {
            let labels = labels.iter().enumerate();
            labels.filter(|&(_, &l)| keep(l)).map(|(i, _)| i).collect()
        };
        let (positive, negative) = (those(|l| l >= 1), those(|l| l == 0));
        let wanted = (self.batch as f64 * self.positive_fraction) as usize;
        let positives = positive.len().min(wanted);
        let negatives = negative.len().min(self.batch - positives.min(self.batch));
        let chosen = |name: &str, of: &[usize], count: usize| {
            let places = picks.pick(&format!("{site}.{name}"), of.len(), count);
            let mut chosen: Vec<usize> = places.into_iter().map(|i| of[i]).collect();
            chosen.sort_unstable();
            chosen
        };
        Sampled {
            positive: chosen("pos", &positive, positives),
            negative: chosen("neg", &negative, negatives),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negatives_fill_up_and_places_differ() {
        let mut labels = vec![0i64; 300];
        labels[..10].fill(2);
        labels[290..].fill(-1);
        let sampler = BalancedSampler {
            batch: 64,
            positive_fraction: 0.25,
        };
        let sample = |site: &str, step| sampler.sample(&labels, site, &RandomPicks::new(3, step));
        let sampled = sample("a", 0);
        assert_eq!(sampled.positive, (0..10).collect::<Vec<_>>());
        assert_eq!(sampled.negative.len(), 54);
        assert!(sampled.negative.iter().all(|&i| (10..290).contains(&i)));
        assert!(sampled.negative.is_sorted_by(|a, b| a < b));
        assert_eq!(sampled, sample("a", 0));
        assert_ne!(sampled, sample("b", 0));
        assert_ne!(sampled, sample("a", 1));
        labels.fill(1);
        let sampled = sampler.sample(&labels, "a", &RandomPicks::new(3, 0));
        assert_eq!((sampled.positive.len(), sampled.negative.len()), (16, 0));
    }
}
