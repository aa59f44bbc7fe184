//! Images a second of the training pipeline, without files: `cargo run -p mic-data --example
//! throughput [WIDTH HEIGHT]`.

#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::time::Instant;

use image::{GrayImage, Luma, Rgb, RgbImage};
use mic_data::datasets::InMemory;
use mic_data::{
    ClassStats, Labelled, OrderedLoader, PipelineConfig, RcsConfig, Result, UdaPipeline,
    WithoutLabels,
};

fn main() -> Result<()> {
    let sizes: Vec<u32> = std::env::args().skip(1).flat_map(|a| a.parse()).collect();
    let (width, height) = match sizes[..] {
        [width, height] => (width, height),
        _ => (128, 64),
    };
    let samples = (0..100u32).map(|number| Labelled {
        name: number.to_string(),
        image: RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, number as u8])),
        label: GrayImage::from_fn(width, height, |x, y| Luma([((x / 9 + y / 5) % 14) as u8])),
    });
    let set = Arc::new(InMemory::new(samples.collect()));
    let stats = ClassStats::count(&*set, 14, 1)?;
    let whole = PipelineConfig::default();
    let size = (width / 2, height / 2);
    let crop = PipelineConfig {
        crop: Some(size),
        cat_max_ratio: Some(0.75),
        rcs: Some(RcsConfig {
            min_pixels: u64::from(size.0 * size.1 / 20),
            ..RcsConfig::default()
        }),
        ..PipelineConfig::default()
    };
    let resize = PipelineConfig {
        source_resize: Some((width * 5 / 4, height * 5 / 4)),
        target_resize: Some((width * 5 / 4, height * 5 / 4)),
        crop: Some((width, height)),
        ..PipelineConfig::default()
    };
    println!("{width} x {height}, images a second (source and target together)");
    for (name, config) in [
        ("whole", whole),
        ("crop + rcs", crop),
        ("resize + crop", resize),
    ] {
        for threads in [0, 1, 2] {
            let target = Arc::new(WithoutLabels(Arc::clone(&set)));
            let source = Arc::clone(&set);
            let pipeline = UdaPipeline::new(source, Some(target), config.clone(), Some(&stats), 1)?;
            let images = 2 * pipeline.config().batch * 1000;
            let start = Instant::now();
            let loader = OrderedLoader::new(0, threads, move |step| pipeline.batch(step));
            for batch in loader.take(1000) {
                batch?;
            }
            let rate = images as f64 / start.elapsed().as_secs_f64();
            println!("{name}, {threads} threads: {rate:.0}");
        }
    }
    Ok(())
}
