//! Cross-entropy.

use candle_core::{DType, Device, Tensor};
use mic_nn::ops::{self, CrossEntropyOptions};
use rand::Rng;

use super::emulator::{Emulator, emulators};
use super::memory::{Buffer, Struct};
use super::reference::{close, close_single, expected, floats, rng, tensor, tolerance, values};

#[test]
fn cross_entropy_agrees() {
    for e in emulators() {
        for seed in 0..12 {
            cross_entropy(e, seed);
        }
    }
}

fn cross_entropy(e: &Emulator, seed: u64) {
    let rng = &mut rng(seed);
    let (batch, pixels) = (
        [1, 2, 3][seed as usize % 3],
        [1, 35, 257, 600][seed as usize % 4],
    );
    let classes = [1, 2, 19, 31][seed as usize / 3];
    let (weighted, class_weighted) = (seed.is_multiple_of(2), seed % 5 < 2);
    let ignore = (seed % 4 != 3).then_some(255);
    let count = batch * pixels;
    let label = |_| match rng.random_range(0..5) {
        0 if ignore.is_some() => 255,
        _ => rng.random_range(0..classes as u8),
    };
    let labels: Vec<u8> = (0..count).map(label).collect();
    let z = values(rng, e.storage, count * classes);
    let z: Vec<f32> = z.iter().map(|v| v * 4.0).collect();
    let weight: Vec<f32> = floats(rng, count).iter().map(|w| w.max(0.0)).collect();
    let class_weight: Vec<f32> = floats(rng, classes).iter().map(|w| w.abs()).collect();
    let bytes = seed % 3 != 1;
    let label = Tensor::from_vec(labels.clone(), (batch, 1, pixels), &Device::Cpu).unwrap();
    let options = CrossEntropyOptions {
        ignore,
        weight: weighted.then(|| tensor((&weight, &[batch, 1, pixels]))),
        class_weight: class_weighted.then(|| class_weight.iter().map(|&w| w.into()).collect()),
    };
    let op = |t: &[Tensor]| ops::cross_entropy(&t[0], &label, &options);
    let want = expected(rng, e.storage, &[(&z, &[batch, classes, 1, pixels])], op);

    let byte_labels = Buffer::bytes(&labels);
    let words: Vec<i32> = labels.iter().map(|&l| l.into()).collect();
    let word_labels = Buffer::ints(&words);
    let (weight, class_weight) = (Buffer::floats(&weight), Buffer::floats(&class_weight));
    let given = || {
        Struct::default()
            .pointer(bytes.then_some(&byte_labels))
            .pointer((!bytes).then_some(&word_labels))
            .pointer(weighted.then_some(&weight))
            .pointer(class_weighted.then_some(&class_weight))
            .long(ignore.map_or(-1, i64::from))
    };
    let (z, g) = (e.put(&z), Buffer::floats(&want.g));
    let (log_sums, blocks) = (Buffer::room(count), count.div_ceil(256));
    let (partials, invalid) = (Buffer::room(blocks), Buffer::longs(&[i64::MAX]));
    let (mean, dz) = (Buffer::room(1), e.room(count * classes));
    let (n, c, p) = (count as i64, classes as i32, pixels as i64);
    let name = "cross_entropy_forward";
    e.over(
        name,
        count,
        &[&z, &given(), &n, &c, &p, &log_sums, &partials, &invalid],
    );
    let name = "cross_entropy_mean";
    e.launch(
        name,
        [1, 1, 1],
        [256, 1],
        &[&partials, &(blocks as i32), &n, &mean],
    );
    e.over(
        "cross_entropy_backward",
        count,
        &[&z, &given(), &log_sums, &g, &n, &c, &p, &dz],
    );
    let what = format!("cross_entropy {batch} x {classes} x {pixels}");
    assert_eq!(invalid.read_longs(), [i64::MAX]);
    // One class: the loss is the rounding error of a difference.
    if classes > 1 {
        close_single(&what, &mean.read_floats(), &want.y, tolerance(2e-6));
        close(
            &what,
            e.storage,
            &e.get(&dz),
            &want.gradients[0],
            tolerance(3e-6),
        );
    }
}

#[test]
fn ignored_pixels_count_for_nothing_and_wrong_labels_are_found() {
    for e in emulators().iter().take(1) {
        // Of four pixels one is ignored with logits that are not finite, and one has no such class.
        let z = e.put(&[0.5, f32::NAN, 1.0, 2.0, 0.25, f32::INFINITY, 3.0, 4.0]);
        let labels = Buffer::bytes(&[1, 255, 7, 0]);
        let given = || {
            Struct::default()
                .pointer(Some(&labels))
                .pointer(None)
                .pointer(None)
                .pointer(None)
                .long(255)
        };
        let (log_sums, partials, invalid) =
            (Buffer::room(4), Buffer::room(1), Buffer::longs(&[i64::MAX]));
        let (g, dz) = (Buffer::floats(&[4.0]), e.room(8));
        let name = "cross_entropy_forward";
        e.over(
            name,
            4,
            &[
                &z,
                &given(),
                &4i64,
                &2i32,
                &4i64,
                &log_sums,
                &partials,
                &invalid,
            ],
        );
        e.over(
            "cross_entropy_backward",
            4,
            &[&z, &given(), &log_sums, &g, &4i64, &2i32, &4i64, &dz],
        );
        assert_eq!(invalid.read_longs(), [2]);
        let logits = Tensor::new(&[[0.5f64, 0.25], [2.0, 4.0]], &Device::Cpu).unwrap();
        let label = Tensor::new(&[1u32, 0], &Device::Cpu).unwrap();
        let want = ops::cross_entropy(&logits, &label, &CrossEntropyOptions::default()).unwrap();
        let want = 2.0
            * want
                .to_dtype(DType::F64)
                .unwrap()
                .to_scalar::<f64>()
                .unwrap();
        close_single("sum", &partials.read_floats(), &[want], tolerance(1e-6));
        let dz = e.get(&dz);
        assert!(dz[0] > 0.0 && dz[7] > 0.0);
        assert_eq!([dz[1], dz[2], dz[5], dz[6]], [0.0; 4]);
    }
}
