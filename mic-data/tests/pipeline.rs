//! Batches: which images they hold, and that augmentation keeps image, label and mask together.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use image::{GrayImage, Luma, Rgb, RgbImage};
use mic_data::datasets::InMemory;
use mic_data::transform::Normalise;
use mic_data::{
    BadSamples, BatchPipeline, ClassStats, Labelled, LabelledSet, LoaderConfig, OrderedLoader,
    PipelineConfig, RcsConfig, UdaBatch, UdaPipeline, Unlabelled, WithoutLabels,
};

/// The label of a pixel is a function of its colour, so that every later place can be checked.
fn class_of(x: u8, y: u8) -> u8 {
    (x / 3 + y / 2) % 5
}

/// Every pixel holds (1 + x, 1 + y, image number).
fn image(number: u8, width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([1 + x as u8, 1 + y as u8, number])
    })
}

fn labelled(number: u8, width: u32, height: u32) -> Labelled {
    Labelled {
        name: format!("s{number}"),
        image: image(number, width, height),
        label: GrayImage::from_fn(width, height, |x, y| {
            Luma([class_of(1 + x as u8, 1 + y as u8)])
        }),
    }
}

fn source(count: u8) -> Arc<InMemory<Labelled>> {
    let samples = (0..count).map(|number| labelled(number, 24, 16));
    Arc::new(InMemory::new(samples.collect()))
}

/// Pseudo-labels are valid where x is even.
fn target(count: u8) -> Arc<InMemory<Unlabelled>> {
    let samples = (0..count).map(|number| Unlabelled {
        name: format!("t{number}"),
        image: image(number, 24, 16),
        valid: Some(GrayImage::from_fn(24, 16, |x, _| Luma([(x % 2) as u8]))),
    });
    Arc::new(InMemory::new(samples.collect()))
}

/// Colours come out as they are.
fn plain() -> PipelineConfig {
    PipelineConfig {
        normalise: Normalise {
            mean: [0.0; 3],
            std: [1.0; 3],
        },
        ..PipelineConfig::default()
    }
}

fn pixels(batch: &candle_core::Tensor) -> Vec<Vec<Vec<f32>>> {
    batch.flatten_from(2).unwrap().to_vec3().unwrap()
}

fn greys(batch: &candle_core::Tensor) -> Vec<Vec<u8>> {
    batch.flatten_from(1).unwrap().to_vec2().unwrap()
}

fn same(a: &UdaBatch, b: &UdaBatch) -> bool {
    let (ta, tb) = (a.target.as_ref().unwrap(), b.target.as_ref().unwrap());
    (&a.source.names, &ta.names) == (&b.source.names, &tb.names)
        && pixels(&a.source.image) == pixels(&b.source.image)
        && greys(&a.source.label) == greys(&b.source.label)
        && pixels(&ta.image) == pixels(&tb.image)
        && ta.valid.as_ref().map(greys) == tb.valid.as_ref().map(greys)
}

