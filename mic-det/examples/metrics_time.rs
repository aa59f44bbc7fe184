//! Times the measures on 500 images with 100 detections each.
//!
//! `cargo run -p mic-det --example metrics_time`

use std::time::Instant;

use mic_det::metrics::{FoundBox, ImageBoxes, TrueBox, measure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const IMAGES: usize = 500;
const FOUND: usize = 100;
const OBJECTS: usize = 20;
const CLASSES: u32 = 8;

#[allow(clippy::print_stdout)] // The message is all this program does.
fn main() {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let images: Vec<ImageBoxes> = (0..IMAGES).map(|n| image(&mut rng, n)).collect();
    let names: Vec<String> = (1..=CLASSES).map(|n| format!("class {n}")).collect();
    let start = Instant::now();
    let metrics = measure(&images, &names);
    let seconds = start.elapsed().as_secs_f64();
    print!("{}", metrics.table());
    println!(
        "{} detections in {IMAGES} images: {seconds:.3} s",
        IMAGES * FOUND
    );
}

fn image(rng: &mut ChaCha8Rng, number: usize) -> ImageBoxes {
    let truth: Vec<TrueBox> = (0..OBJECTS)
        .map(|n| {
            let side = || 2f64.powf(3.0 + 5.0 * (n as f64 / OBJECTS as f64));
            let xywh = [
                rng.random_range(0.0..1500.0),
                rng.random_range(0.0..700.0),
                side(),
                side(),
            ];
            TrueBox {
                label: rng.random_range(1..=CLASSES),
                xywh,
                area: xywh[2] * xywh[3],
                ignored: false,
                id: (number * OBJECTS + n + 1) as u64,
            }
        })
        .collect();
    let found = (0..FOUND).map(|n| {
        let near = truth[n % OBJECTS];
        let spread = near.xywh[2] * 0.3;
        FoundBox {
            label: near.label,
            xywh: near.xywh.map(|v| v + rng.random_range(-spread..spread)),
            score: rng.random_range(0.0..1.0),
        }
    });
    ImageBoxes {
        found: found.collect(),
        truth,
    }
}
