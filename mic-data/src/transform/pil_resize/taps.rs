//! Which source pixels an output pixel is made of, and their weights.

use std::ops::Range;

use super::PilFilter;

/// Fractional bits of the weights.
pub(super) const PRECISION: u32 = 22;

/// The source pixels and weights of a range of output pixels in one direction.
pub(super) struct Taps {
    /// First source pixel and number of source pixels of each output pixel.
    pub(super) spans: Vec<(u32, u32)>,
    /// `stride` weights for each output pixel, 0 after the last. They add up to about 2^22.
    pub(super) weights: Vec<i32>,
    /// Weights held for each output pixel.
    pub(super) stride: usize,
    identity: bool,
}

impl Taps {
    /// The output pixels `start..start + count` when `input` pixels become `output`.
    pub(super) fn new(input: u32, output: u32, start: u32, count: u32, filter: PilFilter) -> Self {
        if input == output {
            return Self {
                spans: (start..start + count).map(|index| (index, 1)).collect(),
                weights: vec![1 << PRECISION; count as usize],
                stride: 1,
                identity: true,
            };
        }
        let scale = f64::from(input) / f64::from(output);
        let stretch = scale.max(1.0);
        let support = filter.support() * stretch;
        let stride = support.ceil() as usize * 2 + 1;
        let mut spans = Vec::with_capacity(count as usize);
        let mut weights = vec![0; stride * count as usize];
        let mut real = Vec::with_capacity(stride);
        for (index, weights) in (start..start + count).zip(weights.chunks_exact_mut(stride)) {
            let centre = (f64::from(index) + 0.5) * scale;
            // Casts to u32 truncate, and end at 0.
            let first = (centre - support + 0.5) as u32;
            let end = ((centre + support + 0.5) as u32).min(input);
            real.clear();
            real.extend(
                (first..end).map(|pixel| {
                    filter.weight((f64::from(pixel) - centre + 0.5) * (1.0 / stretch))
                }),
            );
            let sum: f64 = real.iter().sum();
            for (weight, real) in weights.iter_mut().zip(&real) {
                let real = if sum == 0.0 { *real } else { real / sum };
                *weight = (real * f64::from(1 << PRECISION)).round() as i32;
            }
            spans.push((first, end.saturating_sub(first)));
        }
        Self {
            spans,
            weights,
            stride,
            identity: false,
        }
    }

    /// Whether output pixels are source pixels.
    pub(super) fn is_identity(&self) -> bool {
        self.identity
    }

    /// The source pixels that are used at all. Both ends of the spans grow with the output pixel.
    pub(super) fn span(&self) -> Range<u32> {
        let start = self.spans.first().map_or(0, |span| span.0);
        let end = self.spans.last().map_or(0, |span| span.0 + span.1);
        start..end
    }

    /// The same taps, counted from source pixel `origin`.
    pub(super) fn relative_to(mut self, origin: u32) -> Self {
        self.spans.iter_mut().for_each(|span| span.0 -= origin);
        self
    }

    /// First source pixel and weights of every output pixel.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        let weights = self.weights.chunks_exact(self.stride);
        let spans = self.spans.iter().zip(weights);
        spans.map(|((first, count), weights)| (*first as usize, &weights[..*count as usize]))
    }
}

impl PilFilter {
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Self::Bilinear if x < 1.0 => 1.0 - x,
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            _ => 0.0,
        }
    }
}
