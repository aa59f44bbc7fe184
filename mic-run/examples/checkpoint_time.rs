//! Times a checkpoint of the size of a MiT-B5 with DAFormer's head: student, teacher and the two
//! moments of AdamW, 4 times 85 million numbers.
//!
//! ```text
//! cargo run -p mic-run --example checkpoint_time -- FOLDER
//! ```

#![allow(clippy::print_stdout)] // a program for people

use std::path::PathBuf;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use mic_run::checkpoint::{Content, Keep, Manifest, Progress, Writer, newest};

const TENSORS: usize = 1000;
const VALUES: usize = 85_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("name a folder")?);
    let tensors = |prefix: &str| -> candle_core::Result<Vec<(String, Tensor)>> {
        let one = |i| {
            let tensor = Tensor::zeros(VALUES, DType::F32, &Device::Cpu)?;
            Ok((format!("{prefix}{i}"), (tensor + i as f64)?))
        };
        (0..TENSORS).map(one).collect()
    };
    let content = Content {
        weights: [tensors("model.")?, tensors("ema_model.")?].concat(),
        training: [
            tensors("optimizer.exp_avg.")?,
            tensors("optimizer.exp_avg_sq.")?,
        ]
        .concat(),
    };
    let keep = Keep {
        last: 1,
        every: 0,
        best: false,
    };
    let mut writer = Writer::new(&folder, keep)?;
    for step in 1..=3 {
        let progress = Progress {
            step,
            ..Progress::default()
        };
        let began = Instant::now();
        writer.begin(&content, Manifest::new("example", 0, "", progress));
        let stopped = began.elapsed().as_secs_f64();
        let written = writer.wait().ok_or("nothing was written")??;
        println!(
            "{:.2} GB: training stands still for {stopped:.2} s, written in {:.2} s",
            written.bytes as f64 / 1e9,
            written.seconds
        );
    }
    let began = Instant::now();
    let found = newest(&folder)?.ok_or("no checkpoint")?;
    let checked = began.elapsed().as_secs_f64();
    let count = found.checkpoint.content()?.named().len();
    println!(
        "checked in {checked:.2} s, {count} tensors read in {:.2} s",
        began.elapsed().as_secs_f64() - checked
    );
    Ok(())
}
