//! One direction of a convolution, seen from its result.

use std::ops::Range;

use super::super::axis::Axis;

/// One direction: tap `t` of position `p` reads the source at `p * step + taps[t]`, if that lies
/// within `0..limit`; the result goes to `first + p * spacing`.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) count: usize,
    pub(super) step: usize,
    pub(super) taps: Vec<isize>,
    pub(super) limit: usize,
    pub(super) first: usize,
    pub(super) spacing: usize,
}

impl Side {
    /// The direction of the output.
    pub(super) fn of_outputs(axis: &Axis) -> Self {
        let offset = |k| (k * axis.dilation) as isize - axis.padding as isize;
        Self {
            count: axis.output,
            step: axis.stride,
            taps: (0..axis.kernel).map(offset).collect(),
            limit: axis.input,
            first: 0,
            spacing: 1,
        }
    }

    /// The direction of the input's gradient for the positions `residue + p * stride`, and which
    /// taps of the kernel take part.
    pub(super) fn of_inputs(axis: &Axis, residue: usize) -> (Self, Vec<usize>) {
        let stride = axis.stride as isize;
        let mut side = Self {
            count: axis.input.saturating_sub(residue).div_ceil(axis.stride),
            step: 1,
            taps: Vec::new(),
            limit: axis.output,
            first: residue,
            spacing: axis.stride,
        };
        let mut taken = Vec::new();
        for k in 0..axis.kernel {
            let distance = (residue + axis.padding) as isize - (k * axis.dilation) as isize;
            if distance % stride == 0 {
                side.taps.push(distance / stride);
                taken.push(k);
            }
        }
        (side, taken)
    }

    /// The positions for which tap `t` lies within the source.
    pub(super) fn valid(&self, t: usize) -> Range<isize> {
        let (step, tap) = (self.step as isize, self.taps[t]);
        let low = (-tap).max(0) + step - 1;
        let high = self.limit as isize - tap + step - 1;
        low / step..high.max(0) / step
    }
}