#[track_caller]
fn expect_error<T>(result: mic_data::Result<T>, parts: &[&str]) {
    let text = match result {
        Ok(_) => panic!("no error, but one with {parts:?} was expected"),
        Err(error) => error.to_string(),
    };
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

#[test]
fn labels_and_masks_follow_their_pixels_and_padding_counts_nowhere() {
    // The crop is lower than the images, but wider.
    let config = PipelineConfig {
        batch: 3,
        crop: Some((30, 10)),
        ..plain()
    };
    let pipeline = UdaPipeline::new(source(4), Some(target(3)), config, None, 9).unwrap();
    let (mut tops, mut mirrored) = (BTreeSet::new(), 0);
    for step in 0..20 {
        let batch = pipeline.batch(step).unwrap();
        let target = batch.target.unwrap();
        let source = batch.source;
        assert_eq!(source.image.dims(), [3, 3, 10, 30]);
        assert_eq!(source.label.dims(), [3, 10, 30]);
        let labels = greys(&source.label);
        for (image, label) in pixels(&source.image).iter().zip(&labels) {
            for place in 0..300 {
                let (x, y) = (image[0][place] as u8, image[1][place] as u8);
                let expected = if x == 0 { 255 } else { class_of(x, y) };
                assert_eq!(label[place], expected);
                assert_eq!(x == 0, place % 30 >= 24);
            }
            tops.insert(image[1][0] as u8);
            mirrored += u32::from(image[0][0] > image[0][1]);
        }
        let valid = greys(target.valid.as_ref().unwrap());
        for (image, valid) in pixels(&target.image).iter().zip(&valid) {
            for place in 0..300 {
                let x = image[0][place] as u8;
                let expected = x > 0 && (x - 1) % 2 == 1;
                assert_eq!(valid[place], u8::from(expected));
            }
        }
    }
    assert!(tops.into_iter().eq(1..=7), "every offset of the crop");
    assert!((20..40).contains(&mirrored), "{mirrored} of 60 mirrored");
}

#[test]
fn a_batch_is_a_function_of_seed_and_step_alone() {
    let config = PipelineConfig {
        crop: Some((8, 8)),
        cat_max_ratio: Some(0.6),
        ..plain()
    };
    let make = |seed| {
        let (source, target) = (source(7), Some(target(5) as Arc<_>));
        UdaPipeline::new(source, target, config.clone(), None, seed).unwrap()
    };
    let pipeline = make(3);
    let batches: Vec<_> = (5..17).map(|step| pipeline.batch(step).unwrap()).collect();
    for threads in [0, 1, 2, 5, 8] {
        // Resumed anywhere, with room for all or for two batches.
        for (resumed, memory) in [(0, u64::MAX), (4, 7000), (11, 1)] {
            let other = make(3);
            let config = LoaderConfig {
                memory,
                ..LoaderConfig::new(threads)
            };
            let start = 5 + resumed;
            let make = move |step| other.batch(step);
            let loader = OrderedLoader::with_config(start, &config, make);
            for (batch, expected) in loader.zip(&batches[resumed as usize..]) {
                assert!(same(&batch.unwrap(), expected), "{threads} threads");
            }
        }
    }
    assert!(
        same(&pipeline.batch(9).unwrap(), &batches[4]),
        "out of order"
    );
    assert!(!same(&batches[0], &batches[1]));
    assert!(
        !same(&make(4).batch(5).unwrap(), &batches[0]),
        "another seed"
    );
}

#[test]
fn a_round_takes_every_pair_once_and_the_next_in_another_order() {
    let config = PipelineConfig {
        batch: 3,
        ..plain()
    };
    let pipeline = UdaPipeline::new(source(7), Some(target(3)), config.clone(), None, 1).unwrap();
    let round = |first: u64| -> Vec<(String, String)> {
        let batches = (first..first + 7).map(|step| pipeline.batch(step).unwrap());
        batches
            .flat_map(|b| b.source.names.into_iter().zip(b.target.unwrap().names))
            .collect()
    };
    let (first, second) = (round(0), round(7));
    assert_ne!(first, second);
    for round in [first, second] {
        assert_eq!(round.iter().collect::<BTreeSet<_>>().len(), 21);
    }
    let alone = UdaPipeline::new(source(6), None, config, None, 1).unwrap();
    for first in [0, 2, 4] {
        let names = (first..first + 2).flat_map(|step| alone.batch(step).unwrap().source.names);
        assert_eq!(names.collect::<BTreeSet<_>>().len(), 6);
    }
    assert!(alone.batch(0).unwrap().target.is_none());
}

#[test]
fn images_are_scaled_by_domain_with_their_ratio() {
    let config = PipelineConfig {
        source_resize: Some((48, 32)),
        target_resize: Some((12, 10)),
        ..plain()
    };
    let unmasked = Arc::new(WithoutLabels(source(2)));
    let pipeline = UdaPipeline::new(source(2), Some(unmasked), config, None, 1).unwrap();
    let batch = pipeline.batch(0).unwrap();
    assert_eq!(batch.source.image.dims(), [2, 3, 32, 48]);
    assert_eq!(batch.source.label.dims(), [2, 32, 48]);
    let target = batch.target.unwrap();
    assert_eq!(target.image.dims(), [2, 3, 8, 12]);
    assert!(target.valid.is_none());
}

#[test]
fn images_of_other_sizes_need_a_crop() {
    let mixed = vec![labelled(0, 24, 16), labelled(1, 20, 16)];
    let mixed = Arc::new(InMemory::new(mixed));
    let with = |config| UdaPipeline::new(mixed.clone(), None, config, None, 1).unwrap();
    let parts = [
        "\"s0\"",
        "\"s1\"",
        "24 x 16",
        "20 x 16",
        "set crop",
        "source_resize",
    ];
    expect_error(with(plain()).batch(0), &parts);
    let config = PipelineConfig {
        crop: Some((16, 16)),
        ..plain()
    };
    assert_eq!(
        with(config).batch(0).unwrap().source.image.dims(),
        [2, 3, 16, 16]
    );

    let mut wrong = labelled(3, 24, 16);
    wrong.label = GrayImage::new(24, 15);
    let wrong = UdaPipeline::new(Arc::new(InMemory::new(vec![wrong])), None, plain(), None, 1);
    expect_error(wrong.unwrap().batch(0), &["\"s3\"", "24 x 16", "24 x 15"]);
}

/// Eight images of class 0; image 5 has a block of class 1 in a corner, image 6 some pixels.
fn with_a_rare_class() -> Arc<InMemory<Labelled>> {
    let samples = (0..8).map(|number| Labelled {
        name: format!("s{number}"),
        image: image(number, 40, 40),
        label: GrayImage::from_fn(40, 40, |x, y| {
            let side = [0, 0, 0, 0, 0, 12, 3, 0][usize::from(number)];
            Luma([u8::from(x < side && y < side)])
        }),
    });
    Arc::new(InMemory::new(samples.collect()))
}

fn rare_config(min_pixels: u64) -> PipelineConfig {
    PipelineConfig {
        batch: 4,
        crop: Some((20, 20)),
        rcs: Some(RcsConfig {
            min_pixels,
            class_temp: 0.01,
            min_crop_ratio: 0.5,
        }),
        ..plain()
    }
}

#[test]
fn rare_classes_choose_images_and_crops() {
    let source = with_a_rare_class();
    let stats = ClassStats::count(&*source, 2, 2).unwrap();
    assert_eq!(stats.totals(), [8 * 1600 - 153, 153]);
    let config = rare_config(100);
    let pipeline = UdaPipeline::new(source, Some(target(3)), config, Some(&stats), 2).unwrap();
    let (mut enough, mut draws) = (0, 0);
    let mut targets = BTreeSet::new();
    for step in 0..50 {
        let batch = pipeline.batch(step).unwrap();
        targets.extend(batch.target.unwrap().names);
        for (name, label) in batch.source.names.iter().zip(greys(&batch.source.label)) {
            // P(class 0) is below 1e-40; only image 5 has over 100 pixels of class 1.
            assert_eq!(name, "s5");
            draws += 1;
            let rare = label.iter().filter(|id| **id == 1).count();
            enough += u32::from(rare > 50);
        }
    }
    assert_eq!(targets.len(), 3);
    // A crop at (x, y) holds (12 - x)(12 - y) rare pixels, over 50 in 33 of 21 x 21 places; one of
    // eleven draws does with 1 - (1 - 33/441)^11 = 0.575 (standard deviation over 200: 0.035).
    let share = f64::from(enough) / f64::from(draws);
    assert!((0.435..0.715).contains(&share), "{share}");
}

#[test]
fn statistics_must_be_there_and_of_this_set() {
    let set = with_a_rare_class();
    let stats = ClassStats::count(&*set, 2, 0).unwrap();
    let with = |stats: Option<&ClassStats>, min_pixels| {
        UdaPipeline::new(set.clone(), None, rare_config(min_pixels), stats, 1)
    };
    expect_error(with(None, 100), &["rcs", "no class statistics"]);
    expect_error(with(Some(&stats), 144), &["min_pixels = 144", "class 1"]);
    let renamed = |skip: usize| {
        let counts = stats.counts().iter().skip(skip).cloned();
        let images = counts
            .enumerate()
            .map(|(i, counts)| (format!("x{i}"), counts));
        ClassStats::from_counts(2, images).unwrap()
    };
    expect_error(with(Some(&renamed(1)), 100), &["7 images", "set of 8"]);
    let other = with(Some(&renamed(0)), 100).unwrap();
    expect_error(other.batch(0), &["\"s5\"", "\"x5\"", "another set"]);
}

#[test]
fn unknown_ids_are_named_when_classes_are_counted() {
    let set = with_a_rare_class();
    expect_error(
        ClassStats::count(&*set, 1, 2),
        &["\"s5\"", "144 pixels of id 1"],
    );
}

#[test]
fn unusable_configurations_and_empty_sets_are_refused() {
    let with = |change: &dyn Fn(&mut PipelineConfig)| {
        let mut config = plain();
        change(&mut config);
        UdaPipeline::new(source(1), None, config, None, 1)
    };
    expect_error(with(&|c| c.batch = 0), &["batch"]);
    expect_error(with(&|c| c.crop = Some((0, 4))), &["crop", "(0, 4)"]);
    expect_error(with(&|c| c.flip = 1.5), &["flip", "1.5"]);
    expect_error(with(&|c| c.cat_max_ratio = Some(0.75)), &["set crop"]);
    expect_error(with(&|c| c.normalise.std[1] = 0.0), &["std"]);
    let empty = UdaPipeline::new(source(0), None, plain(), None, 1);
    expect_error(empty, &["source set has no image"]);
    let empty = UdaPipeline::new(source(1), Some(target(0)), plain(), None, 1);
    expect_error(empty, &["target set has no image"]);
}

/// A set in which some images cannot be read.
struct WithBad(Arc<InMemory<Labelled>>, Vec<usize>);

impl LabelledSet for WithBad {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> mic_data::Result<Labelled> {
        if self.1.contains(&index) {
            let path = format!("{index}.png").into();
            let reason = "no picture".to_owned();
            return Err(mic_data::Error::Decode { path, reason });
        }
        self.0.get(index)
    }
}

#[test]
fn bad_samples_are_replaced_alike_for_any_number_of_threads() {
    let make = |bad: &[usize]| {
        let set = Arc::new(WithBad(source(7), bad.to_vec()));
        let target = WithoutLabels(WithBad(source(5), vec![1]));
        UdaPipeline::new(set, Some(Arc::new(target)), plain(), None, 3).unwrap()
    };
    let pipeline = make(&[2, 6]);
    let expected: Vec<_> = (0..20)
        .map(|s| pipeline.checked_batch(s).unwrap())
        .collect();
    let replaced: usize = expected.iter().map(|batch| batch.bad.len()).sum();
    // 40 draws of each domain: 2 of 7 and 1 of 5 are bad, and so may replacements be.
    assert!((12..40).contains(&replaced), "{replaced}");
    for threads in [0, 1, 2, 8] {
        let pipeline = make(&[2, 6]);
        let loader = OrderedLoader::new(0, threads, move |step| pipeline.checked_batch(step));
        let mut bad = BadSamples::new(3);
        for (batch, expected) in loader.zip(&expected) {
            let batch = batch.unwrap();
            assert_eq!(batch.bad, expected.bad);
            assert!(same(&bad.admit(batch).unwrap(), &expected.value));
        }
        let list: Vec<_> = bad.list().map(|bad| bad.to_string()).collect();
        let parts = [
            "source sample 2: ",
            "source sample 6: ",
            "target sample 1: ",
        ];
        assert!(
            list.iter()
                .zip(parts)
                .all(|(bad, part)| bad.starts_with(part))
        );
        assert!(list[0].contains("2.png") && list[0].contains("no picture"));
    }
    // Good samples are those of the pipeline without bad ones.
    let clean = (0..20).filter(|step| expected[*step as usize].bad.is_empty());
    for step in clean {
        assert!(same(
            &pipeline.batch(step).unwrap(),
            &expected[step as usize].value
        ));
    }
    let first = expected
        .iter()
        .position(|batch| !batch.bad.is_empty())
        .unwrap();
    expect_error(pipeline.batch(first as u64), &["no picture"]);
}

#[test]
fn a_run_stops_at_the_same_step_with_the_list_of_bad_samples() {
    let mut stops = BTreeSet::new();
    for threads in [0, 1, 2, 8] {
        let set = Arc::new(WithBad(source(7), vec![2, 4, 6]));
        let pipeline = UdaPipeline::new(set, None, plain(), None, 3).unwrap();
        let loader = OrderedLoader::new(0, threads, move |step| pipeline.checked_batch(step));
        let mut bad = BadSamples::new(2);
        let (step, error) = loader
            .map(|batch| bad.admit(batch.unwrap()).map(|_| ()))
            .enumerate()
            .find_map(|(step, result)| Some((step, result.err()?.to_string())))
            .unwrap();
        for part in ["3 samples", "2.png", "4.png", "6.png"] {
            assert!(error.contains(part), "{part:?} is missing in: {error}");
        }
        stops.insert(step);
    }
    assert_eq!(stops.len(), 1);
    let set = Arc::new(WithBad(source(2), vec![0, 1]));
    let hopeless = UdaPipeline::new(set, None, plain(), None, 3).unwrap();
    expect_error(hopeless.checked_batch(0), &["none of 100", "no picture"]);
}
