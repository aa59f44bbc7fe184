//! Convolution in single precision without a patch matrix.
//!
//! The product's right operand, the patches, is gathered from the image panel by panel while the
//! panels are packed. The same computation serves the output and, as one convolution for every
//! residue of the stride, the gradient of the input.

mod plan;
mod side;
mod turned;

pub(super) use turned::input_gradient;

use std::arch::x86_64::{_mm512_mask_storeu_ps, _mm512_maskz_loadu_ps};
use std::ops::Range;

use rayon::prelude::*;

use super::geometry::Geometry;
use crate::ops::cpu::Shared;
use crate::ops::product::{
    LANES, Left, Output, ROWS, Start, TERMS, WIDTH, cut, grown, product, with_scratch,
};
use plan::{Plan, fill};
use side::Side;

/// Panels that a task handles while one block of the kernel is in the cache.
const PANELS: usize = 8;
/// Output channels that a task handles at most.
const CHANNELS: usize = 512;
/// Independent tasks that are enough to keep the pool busy.
const TASKS: usize = 16;

/// A convolution as this module computes it.
pub(super) struct Direct {
    batch: usize,
    groups: usize,
    /// Channels of a group on either side.
    inputs: usize,
    outputs: usize,
    y: Side,
    x: Side,
    /// Row length and size of a plane of the result.
    width: usize,
    pixels: usize,
}

impl Direct {
    pub(super) fn forward(g: &Geometry) -> Self {
        Self {
            batch: g.batch,
            groups: g.groups,
            inputs: g.cin,
            outputs: g.cout,
            y: Side::of_outputs(&g.y),
            x: Side::of_outputs(&g.x),
            width: g.x.output,
            pixels: g.out_pixels(),
        }
    }

    fn taps(&self) -> usize {
        self.y.taps.len() * self.x.taps.len()
    }

    /// Terms of each sum.
    fn depth(&self) -> usize {
        self.inputs * self.taps()
    }

    fn positions(&self) -> usize {
        self.batch * self.y.count * self.x.count
    }

    /// Elements of a source plane.
    fn source(&self) -> usize {
        self.y.limit * self.x.limit
    }
}

/// The result of the convolution, written to its places in `out`.
///
/// `weight` has a row of `inputs * taps` elements for every output channel of every group. Needs
/// AVX-512 (see [`available`](crate::ops::product::available)).
pub(super) fn run(d: &Direct, x: &[f32], weight: &[f32], bias: Option<&[f32]>, out: &mut [f32]) {
    assert_eq!(x.len(), d.batch * d.groups * d.inputs * d.source());
    assert_eq!(weight.len(), d.groups * d.outputs * d.depth());
    assert_eq!(out.len(), d.batch * d.groups * d.outputs * d.pixels);
    assert!(bias.is_none_or(|b| b.len() == d.groups * d.outputs));
    let shared = Shared::new(out);
    let panels = d.positions().div_ceil(WIDTH);
    let most = if d.taps() == 1 { 2 * PANELS } else { PANELS };
    let sets: Vec<_> = cut(panels, (panels / 4).clamp(1, most)).collect();
    let parts = (TASKS / (sets.len() * d.groups))
        .min(d.outputs / 128)
        .max(d.outputs.div_ceil(CHANNELS))
        .max(1);
    let parts: Vec<_> = cut(d.outputs, d.outputs.div_ceil(parts)).collect();
    let mut tasks = Vec::new();
    for group in 0..d.groups {
        for part in &parts {
            tasks.extend(sets.iter().map(|set| (group, part.clone(), set.clone())));
        }
    }
    tasks.into_par_iter().for_each(|(group, part, set)| {
        let task = Task {
            d,
            x,
            weight,
            bias,
            group,
            part,
            set,
        };
        with_scratch(|buffer| task.run(buffer, shared));
    });
}

/// Some panels of positions for some output channels of a group.
struct Task<'a> {
    d: &'a Direct,
    x: &'a [f32],
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    group: usize,
    part: Range<usize>,
    set: Range<usize>,
}

