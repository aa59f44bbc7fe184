//! How much memory a run will take, told before its first step.

use candle_core::{DType, Device, Tensor};
use mic_data::rng::stream;
use mic_data::{SourceBatch, TargetBatch, UdaBatch};
use mic_nn::forward::RandomDrops;
use mic_nn::memory::{in_use, peak, reset_peak};

use crate::Result;
use crate::config::{Config, OptimizerKind};
use crate::train::build;
use crate::uda::{Draws, Training};

/// The prediction, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// What is there already: networks, teachers, images.
    pub present: u64,
    /// Gradients and the optimiser's state.
    pub training: u64,
    /// The copy that a checkpoint is written from while training goes on.
    pub checkpoint: u64,
    /// What a step needs on top, at its fullest.
    pub step: u64,
}

impl Footprint {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.present + self.training + self.checkpoint + self.step
    }
}

/// Takes a step with other networks of the same shape on images of half the width and height, and
/// scales what it needed to `size` (width, height): activations grow with the number of pixels.
/// `None` where the allocator of [`mic_nn::memory`] does not count, or where the images cannot be
/// halved.
///
/// # Errors
/// If the step fails.
pub(crate) fn predict(
    config: &Config,
    method: &Training,
    size: (u32, u32),
) -> Result<Option<Footprint>> {
    let Some(present) = mic_run::memory::resident() else {
        return Ok(None);
    };
    let (Some(small), half) = (halved(config), (half(size.0), half(size.1))) else {
        return Ok(None);
    };
    let parameters = method.parameters();
    let bytes = |t: &Tensor| (t.elem_count() * t.dtype().size_in_bytes()) as u64;
    let gradients: u64 = parameters.iter().map(|(_, var)| bytes(var)).sum();
    let moments = match config.optimizer.kind {
        OptimizerKind::AdamW { .. } => 2,
        OptimizerKind::Sgd { .. } => 1,
    };
    let mut probe = build(&small, None)?;
    let batch = blank(&small, half, probe.options().target.needs_target())?;
    let draws = Draws::sample(probe.options(), small.seed, 0, &batch.source.label)?;
    let drops = RandomDrops::new(stream(small.seed, "dropout", 0));
    reset_peak();
    let before = in_use();
    probe.step(0, &batch, &draws, &drops, None)?;
    let needed = (peak().saturating_sub(before) as u64).saturating_sub(gradients);
    if needed == 0 {
        return Ok(None);
    }
    let pixels = |(width, height): (u32, u32)| f64::from(width) * f64::from(height);
    Ok(Some(Footprint {
        present,
        training: gradients * (1 + moments),
        checkpoint: method.state()?.iter().map(|(_, t)| bytes(t)).sum::<u64>()
            + gradients * moments,
        step: (needed as f64 * pixels(size) / pixels(half)) as u64,
    }))
}

/// Half, at a multiple of the coarsest stride.
fn half(side: u32) -> u32 {
    (side / 64 * 32).max(32)
}

/// The same run on images of half the size, from random weights.
fn halved(config: &Config) -> Option<Config> {
    let mut raw = config.raw.clone();
    let sides = |size: [usize; 2]| size.map(|side| half(side as u32) as usize);
    raw.data.crop = raw.data.crop.map(sides);
    if let Some(hrda) = &mut raw.model.hrda {
        hrda.crop = sides(hrda.crop);
    }
    raw.model.pretrained = None;
    raw.method.feature_distance = 0.0;
    raw.train.init_from = None;
    raw.check().ok()
}

/// A batch of black images of one class.
fn blank(config: &Config, (width, height): (u32, u32), target: bool) -> Result<UdaBatch> {
    let (b, w, h) = (config.train.batch, width as usize, height as usize);
    let image = Tensor::zeros((b, 3, h, w), DType::F32, &Device::Cpu)?;
    let names = vec![String::new(); b];
    let target = target.then(|| TargetBatch {
        image: image.clone(),
        valid: None,
        names: names.clone(),
    });
    let source = SourceBatch {
        label: Tensor::zeros((b, h, w), DType::U8, &Device::Cpu)?,
        image,
        names,
    };
    Ok(UdaBatch { source, target })
}
