//! The gradient of a convolution's kernel in single precision, for AVX-512.
//!
//! The sums run over pixels. The right operand is the output's gradient, transposed to have the
//! channels of a pixel beside each other; the left operand is the image itself, read in place
//! (with padding, from a padded copy of the few rows at work), every row of the product through
//! one channel and tap. The product is the transpose of the gradient, turned at the end.

use std::ops::Range;

use rayon::prelude::*;

use super::geometry::{Geometry, split};
use crate::ops::cpu::{Mat, Shared, fresh};
use crate::ops::product::{
    LANES, Left, Output, ROWS, Start, TERMS, WIDTH, add_sets, cut, grown, product, transpose,
    with_scratch,
};

/// Channels of either side that a task handles at most.
const INPUTS: usize = 64;
const OUTPUTS: usize = 512;
/// Independent tasks that are enough to keep the pool busy.
const TASKS: usize = 8;

/// Output pixels that are handled together: rows of one image, or several whole images.
#[derive(Clone, Debug)]
struct Chunk {
    images: Range<usize>,
    rows: Range<usize>,
}

fn chunks(g: &Geometry) -> Vec<Chunk> {
    let (rows, width) = (g.y.output, g.x.output);
    if 2 * rows * width <= TERMS {
        let whole = |images| Chunk {
            images,
            rows: 0..rows,
        };
        return cut(g.batch, TERMS / (rows * width)).map(whole).collect();
    }
    (0..g.batch)
        .flat_map(|n| {
            cut(rows, (TERMS / width).max(1)).map(move |rows| Chunk {
                images: n..n + 1,
                rows,
            })
        })
        .collect()
}

/// How the image is read: in place, or from a padded copy of a chunk.
#[derive(Clone, Copy)]
struct Reading {
    padded: bool,
    /// Elements from row to row, from channel to channel.
    width: usize,
    plane: usize,
}

impl Reading {
    fn new(g: &Geometry, rows: usize) -> Self {
        let padded = g.y.padding > 0 || g.x.padding > 0;
        if !padded {
            return Self {
                padded,
                width: g.x.input,
                plane: g.in_pixels(),
            };
        }
        let width = (g.x.output - 1) * g.x.stride + g.x.dilation * (g.x.kernel - 1) + 1;
        let height = (rows - 1) * g.y.stride + g.y.dilation * (g.y.kernel - 1) + 1;
        Self {
            padded,
            width,
            plane: width * height,
        }
    }
}

/// Copies the rows of an image that a chunk sees, channels `channels`, with their padding.
fn pad(
    g: &Geometry,
    x: &[f32],
    channels: Range<usize>,
    chunk: &Chunk,
    reading: Reading,
    out: &mut [f32],
) {
    let planes = g.groups * g.cin;
    let mut out = out.chunks_exact_mut(reading.plane);
    let first = chunk.rows.start * g.y.stride;
    let inside = reading.width.saturating_sub(g.x.padding).min(g.x.input);
    let left = g.x.padding.min(reading.width);
    for image in chunk.images.clone() {
        for channel in channels.clone() {
            let plane = &x[(image * planes + channel) * g.in_pixels()..][..g.in_pixels()];
            let Some(out) = out.next() else { return };
            for (row, out) in out.chunks_exact_mut(reading.width).enumerate() {
                let y = (first + row).wrapping_sub(g.y.padding);
                if y >= g.y.input {
                    out.fill(0.0);
                    continue;
                }
                out[..left].fill(0.0);
                let from = &plane[y * g.x.input..][..inside];
                out[left..left + inside].copy_from_slice(from);
                out[left + inside..].fill(0.0);
            }
        }
    }
}

/// The gradient (Cout, Cin / groups, kh, kw). Needs AVX-512.
pub(super) fn run(g: &Geometry, x: &[f32], grad: &[f32]) -> Vec<f32> {
    assert_eq!(x.len(), g.in_len());
    assert_eq!(grad.len(), g.out_len());
    let depth = g.cin * g.taps();
    let chunks = chunks(g);
    let inputs: Vec<_> = cut(g.cin, INPUTS).collect();
    let outputs: Vec<_> = cut(g.cout, OUTPUTS).collect();
    let independent = g.groups * inputs.len() * outputs.len();
    // Few channels: separate sums over sets of chunks, added up afterwards in order.
    let sets = split(chunks.len(), TASKS.div_ceil(independent));
    let size = g.groups * depth * g.cout;
    let mut sums = fresh(size * sets.len());
    let shared = Shared::new(&mut sums);
    let mut tasks = Vec::new();
    for (index, set) in sets.iter().enumerate() {
        for group in 0..g.groups {
            for inputs in &inputs {
                for outputs in &outputs {
                    tasks.push(Task {
                        g,
                        x,
                        grad,
                        chunks: &chunks[set.clone()],
                        group,
                        inputs: inputs.clone(),
                        outputs: outputs.clone(),
                        start: index * size + group * depth * g.cout,
                    });
                }
            }
        }
    }
    tasks
        .into_par_iter()
        .for_each(|task| with_scratch(|buffer| task.run(buffer, shared)));
    finish(g, sums, size)
}

/// Adds up the sets' sums (groups, depth, Cout / groups) and exchanges the last two dimensions.
fn finish(g: &Geometry, mut sums: Vec<f32>, size: usize) -> Vec<f32> {
    add_sets(&mut sums, size);
    let depth = g.cin * g.taps();
    let mut out = fresh(size);
    let shared = Shared::new(&mut out);
    let blocks = g.cout.div_ceil(LANES);
    (0..g.groups * blocks).into_par_iter().for_each(|task| {
        let (group, block) = (task / blocks, task % blocks);
        let outputs = block * LANES..((block + 1) * LANES).min(g.cout);
        let start = (group * g.cout + outputs.start) * depth;
        // SAFETY: every task writes its own output channels.
        let out = unsafe { shared.slice(start..start + outputs.len() * depth) };
        let from = &sums[group * depth * g.cout + outputs.start..];
        let from = Mat::strided(from, depth, outputs.len(), g.cout);
        transpose(from, out, depth);
    });
    out
}

