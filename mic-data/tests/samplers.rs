//! Which samples the batch of a step holds.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashSet;

use mic_data::samplers::{BatchSampler, Incomplete, SamplerConfig, aspect_groups};

fn config(batch: usize, incomplete: Incomplete) -> SamplerConfig {
    SamplerConfig {
        incomplete,
        ..SamplerConfig::new(batch, 3, "source")
    }
}

fn indices(sampler: &BatchSampler, step: u64) -> Vec<usize> {
    sampler.batch(step).iter().map(|draw| draw.index).collect()
}

#[test]
fn a_pass_takes_every_sample_at_most_once() {
    let sampler = BatchSampler::new(23, config(4, Incomplete::Drop)).unwrap();
    assert_eq!(sampler.batches_per_pass(), 5);
    let mut orders = HashSet::new();
    for pass in 0..10 {
        let taken: Vec<_> = (0..5)
            .flat_map(|b| indices(&sampler, 5 * pass + b))
            .collect();
        assert_eq!(taken.iter().collect::<HashSet<_>>().len(), 20);
        orders.insert(taken);
    }
    assert_eq!(orders.len(), 10);
    let sampler = BatchSampler::new(23, config(4, Incomplete::Keep)).unwrap();
    let taken: Vec<_> = (6..12).flat_map(|step| indices(&sampler, step)).collect();
    assert_eq!(taken.iter().collect::<HashSet<_>>().len(), 23);
    assert_eq!(indices(&sampler, 11).len(), 3);
    let sampler = BatchSampler::new(3, config(8, Incomplete::Fill)).unwrap();
    assert_eq!(indices(&sampler, 0).len(), 8);
}

#[test]
fn numbers_of_draws_never_repeat() {
    let sampler = BatchSampler::new(10, config(3, Incomplete::Fill)).unwrap();
    let draws = (0..50).flat_map(|step| sampler.batch(step));
    let numbers: HashSet<_> = draws.map(|draw| draw.number).collect();
    assert_eq!(numbers.len(), 150);
}

#[test]
fn groups_stay_apart_and_batches_come_by_their_first_sample() {
    let sizes = (0..30u32).map(|i| if i % 3 == 0 { (10, 20) } else { (20, 10) });
    let groups = aspect_groups(sizes);
    for incomplete in [Incomplete::Keep, Incomplete::Drop, Incomplete::Fill] {
        let sampler = BatchSampler::grouped(groups.clone(), config(4, incomplete)).unwrap();
        // 20 wide and 10 high images.
        let per_pass = if incomplete == Incomplete::Drop { 7 } else { 8 };
        assert_eq!(sampler.batches_per_pass(), per_pass);
        // The order of the pass is that of batches of one, which grouping does not change.
        let order = BatchSampler::new(30, config(1, Incomplete::Keep)).unwrap();
        for pass in [0, 3, 2, 3] {
            let order: Vec<_> = (0..30)
                .flat_map(|s| indices(&order, 30 * pass + s))
                .collect();
            let place = |index: &usize| order.iter().position(|other| other == index).unwrap();
            let mut last = None;
            for step in per_pass * pass..per_pass * (pass + 1) {
                let batch = indices(&sampler, step);
                assert!(batch.iter().all(|index| groups[*index] == groups[batch[0]]));
                let places: Vec<_> = batch.iter().map(place).collect();
                if batch.len() == 4 && incomplete != Incomplete::Fill {
                    assert!(places.is_sorted());
                }
                assert!(last < Some(places[0]));
                last = Some(places[0]);
            }
        }
    }
}

#[test]
fn ranks_take_disjoint_equal_parts_of_the_same_batches() {
    let groups: Vec<u8> = (0..40).map(|i| u8::from(i % 3 == 0)).collect();
    for grouped in [false, true] {
        for incomplete in [Incomplete::Drop, Incomplete::Fill] {
            let open = |batch, rank, ranks| {
                let config = SamplerConfig {
                    rank,
                    ranks,
                    ..config(batch, incomplete)
                };
                match grouped {
                    true => BatchSampler::grouped(groups.clone(), config).unwrap(),
                    false => BatchSampler::new(40, config).unwrap(),
                }
            };
            for ranks in [2, 3] {
                let whole = open(ranks, 0, 1);
                let parts: Vec<_> = (0..ranks).map(|rank| open(1, rank, ranks)).collect();
                for step in 0..100 {
                    let union = parts.iter().flat_map(|part| part.batch(step));
                    assert!(union.eq(whole.batch(step)), "step {step}");
                }
            }
        }
    }
}

#[test]
fn impossible_batches_are_refused() {
    let refused = [
        (0, config(1, Incomplete::Drop), "no image"),
        (5, config(0, Incomplete::Drop), "at least 1"),
        (5, config(6, Incomplete::Drop), "5 samples"),
        (
            5,
            SamplerConfig {
                rank: 2,
                ranks: 2,
                ..config(1, Incomplete::Drop)
            },
            "rank 2 of 2",
        ),
        (
            5,
            SamplerConfig {
                ranks: 2,
                ..config(1, Incomplete::Keep)
            },
            "cannot be kept",
        ),
    ];
    for (len, config, expected) in refused {
        let error = BatchSampler::new(len, config).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