impl Task<'_> {
    fn run(&self, buffer: &mut Vec<f32>, shared: Shared<'_, f32>) {
        let d = self.d;
        let plans: Vec<Plan> = self.set.clone().map(|p| Plan::new(d, p)).collect();
        // A panel of the right operand, then a tile of sums for every panel that needs one.
        let tile = self.part.len() * WIDTH;
        // Where patches are cheap to gather all are packed first, so that every output channel is
        // written in long stretches; else each while its panel is in the L1 cache.
        let together = if d.taps() == 1 { plans.len() } else { 1 };
        let size = WIDTH * TERMS.min(d.depth());
        let buffer = grown(buffer, together * size + plans.len() * tile);
        let (packed, tiles) = buffer.split_at_mut(together * size);
        let source = self.x[self.group * d.inputs * d.source()..].as_ptr();
        for terms in cut(d.depth(), TERMS) {
            let plans = plans.chunks(together);
            for (plans, tiles) in plans.zip(tiles.chunks_mut(together * tile)) {
                for (index, plan) in plans.iter().enumerate() {
                    let panel = packed[index * size..].as_mut_ptr();
                    // SAFETY: a panel holds the longest block; AVX-512 exists by the contract of
                    // the module's `run`.
                    unsafe { fill(d, plan, source, &terms, panel) };
                }
                for block in cut(self.part.len(), ROWS) {
                    for (index, plan) in plans.iter().enumerate() {
                        let panel = &packed[index * size..];
                        let (out, stride) = match self.in_place(plan) {
                            Some(start) => {
                                let end = start + (self.part.len() - 1) * d.pixels + plan.columns;
                                // SAFETY: tasks differ in position or channel; only those are
                                // touched.
                                (unsafe { shared.slice(start..end) }, d.pixels)
                            }
                            None => (&mut tiles[index * tile..][..tile], WIDTH),
                        };
                        self.multiply(&terms, &block, plan, panel, out, stride);
                    }
                }
            }
        }
        for (plan, tile) in plans.iter().zip(tiles.chunks_exact(tile)) {
            if self.in_place(plan).is_none() {
                self.spread(plan, tile, shared);
            }
        }
    }

    /// Where the panel's first result lies, if its positions are neighbours in the output.
    fn in_place(&self, plan: &Plan) -> Option<usize> {
        let d = self.d;
        let (first, last) = (plan.runs.first()?, plan.runs.last()?);
        let dense = d.y.spacing == 1 && d.x.spacing == 1 && first.image == last.image;
        let channel = self.group * d.outputs + self.part.start;
        let plane = first.image * d.groups * d.outputs + channel;
        dense.then_some(plane * d.pixels + first.y * d.width + first.x)
    }

    fn multiply(
        &self,
        terms: &Range<usize>,
        block: &Range<usize>,
        plan: &Plan,
        panel: &[f32],
        out: &mut [f32],
        stride: usize,
    ) {
        let (d, depth) = (self.d, self.d.depth());
        let mut rows = [0; ROWS];
        for (r, row) in rows.iter_mut().enumerate() {
            *row = r * depth;
        }
        let channel = self.group * d.outputs + self.part.start + block.start;
        let from = channel * depth + terms.start;
        let left = Left::line(self.weight[from..].as_ptr(), &rows, terms.len(), 1);
        let start = match self.bias {
            _ if terms.start > 0 => Start::Output,
            Some(bias) => Start::Rows(bias[channel..].as_ptr()),
            None => Start::Zero,
        };
        let output = Output {
            pointer: out[block.start * stride..].as_mut_ptr(),
            stride,
            columns: plan.columns,
            start,
        };
        // SAFETY: the weights have these rows and terms, the panel these vectors, and `out`
        // has room for all rows of the part.
        unsafe { product(block.len(), plan.vectors, &left, panel.as_ptr(), &output) };
    }

    /// Writes a tile of results to where they belong.
    fn spread(&self, plan: &Plan, tile: &[f32], shared: Shared<'_, f32>) {
        let d = self.d;
        for run in &plan.runs {
            let plane = run.image * d.groups * d.outputs + self.group * d.outputs + self.part.start;
            let y = d.y.first + run.y * d.y.spacing;
            let x = d.x.first + run.x * d.x.spacing;
            let start = plane * d.pixels + y * d.width + x;
            let span = (run.end - run.start - 1) * d.x.spacing + 1;
            let end = start + (self.part.len() - 1) * d.pixels + span;
            // SAFETY: as in `run`: these positions and channels are this task's.
            let out = unsafe { shared.slice(start..end) };
            let from = run.vector * LANES + run.start;
            for (row, tile) in tile.chunks_exact(WIDTH).enumerate() {
                let values = &tile[from..from + run.end - run.start];
                let out = &mut out[row * d.pixels..];
                if d.x.spacing == 1 {
                    let mask = ((1u32 << values.len()) - 1) as u16;
                    // SAFETY: the mask selects the lanes of this run.
                    unsafe { copy(values.as_ptr(), mask, out.as_mut_ptr()) };
                } else {
                    for (o, v) in out.iter_mut().step_by(d.x.spacing).zip(values) {
                        *o = *v;
                    }
                }
            }
        }
    }
}

/// Copies the elements that `mask` selects.
#[target_feature(enable = "avx512f")]
unsafe fn copy(from: *const f32, mask: u16, to: *mut f32) {
    // SAFETY: the caller promises that the selected elements exist on both sides.
    unsafe { _mm512_mask_storeu_ps(to, mask, _mm512_maskz_loadu_ps(mask, from)) }
}
