//! One direction of the windows of a pooling op, and rows arranged for them.

use std::ops::Range;

use candle_core::Result;

use super::Pool2dOptions;
use crate::ops::cpu::Elem;

/// Windows at equal steps along one direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub(super) size: usize,
    pub(super) outputs: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
}

impl Axis {
    /// Both directions of an image of `size` (H, W).
    pub(super) fn pair(
        op: &str,
        size: (usize, usize),
        options: &Pool2dOptions,
    ) -> Result<(Self, Self)> {
        let Pool2dOptions {
            kernel,
            stride,
            padding,
        } = *options;
        Ok((
            Self::new(op, "height", size.0, kernel.0, stride.0, padding.0)?,
            Self::new(op, "width", size.1, kernel.1, stride.1, padding.1)?,
        ))
    }

    fn new(
        op: &str,
        name: &str,
        size: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Result<Self> {
        if kernel == 0 || stride == 0 {
            candle_core::bail!(
                "{op}: {name} has kernel {kernel} and stride {stride}, expected at least 1 each"
            )
        }
        if padding > kernel / 2 {
            candle_core::bail!(
                "{op}: {name} has padding {padding}, expected at most half of kernel {kernel}"
            )
        }
        if size == 0 || size.saturating_add(2 * padding) < kernel {
            candle_core::bail!(
                "{op}: {name} {size} with padding {padding} on both sides holds no window of \
                 kernel {kernel}"
            )
        }
        Ok(Self {
            size,
            outputs: (size + 2 * padding - kernel) / stride + 1,
            kernel,
            stride,
            padding,
        })
    }

    #[cfg(feature = "cuda")]
    pub(super) fn on_gpu(&self, padded: bool) -> crate::cuda::PoolWindow {
        crate::cuda::PoolWindow {
            size: self.size,
            outputs: self.outputs,
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
            padded,
        }
    }

    /// The part of a window that lies inside; never empty, as padding is at most half a kernel.
    pub(super) fn window(&self, output: usize) -> Range<usize> {
        let start = output * self.stride;
        let end = (start + self.kernel - self.padding).min(self.size);
        start.saturating_sub(self.padding)..end
    }
}

/// A padded row whose elements are grouped by their place within a step.
///
/// Element `t` of every window then lies in one contiguous slice, [`tap`](Self::tap), whatever the
/// stride: windows are compared or summed a vector at a time and need no tests at the border.
pub(super) struct Phases<T> {
    data: Vec<T>,
    width: usize,
    axis: Axis,
}

impl<T: Elem> Phases<T> {
    /// A row with `padding` in every place.
    pub(super) fn new(axis: Axis, padding: T) -> Self {
        let width = axis.outputs + (axis.kernel - 1) / axis.stride;
        let phases = axis.stride.min(axis.kernel);
        Self {
            data: vec![padding; phases * width],
            width,
            axis,
        }
    }

    /// Element `t` of every window.
    #[inline(always)]
    pub(super) fn tap(&self, t: usize) -> &[T] {
        let start = (t % self.axis.stride) * self.width + t / self.axis.stride;
        &self.data[start..start + self.axis.outputs]
    }

    /// As [`tap`](Self::tap), to write.
    #[inline(always)]
    pub(super) fn tap_mut(&mut self, t: usize) -> &mut [T] {
        let start = (t % self.axis.stride) * self.width + t / self.axis.stride;
        &mut self.data[start..start + self.axis.outputs]
    }

    /// Elements of a window.
    pub(super) fn kernel(&self) -> usize {
        self.axis.kernel
    }

    /// Sets every element.
    pub(super) fn fill(&mut self, value: T) {
        self.data.fill(value);
    }

    /// Where the elements `place`, `place + stride`, ... of the row are kept; empty if no window
    /// reads them.
    #[inline(always)]
    fn range(&self, place: usize) -> Range<usize> {
        let padded = place + self.axis.padding;
        let (phase, first) = (padded % self.axis.stride, padded / self.axis.stride);
        if phase >= self.axis.kernel || first >= self.width || place >= self.axis.size {
            return 0..0;
        }
        let count = (self.axis.size - place).div_ceil(self.axis.stride);
        let start = phase * self.width + first;
        start..start + count.min(self.width - first)
    }

    /// Takes the values of `row`.
    #[inline(always)]
    pub(super) fn load(&mut self, row: &[T]) {
        match self.axis.stride {
            1 => {
                let range = self.range(0);
                let count = range.len();
                self.data[range].copy_from_slice(&row[..count]);
            }
            2 => {
                let (even, odd) = (self.range(0), self.range(1));
                let pairs = even.len().min(odd.len());
                let (low, high, swapped) = if even.start < odd.start || odd.is_empty() {
                    (even.clone(), odd.clone(), false)
                } else {
                    (odd.clone(), even.clone(), true)
                };
                let (first, second) = self.data.split_at_mut(high.start.max(low.end));
                let second = &mut second[high.start.saturating_sub(first.len())..];
                let first = &mut first[low.start..];
                let (first, second) = (&mut first[..pairs], &mut second[..pairs]);
                let (evens, odds) = if swapped {
                    (second, first)
                } else {
                    (first, second)
                };
                let row_pairs = row.chunks_exact(2);
                for ((e, o), pair) in evens.iter_mut().zip(odds).zip(row_pairs) {
                    (*e, *o) = (pair[0], pair[1]);
                }
                for i in pairs..even.len() {
                    self.data[even.start + i] = row[2 * i];
                }
                for i in pairs..odd.len() {
                    self.data[odd.start + i] = row[2 * i + 1];
                }
            }
            stride => {
                for place in 0..stride {
                    let range = self.range(place);
                    let source = row[place.min(row.len())..].iter().step_by(stride);
                    for (d, &x) in self.data[range].iter_mut().zip(source) {
                        *d = x;
                    }
                }
            }
        }
    }

    /// Writes the values to `row`; elements that no window reads stay as they are.
    #[inline(always)]
    pub(super) fn store(&self, row: &mut [T]) {
        let stride = self.axis.stride;
        if stride == 1 {
            let range = self.range(0);
            row[..range.len()].copy_from_slice(&self.data[range]);
            return;
        }
        for place in 0..stride.min(row.len()) {
            let source = &self.data[self.range(place)];
            for (d, &x) in row[place..].iter_mut().step_by(stride).zip(source) {
                *d = x;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_are_the_elements_of_windows() -> Result<()> {
        for kernel in 1..6 {
            for stride in 1..7 {
                for padding in 0..=kernel / 2 {
                    for size in kernel..12 {
                        let axis = Axis::new("test", "width", size, kernel, stride, padding)?;
                        let row: Vec<f32> = (1..=size).map(|i| i as f32).collect();
                        let mut phases = Phases::new(axis, 0f32);
                        phases.load(&row);
                        let mut seen = vec![0f32; size];
                        for o in 0..axis.outputs {
                            for t in 0..kernel {
                                let i = (o * stride + t).wrapping_sub(padding);
                                let expected = row.get(i).copied().unwrap_or(0.0);
                                assert_eq!(phases.tap(t)[o], expected, "{axis:?} {o} {t}");
                                if let Some(seen) = seen.get_mut(i) {
                                    *seen = expected;
                                }
                            }
                        }
                        let mut stored = vec![0f32; size];
                        phases.store(&mut stored);
                        for (stored, seen) in stored.iter().zip(seen) {
                            assert!(seen == 0.0 || *stored == seen, "{axis:?}");
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
