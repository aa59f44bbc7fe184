//! Sizes of a convolution and the options that determine them.

use std::ops::Range;

use candle_core::Result;

use super::axis::Axis;

/// How a kernel is laid over an image, each pair as (vertical, horizontal). PyTorch's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dOptions {
    /// Distance of neighbouring output positions in the input, at least 1.
    pub stride: (usize, usize),
    /// Zeros added on both sides.
    pub padding: (usize, usize),
    /// Distance of neighbouring kernel taps in the input, at least 1.
    pub dilation: (usize, usize),
    /// Number of groups that input and output channels are divided into; groups do not mix.
    pub groups: usize,
}

impl Default for Conv2dOptions {
    fn default() -> Self {
        Self {
            stride: (1, 1),
            padding: (0, 0),
            dilation: (1, 1),
            groups: 1,
        }
    }
}

impl Conv2dOptions {
    /// The two directions, or an error that names the sizes.
    pub(crate) fn axes(
        &self,
        op: &str,
        (h, w): (usize, usize),
        (kh, kw): (usize, usize),
    ) -> Result<(Axis, Axis)> {
        let y = Axis::new(h, kh, self.stride.0, self.padding.0, self.dilation.0);
        let x = Axis::new(w, kw, self.stride.1, self.padding.1, self.dilation.1);
        match (y, x) {
            (Some(y), Some(x)) => Ok((y, x)),
            _ => candle_core::bail!(
                "{op}: a {kh}x{kw} kernel with {self:?} does not fit an image of {h}x{w}; \
                 sizes, stride and dilation must be at least 1 and the dilated kernel no larger \
                 than the padded image"
            ),
        }
    }
}

/// All sizes of one convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    pub(super) batch: usize,
    pub(super) groups: usize,
    /// Input channels of a group.
    pub(super) cin: usize,
    /// Output channels of a group.
    pub(super) cout: usize,
    pub(super) y: Axis,
    pub(super) x: Axis,
}

impl Geometry {
    pub(super) fn new(
        (batch, channels, h, w): (usize, usize, usize, usize),
        (cout, cin, kh, kw): (usize, usize, usize, usize),
        options: &Conv2dOptions,
    ) -> Result<Self> {
        let groups = options.groups;
        if groups == 0 || channels != cin * groups || cout % groups != 0 {
            candle_core::bail!(
                "conv2d: x has {channels} channels and w is ({cout}, {cin}, {kh}, {kw}) with \
                 {groups} groups; expected w of (a multiple of groups, channels / groups, _, _)"
            )
        }
        if batch == 0 || cin == 0 || cout == 0 {
            candle_core::bail!(
                "conv2d: empty input, x has batch {batch} and {channels} channels, w {cout} rows"
            )
        }
        let (y, x) = options.axes("conv2d", (h, w), (kh, kw))?;
        Ok(Self {
            batch,
            groups,
            cin,
            cout: cout / groups,
            y,
            x,
        })
    }

    pub(super) fn taps(&self) -> usize {
        self.y.kernel * self.x.kernel
    }

    pub(super) fn in_pixels(&self) -> usize {
        self.y.input * self.x.input
    }

    pub(super) fn out_pixels(&self) -> usize {
        self.y.output * self.x.output
    }

    /// Elements of the output.
    pub(super) fn out_len(&self) -> usize {
        self.batch * self.groups * self.cout * self.out_pixels()
    }

    /// Elements of the input.
    pub(super) fn in_len(&self) -> usize {
        self.batch * self.groups * self.cin * self.in_pixels()
    }

    /// Whether every output pixel sees exactly the input pixel at its own place.
    pub(super) fn pointwise(&self) -> bool {
        self.taps() == 1
            && [self.y, self.x]
                .iter()
                .all(|a| a.stride == 1 && a.padding == 0)
    }

    pub(super) fn depthwise(&self) -> bool {
        self.cin == 1 && self.cout == 1 && self.groups > 1
    }

    /// The convolution that computes this one's input gradient, if there is one.
    pub(super) fn transposed(&self) -> Option<Self> {
        Some(Self {
            cin: self.cout,
            cout: self.cin,
            y: self.y.transposed()?,
            x: self.x.transposed()?,
            ..*self
        })
    }
}

/// Output pixels that are handled together: part of one image, or several whole images.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tile {
    pub(super) images: Range<usize>,
    pub(super) pixels: Range<usize>,
}

impl Tile {
    /// Cuts `batch` images of `pixels` into tiles of about `target` pixels.
    pub(super) fn cut(batch: usize, pixels: usize, target: usize) -> Vec<Self> {
        if pixels < target {
            let together = (target / pixels).max(1);
            return (0..batch)
                .step_by(together)
                .map(|n| Self {
                    images: n..(n + together).min(batch),
                    pixels: 0..pixels,
                })
                .collect();
        }
        // Multiples of a cache line, so that tasks do not share lines where rows are aligned.
        let size = pixels.div_ceil(pixels / target).next_multiple_of(16);
        (0..batch)
            .flat_map(|n| {
                (0..pixels).step_by(size).map(move |p| Self {
                    images: n..n + 1,
                    pixels: p..(p + size).min(pixels),
                })
            })
            .collect()
    }

    /// Pixels of the tile.
    pub(super) fn len(&self) -> usize {
        self.images.len() * self.pixels.len()
    }
}

/// Cuts `0..len` into `parts` nearly equal ranges (fewer when `len` is smaller).
pub(crate) fn split(len: usize, parts: usize) -> Vec<Range<usize>> {
    let size = len.div_ceil(parts.clamp(1, len.max(1))).max(1);
    (0..len)
        .step_by(size)
        .map(|i| i..(i + size).min(len))
        .collect()
}
