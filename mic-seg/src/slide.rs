//! Overlapping windows over an image, and the mean of what is predicted in them.

use candle_core::{DType, Device, Result, Tensor};

use crate::model::CropBox;

/// Windows of `size` (height, width) that cover an image (height, width), `stride` apart, row by
/// row. The last ones are shifted back to end at the image's edge; an image smaller than a window
/// has one of its own size.
pub fn windows(
    (height, width): (usize, usize),
    size: (usize, usize),
    stride: (usize, usize),
) -> Vec<CropBox> {
    let starts = |side: usize, size: usize, stride: usize| {
        let stride = stride.max(1);
        let count = side.saturating_sub(size).div_ceil(stride) + 1;
        let start = move |n: usize| (n * stride).min(side.saturating_sub(size));
        (0..count).map(start).collect::<Vec<_>>()
    };
    let columns = starts(width, size.1, stride.1);
    let row = |y1: usize| {
        let columns = columns.clone().into_iter();
        columns.map(move |x1| CropBox {
            y1,
            y2: (y1 + size.0).min(height),
            x1,
            x2: (x1 + size.1).min(width),
        })
    };
    let rows = starts(height, size.0, stride.0).into_iter();
    rows.flat_map(row).collect()
}

/// Sums of maps at their places, and how many lie on each position. It grows with what is added.
/// Its values have no gradient.
pub(crate) struct Canvas {
    images: usize,
    channels: usize,
    height: usize,
    width: usize,
    sums: Vec<f32>,
    counts: Vec<f32>,
}

impl Canvas {
    /// An empty one for (B, C, ..., ...).
    pub(crate) fn new(images: usize, channels: usize) -> Self {
        Self::sized(images, channels, (0, 0))
    }

    /// An empty one of a known size.
    pub(crate) fn sized(images: usize, channels: usize, (height, width): (usize, usize)) -> Self {
        Self {
            images,
            channels,
            height,
            width,
            sums: vec![0.0; images * channels * height * width],
            counts: vec![0.0; height * width],
        }
    }

    /// Adds (B, C, h, w) at a row and column.
    ///
    /// # Errors
    /// Values with a gradient, which would be lost, and another batch or number of channels.
    pub(crate) fn add(&mut self, x: &Tensor, (y1, x1): (usize, usize)) -> Result<()> {
        let (b, c, h, w) = x.dims4()?;
        if (b, c) != (self.images, self.channels) {
            candle_core::bail!(
                "a window's prediction is {:?}, expected {} images and {} channels",
                x.dims(),
                self.images,
                self.channels
            )
        }
        if x.track_op() {
            candle_core::bail!(
                "predictions of windows have no gradient; use a network over a frozen copy of the \
                 weights"
            )
        }
        self.grow(y1 + h, x1 + w);
        let values = x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        for (plane, values) in values.chunks(h * w).enumerate() {
            for (y, line) in values.chunks(w).enumerate() {
                let at = (plane * self.height + y1 + y) * self.width + x1;
                let sums = &mut self.sums[at..at + w];
                sums.iter_mut().zip(line).for_each(|(sum, v)| *sum += v);
            }
        }
        for y in y1..y1 + h {
            let at = y * self.width + x1;
            self.counts[at..at + w].iter_mut().for_each(|n| *n += 1.0);
        }
        Ok(())
    }

    fn grow(&mut self, height: usize, width: usize) {
        let (height, width) = (height.max(self.height), width.max(self.width));
        if (height, width) == (self.height, self.width) {
            return;
        }
        let mut grown = Self::sized(self.images, self.channels, (height, width));
        if self.width > 0 {
            let lines = self.sums.chunks(self.width).enumerate();
            for (index, line) in lines {
                let (plane, y) = (index / self.height, index % self.height);
                let at = (plane * height + y) * width;
                grown.sums[at..at + line.len()].copy_from_slice(line);
            }
            for (y, line) in self.counts.chunks(self.width).enumerate() {
                grown.counts[y * width..y * width + line.len()].copy_from_slice(line);
            }
        }
        *self = grown;
    }

    /// The mean at every position, (B, C, H, W).
    ///
    /// # Errors
    /// A position that no window covers.
    pub(crate) fn mean(mut self, device: &Device) -> Result<Tensor> {
        if self.counts.contains(&0.0) {
            candle_core::bail!("the windows leave a part of the image out")
        }
        for plane in self.sums.chunks_mut(self.counts.len().max(1)) {
            let pairs = plane.iter_mut().zip(&self.counts);
            pairs.for_each(|(sum, count)| *sum /= count);
        }
        let shape = (self.images, self.channels, self.height, self.width);
        Tensor::from_vec(self.sums, shape, device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(image: (usize, usize), size: usize, stride: usize) -> Vec<(usize, usize)> {
        let windows = windows(image, (size, size), (stride, stride));
        windows.iter().map(|w| (w.y1, w.x1)).collect()
    }

    #[test]
    fn windows_are_those_of_the_paper() {
        let cityscapes = starts((1024, 2048), 1024, 512);
        assert_eq!(cityscapes, [(0, 0), (0, 512), (0, 1024)]);
        let acdc = starts((1080, 1920), 1024, 512);
        let rows = [0, 56].into_iter();
        let expected = rows.flat_map(|y| [0, 512, 896].map(|x| (y, x)));
        assert_eq!(acdc, expected.collect::<Vec<_>>());
        assert_eq!(starts((1024, 1024), 512, 256).len(), 9);
        assert_eq!(starts((1024, 1024), 512, 512).len(), 4);
        let small = windows((40, 100), (64, 64), (32, 32));
        assert_eq!(small[0].bounds(), [0, 40, 0, 64]);
        assert_eq!(small.last().map(CropBox::bounds), Some([0, 40, 36, 100]));
    }

    #[test]
    fn the_mean_counts_every_window() -> Result<()> {
        let cpu = &Device::Cpu;
        let window = |value: f32| Tensor::full(value, (1, 2, 2, 2), cpu);
        let mut canvas = Canvas::new(1, 2);
        canvas.add(&window(1.0)?, (0, 0))?;
        canvas.add(&window(3.0)?, (0, 1))?;
        let mean = canvas.mean(cpu)?;
        assert_eq!(mean.dims(), [1, 2, 2, 3]);
        let mean = mean.flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(mean[..3], [1.0, 2.0, 3.0]);
        assert_eq!(mean[9..], [1.0, 2.0, 3.0]);
        let mut gap = Canvas::new(1, 2);
        gap.add(&window(1.0)?, (0, 2))?;
        assert!(gap.mean(cpu).is_err());
        Ok(())
    }
}
