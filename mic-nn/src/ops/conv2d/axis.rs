//! One spatial direction of a convolution.

use std::ops::Range;

/// How output positions, kernel taps and input positions of one direction belong together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    pub(crate) input: usize,
    pub(crate) output: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) dilation: usize,
}

impl Axis {
    /// `None` if the kernel does not fit into the padded input, or a size is zero.
    pub(crate) fn new(
        input: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
        dilation: usize,
    ) -> Option<Self> {
        if [input, kernel, stride, dilation].contains(&0) {
            return None;
        }
        let output = (input + 2 * padding).checked_sub(dilation * (kernel - 1) + 1)? / stride + 1;
        Some(Self {
            input,
            output,
            kernel,
            stride,
            padding,
            dilation,
        })
    }

    /// The direction in which the input gradient is a convolution of the output gradient with the
    /// reversed kernel. Exists for stride 1 and padding within the kernel.
    pub(crate) fn transposed(&self) -> Option<Self> {
        if self.stride != 1 {
            return None;
        }
        Some(Self {
            input: self.output,
            output: self.input,
            padding: (self.dilation * (self.kernel - 1)).checked_sub(self.padding)?,
            ..*self
        })
    }

    /// The output positions whose tap `k` lies inside the input.
    #[inline(always)]
    pub(crate) fn valid(&self, k: usize) -> Range<usize> {
        let shift = k * self.dilation;
        let low = self.padding.saturating_sub(shift).div_ceil(self.stride);
        let high = (self.input + self.padding)
            .saturating_sub(shift)
            .div_ceil(self.stride)
            .min(self.output);
        low.min(high)..high
    }

    /// The input position under tap `k` of output position `o`, which must be valid.
    #[inline(always)]
    pub(crate) fn source(&self, o: usize, k: usize) -> usize {
        o * self.stride + k * self.dilation - self.padding
    }
}

/// For every position of one side of a convolution, the positions of the other side that it is
/// connected with, and through which tap.
pub(crate) struct Links {
    start: Vec<usize>,
    links: Vec<(usize, usize)>,
}

impl Links {
    /// For every output position: its (input position, tap) pairs.
    pub(crate) fn of_outputs(axis: &Axis) -> Self {
        Self::collect(axis.output, Self::pairs(axis).map(|(i, o, k)| (o, i, k)))
    }

    /// For every input position: its (output position, tap) pairs.
    pub(crate) fn of_inputs(axis: &Axis) -> Self {
        Self::collect(axis.input, Self::pairs(axis))
    }

    fn pairs(axis: &Axis) -> impl Iterator<Item = (usize, usize, usize)> {
        (0..axis.kernel).flat_map(move |k| axis.valid(k).map(move |o| (axis.source(o, k), o, k)))
    }

    fn collect(len: usize, pairs: impl Iterator<Item = (usize, usize, usize)>) -> Self {
        let mut lists = vec![Vec::new(); len];
        for (own, other, k) in pairs {
            lists[own].push((other, k));
        }
        let mut start = vec![0];
        let mut links = Vec::new();
        for list in lists {
            links.extend(list);
            start.push(links.len());
        }
        Self { start, links }
    }

    /// The (other position, tap) pairs of position `i`.
    #[inline(always)]
    pub(crate) fn at(&self, i: usize) -> &[(usize, usize)] {
        &self.links[self.start[i]..self.start[i + 1]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_the_definition_of_a_convolution() {
        for (input, kernel, stride, padding, dilation) in [
            (7, 3, 1, 1, 1),
            (8, 3, 2, 1, 1),
            (9, 2, 3, 0, 2),
            (5, 3, 1, 4, 2),
            (3, 1, 2, 3, 1),
        ] {
            let axis = Axis::new(input, kernel, stride, padding, dilation).unwrap();
            let links = Links::of_outputs(&axis);
            for o in 0..axis.output {
                let expected: Vec<(usize, usize)> = (0..kernel)
                    .map(|k| ((o * stride + k * dilation) as isize - padding as isize, k))
                    .filter(|&(i, _)| (0..input as isize).contains(&i))
                    .map(|(i, k)| (i as usize, k))
                    .collect();
                assert_eq!(links.at(o), expected);
            }
        }
        assert!(Axis::new(2, 5, 1, 1, 1).is_none());
    }
}
