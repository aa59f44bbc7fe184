//! Our side of one whole iteration of SADA with masked image consistency.

use candle_core::{DType, Device, Error, Result};
use mic_core::augment::GaussianBlur;
use mic_core::{BlockMask, BlockMaskConfig};
use mic_det::Tap;
use mic_det::batch::{Batch, SourceBatch, TargetBatch, Truth};
use mic_det::detector::{DetectorConfig, Model};
use mic_det::rpn::Weighting;
use mic_det::sampler::Picks;
use mic_det::uda::{Adaptation, Draws, MaskDraws, MaskedConsistency, Options, SgdOptions};
use mic_nn::forward::Drops;
use mic_nn::params::Store;
use mic_nn::schedule::StepWarmup;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Serialize;

use super::Network;
use super::iteration::Step;
use crate::bench::cases::fill;

/// An iteration's options and everything random in it. Boxes mean what they do in torchvision, of
/// whose parts PyTorch's side is made.
#[derive(Clone, Debug, Serialize)]
pub(in crate::bench) struct Detector {
    /// Blocks of the ResNet's stages.
    depths: Vec<usize>,
    /// Channels of the pyramid.
    channels: usize,
    /// Width of the region head.
    hidden: usize,
    image_hidden: usize,
    instance_hidden: usize,
    /// Reversed gradient of the image heads and of the instance heads, and the consistency's share
    /// of both.
    domain_weights: [f64; 3],
    /// Proposals in training and in evaluation.
    proposals: [usize; 2],
    /// Height and width of the images without padding.
    size: [usize; 2],
    /// Objects of every source image.
    boxes: Vec<[f32; 4]>,
    labels: Vec<u32>,
    /// Side of a mask block in pixels.
    block: usize,
    ratio: f64,
    sigma: f64,
    alpha: f64,
    threshold: f32,
}

impl Detector {
    /// The published options for images of this height and width, which are padded to multiples of
    /// 32.
    pub(super) fn new(depths: Vec<usize>, size: [usize; 2]) -> Self {
        let [height, width] = size.map(|side| side as f32);
        let parts = [
            [0.1, 0.3, 0.18, 0.5],
            [0.4, 0.4, 0.45, 0.55],
            [0.6, 0.2, 0.9, 0.8],
        ];
        Self {
            depths,
            channels: 256,
            hidden: 1024,
            image_hidden: 512,
            instance_hidden: 1024,
            domain_weights: [0.025, 0.1, 0.1],
            proposals: [2000, 1000],
            size,
            boxes: parts
                .map(|[l, t, r, b]| [l * width, t * height, r * width, b * height].map(f32::round))
                .into(),
            labels: vec![1, 3, 5],
            block: 32,
            ratio: 0.5,
            sigma: 0.7,
            alpha: 0.9,
            // Random weights are never sure: some detections have to pass.
            threshold: 0.15,
        }
    }

    /// Narrow and shallow, for images of `side` pixels: the same code in no time.
    pub(super) fn tiny(self, side: usize) -> Self {
        Self {
            channels: 16,
            hidden: 32,
            image_hidden: 16,
            instance_hidden: 16,
            proposals: [100, 50],
            block: side / 4,
            ..Self::new(vec![1; self.depths.len()], [side - 4, side - 8])
        }
    }

    /// Shape (B, 3, H, W) of `images` padded images.
    pub(super) fn image(&self, images: usize) -> [usize; 4] {
        let [height, width] = self.size.map(|side| side.next_multiple_of(32));
        [images, 3, height, width]
    }

    fn config(&self, classes: usize) -> mic_det::Result<DetectorConfig> {
        let mut config = DetectorConfig::torchvision(50, classes, 1e-5)?;
        config.body.depths.clone_from(&self.depths);
        config.channels = self.channels;
        config.roi.hidden = self.hidden;
        let [train, test] = self.proposals;
        for (limits, count) in [(&mut config.rpn.train, train), (&mut config.rpn.test, test)] {
            limits.pre_nms = count;
            limits.post_nms = count;
            limits.total = count;
        }
        if let Some(domain) = &mut config.domain {
            domain.image_hidden = self.image_hidden;
            domain.instance_hidden = self.instance_hidden;
            domain.dropout = 0.0;
            let [image, instance, consistency] = self.domain_weights;
            domain.image_weight = image;
            domain.instance_weight = instance;
            domain.consistency_weight = consistency;
        }
        Ok(config)
    }

