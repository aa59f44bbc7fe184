//! The gradient of the input: one convolution of the output's gradient for every residue of the
//! stride, with the channels of the kernel exchanged.

use std::arch::x86_64::{
    _mm512_loadu_si512, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_permutexvar_ps,
};

use rayon::prelude::*;

use super::super::axis::Axis;
use super::super::geometry::Geometry;
use super::side::Side;
use super::{Direct, run};
use crate::ops::cpu::{Mat, Shared, fresh};
use crate::ops::product::{LANES, cut, transpose};

/// The gradient of the input, written to `dx`.
pub(in super::super) fn input_gradient(g: &Geometry, grad: &[f32], weight: &[f32], dx: &mut [f32]) {
    let unread = |axis: &Axis| {
        (0..axis.stride.min(axis.input)).any(|r| Side::of_inputs(axis, r).1.is_empty())
    };
    if unread(&g.y) || unread(&g.x) {
        dx.par_chunks_mut(1 << 16).for_each(|dx| dx.fill(0.0));
    }
    for ry in 0..g.y.stride.min(g.y.input) {
        let (y, rows) = Side::of_inputs(&g.y, ry);
        for rx in 0..g.x.stride.min(g.x.input) {
            let (x, columns) = Side::of_inputs(&g.x, rx);
            let taps: Vec<usize> = rows
                .iter()
                .flat_map(|ky| columns.iter().map(move |kx| ky * g.x.kernel + kx))
                .collect();
            if taps.is_empty() {
                continue;
            }
            let d = Direct {
                batch: g.batch,
                groups: g.groups,
                inputs: g.cout,
                outputs: g.cin,
                y: y.clone(),
                x,
                width: g.x.input,
                pixels: g.in_pixels(),
            };
            run(&d, grad, &turned(g, weight, &taps), None, dx);
        }
    }
}

/// Some taps of the kernel with the channels of each group exchanged.
fn turned(g: &Geometry, weight: &[f32], taps: &[usize]) -> Vec<f32> {
    let depth = g.cout * taps.len();
    let mut out = fresh(g.groups * g.cin * depth);
    let shared = Shared::new(&mut out);
    let blocks: Vec<_> = (0..g.groups)
        .flat_map(|group| cut(g.cin, LANES).map(move |block| (group, block)))
        .collect();
    blocks.into_par_iter().for_each(|(group, block)| {
        let start = (group * g.cin + block.start) * depth;
        // SAFETY: every task writes its own input channels.
        let out = unsafe { shared.slice(start..start + block.len() * depth) };
        let from = &weight[(group * g.cout * g.cin + block.start) * g.taps()..];
        if g.taps() == 1 && taps.len() == 1 {
            let from = Mat::strided(from, g.cout, block.len(), g.cin);
            transpose(from, out, depth);
            return;
        }
        if g.taps() <= LANES {
            // SAFETY: AVX-512 exists by the contract of the module's `run`.
            unsafe { pick(g, taps, from, block.len(), out) };
            return;
        }
        for output in 0..g.cout {
            let from = &from[output * g.cin * g.taps()..][..block.len() * g.taps()];
            for (from, out) in from.chunks_exact(g.taps()).zip(out.chunks_exact_mut(depth)) {
                let out = &mut out[output * taps.len()..][..taps.len()];
                for (out, tap) in out.iter_mut().zip(taps) {
                    *out = from[*tap];
                }
            }
        }
    });
    out
}

/// The loops of [`turned`] for `count` input channels and kernels of at most [`LANES`] taps.
///
/// # Safety
/// The processor has AVX-512F.
#[target_feature(enable = "avx512f")]
unsafe fn pick(g: &Geometry, taps: &[usize], from: &[f32], count: usize, out: &mut [f32]) {
    let mask = |n: usize| ((1u32 << n) - 1) as u16;
    let mut indices = [0i32; LANES];
    for (index, tap) in indices.iter_mut().zip(taps) {
        *index = *tap as i32;
    }
    let (whole, some) = (g.taps(), taps.len());
    assert!(whole <= LANES && some <= LANES);
    assert!(from.len() >= ((g.cout - 1) * g.cin + count) * whole);
    assert!(out.len() >= count * g.cout * some);
    // SAFETY: all kernels lie within the slices by the assertions, and the masks select one.
    unsafe {
        let indices = _mm512_loadu_si512(indices.as_ptr().cast());
        for output in 0..g.cout {
            for input in 0..count {
                let from = from.as_ptr().add((output * g.cin + input) * whole);
                let to = out.as_mut_ptr().add((input * g.cout + output) * some);
                let kernel = _mm512_maskz_loadu_ps(mask(whole), from);
                let picked = _mm512_permutexvar_ps(indices, kernel);
                _mm512_mask_storeu_ps(to, mask(some), picked);
            }
        }
    }
}