/// Some channels of both sides of a group over some chunks.
struct Task<'a> {
    g: &'a Geometry,
    x: &'a [f32],
    grad: &'a [f32],
    chunks: &'a [Chunk],
    group: usize,
    inputs: Range<usize>,
    outputs: Range<usize>,
    /// Where the group's sums begin.
    start: usize,
}

impl Task<'_> {
    fn run(&self, buffer: &mut Vec<f32>, shared: Shared<'_, f32>) {
        let g = self.g;
        let first_row = self.start + self.inputs.start * g.taps() * g.cout;
        let last_row = first_row + (self.inputs.len() * g.taps() - 1) * g.cout;
        // SAFETY: tasks differ in set, group or channel; only this task's columns are touched.
        let out =
            unsafe { shared.slice(first_row + self.outputs.start..last_row + self.outputs.end) };
        for (done, chunk) in self.chunks.iter().enumerate() {
            let terms = chunk.images.len() * chunk.rows.len() * g.x.output;
            let reading = Reading::new(g, chunk.rows.len());
            let packed = terms * self.outputs.len().next_multiple_of(LANES);
            let copied = match reading.padded {
                true => chunk.images.len() * self.inputs.len() * reading.plane,
                false => 0,
            };
            let (panels, copy) = grown(buffer, packed + copied).split_at_mut(packed);
            self.pack(chunk, terms, panels);
            let channel = self.group * g.cin + self.inputs.start;
            let image = if reading.padded {
                let channels = channel..channel + self.inputs.len();
                pad(g, self.x, channels, chunk, reading, copy);
                &*copy
            } else {
                let plane = chunk.images.start * g.groups * g.cin + channel;
                let row = chunk.rows.start * g.y.stride * g.x.input;
                &self.x[plane * g.in_pixels() + row..]
            };
            self.multiply(chunk, terms, reading, image, panels, out, done > 0);
        }
    }

    /// Packs the output's gradient: panels of channels, for every pixel its channels.
    fn pack(&self, chunk: &Chunk, terms: usize, panels: &mut [f32]) {
        let g = self.g;
        let (pixels, run) = (g.out_pixels(), chunk.rows.len() * g.x.output);
        for (panel, first) in (0..self.outputs.len()).step_by(WIDTH).enumerate() {
            let columns = (self.outputs.len() - first).min(WIDTH);
            let width = columns.next_multiple_of(LANES);
            let to = &mut panels[panel * WIDTH * terms..][..width * terms];
            let channel = self.group * g.cout + self.outputs.start + first;
            for (image, to) in chunk.images.clone().zip(to.chunks_exact_mut(width * run)) {
                let start =
                    (image * g.groups * g.cout + channel) * pixels + chunk.rows.start * g.x.output;
                let from = Mat::strided(&self.grad[start..], columns, run, pixels);
                transpose(from, to, width);
            }
        }
    }

    fn multiply(
        &self,
        chunk: &Chunk,
        terms: usize,
        reading: Reading,
        image: &[f32],
        panels: &[f32],
        out: &mut [f32],
        add: bool,
    ) {
        let g = self.g;
        let offsets: Vec<usize> = (0..self.inputs.len())
            .flat_map(|c| (0..g.y.kernel).map(move |ky| (c, ky)))
            .flat_map(|(c, ky)| (0..g.x.kernel).map(move |kx| (c, ky, kx)))
            .map(|(c, ky, kx)| {
                c * reading.plane + ky * g.y.dilation * reading.width + kx * g.x.dilation
            })
            .collect();
        // Rows that follow each other without a gap are one stretch.
        let (lines, len) = match g.pointwise() {
            true => (1, chunk.rows.len() * g.x.output),
            false => (chunk.rows.len(), g.x.output),
        };
        let skip = match reading.padded {
            true => self.inputs.len() * reading.plane,
            false => g.groups * g.cin * reading.plane,
        };
        let last = (chunk.images.len() - 1) * skip
            + (lines - 1) * g.y.stride * reading.width
            + (len - 1) * g.x.stride;
        assert!(offsets.last().is_none_or(|o| o + last < image.len()));
        for (panel, first) in (0..self.outputs.len()).step_by(WIDTH).enumerate() {
            let columns = (self.outputs.len() - first).min(WIDTH);
            for block in cut(offsets.len(), ROWS) {
                let left = Left {
                    pointer: image.as_ptr(),
                    rows: &offsets[block.clone()],
                    len,
                    step: g.x.stride,
                    lines,
                    jump: g.y.stride * reading.width,
                    repeats: chunk.images.len(),
                    skip,
                    ahead: image.as_ptr(),
                    ahead_step: 0,
                };
                let output = Output {
                    pointer: out[block.start * g.cout + first..].as_mut_ptr(),
                    stride: g.cout,
                    columns,
                    start: if add { Start::Output } else { Start::Zero },
                };
                let right = panels[panel * WIDTH * terms..].as_ptr();
                // SAFETY: the largest offset has been checked to lie within the image, panels
                // are as long as their terms, and `out` reaches to the last row and channel.
                unsafe { product(block.len(), columns.div_ceil(LANES), &left, right, &output) };
            }
        }
    }
}