    fn options(&self, (lr, weight_decay): (f64, f64)) -> Options {
        Options {
            masked: Some(MaskedConsistency {
                blocks: BlockMaskConfig {
                    block: self.block,
                    ratio: self.ratio,
                },
                blur: true,
                alpha: self.alpha,
                threshold: self.threshold,
                lambda: 1.0,
                weighting: Weighting::Prob,
            }),
            sgd: SgdOptions {
                lr,
                weight_decay,
                schedule: StepWarmup {
                    milestones: Vec::new(),
                    warmup_iters: 0,
                    ..SgdOptions::default().schedule
                },
                ..SgdOptions::default()
            },
            recompute: false,
        }
    }

    fn draws(&self, [images, _, height, width]: [usize; 4]) -> Result<Draws<'static>> {
        let config = BlockMaskConfig {
            block: self.block,
            ratio: self.ratio,
        };
        let (rows, columns) = config.grid(height, width).map_err(Error::wrap)?;
        let uniform = fill("blocks", &[images, 1, rows, columns])?.affine(5.0, 0.5)?;
        let blocks = BlockMask::from_uniforms(&uniform, self.ratio, height, width);
        Ok(Draws {
            masked: Some(MaskDraws {
                blur: Some(GaussianBlur { sigma: self.sigma }),
                blocks: blocks.map_err(Error::wrap)?,
            }),
            picks: Box::new(Regular),
            drops: Box::new(NoDrops),
        })
    }

    fn batch(&self, image: [usize; 4]) -> Result<Batch> {
        let images = image[0];
        let sizes = vec![(self.size[0], self.size[1]); images];
        let truth = Truth {
            boxes: self.boxes.clone(),
            labels: self.labels.clone(),
        };
        Ok(Batch {
            source: SourceBatch {
                image: (fill("image", &image)? * 10.0)?,
                sizes: sizes.clone(),
                truth: vec![truth; images],
            },
            target: Some(TargetBatch {
                image: (fill("target", &image)? * 10.0)?,
                sizes,
                original: Vec::new(),
            }),
        })
    }
}

/// Anchors at regular distances, and the first proposals: those are the surest, and one that only
/// one side has changes no other choice.
struct Regular;

impl Picks for Regular {
    fn pick(&self, site: &str, of: usize, count: usize) -> Vec<usize> {
        let count = count.min(of);
        match site.contains(".rpn_sampler.") {
            true => (0..count).map(|i| i * of / count).collect(),
            false => (0..count).collect(),
        }
    }
}

/// Dropout that drops nothing.
struct NoDrops;

impl Drops for NoDrops {
    fn keep(&self, _: &str, _: f64, count: usize) -> Vec<bool> {
        vec![true; count]
    }
}

/// Iterations on one batch; each tells its losses in the order of their names.
///
/// # Errors
/// A network that cannot be built.
pub(super) fn step(detector: &Detector, network: &Network) -> Result<Step> {
    let store = Store::trainable(ChaCha8Rng::seed_from_u64(0), DType::F32, &Device::Cpu);
    let config = detector.config(network.classes).map_err(Error::wrap)?;
    let student = Model::new(&config, store).map_err(Error::wrap)?;
    let anchors = student.store.buffers().into_iter();
    let anchors = anchors.filter(|(name, _)| name.contains("cell_anchors"));
    let anchors: Vec<_> = anchors.map(|(_, buffer)| (buffer.get(), buffer)).collect();
    student.store.fill_from_names()?;
    // Anchors are known; they are buffers for the sake of published files alone.
    for (value, buffer) in anchors {
        buffer.set(value);
    }
    let options = detector.options(network.optimizer.rates());
    let mut method = Adaptation::new(student, options).map_err(Error::wrap)?;
    let batch = detector.batch(network.image)?;
    let draws = detector.draws(network.image)?;
    let mut number = 0;
    Ok(Box::new(move |recompute| {
        method.set_recompute(recompute);
        let told = method.step(number, &batch, &draws, &mut Tap::none());
        number += 1;
        Ok(told.map_err(Error::wrap)?.into_values().collect())
    }))
}
