//! The kernel's gradient for kernels three taps wide, in single precision, for AVX-512: the sums
//! of a stretch of a row stay in registers.

use std::arch::x86_64::{
    __m512, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};
use std::ops::Range;

use super::Geometry;
use crate::ops::conv2d::axis::Links;
use crate::ops::cpu::Elem;
use crate::ops::product::{LANES, available, single, single_mut};

/// Positions that are handled at a time: their channels stay in the cache for all taps.
const STRETCH: usize = 32;
/// Vectors of channels at a time.
const VECTORS: usize = 4;

/// Sums the positions of a row at which all taps lie within the image; returns which these are
/// (none where another way must be taken). `local` has a row of `lanes` channels for every tap
/// and one for the bias.
pub(super) fn parameter_row<T: Elem>(
    g: &Geometry,
    rows: &Links,
    x: &[T],
    grad: &[T],
    row: usize,
    lanes: Range<usize>,
    local: &mut [T],
) -> Option<Range<usize>> {
    if !available::<T>() || g.x.kernel != 3 || !lanes.len().is_multiple_of(LANES) {
        return None;
    }
    let (first, last) = (g.x.valid(0), g.x.valid(2));
    let (start, end) = (first.start.max(last.start), first.end.min(last.end));
    if start >= end {
        return None;
    }
    let (x, grad, local) = (single(x)?, single(grad)?, single_mut(local)?);
    let (c, count) = (g.channels, lanes.len());
    let (image, oy) = (row / g.y.output, row % g.y.output);
    assert!(lanes.end <= c && local.len() == (g.y.kernel * 3 + 1) * count);
    let (tap_sums, bias_sums) = local.split_at_mut(g.y.kernel * 3 * count);
    for from in (start..end).step_by(STRETCH) {
        let len = (end - from).min(STRETCH);
        let dy = &grad[from * c + lanes.start..(from + len - 1) * c + lanes.end];
        // SAFETY: `available` has found AVX-512.
        unsafe { add(dy, c, len, bias_sums) };
        for &(iy, ky) in rows.at(oy) {
            let position = (image * g.y.input + iy) * g.x.input + g.x.source(from, 0);
            let last = position + (len - 1) * g.x.stride + 2 * g.x.dilation;
            let x = &x[position * c + lanes.start..last * c + lanes.end];
            let sums = &mut tap_sums[ky * 3 * count..(ky + 1) * 3 * count];
            let steps = (c, g.x.stride * c, g.x.dilation * c);
            // SAFETY: as above.
            unsafe { taps(dy, x, steps, len, sums) };
        }
    }
    Some(start..end)
}

/// Adds to `sums` (3 taps, channels) the products of `len` positions of `dy` with those of `x`;
/// `steps` are the distances of the positions in either and of the taps.
///
/// # Safety
/// The processor has AVX-512F.
#[target_feature(enable = "avx512f")]
unsafe fn taps(dy: &[f32], x: &[f32], steps: (usize, usize, usize), len: usize, sums: &mut [f32]) {
    let count = sums.len() / 3;
    assert!((len - 1) * steps.0 + count <= dy.len());
    assert!((len - 1) * steps.1 + 2 * steps.2 + count <= x.len());
    let mut channel = 0;
    // SAFETY: by the assertions, whose sizes are multiples of a vector.
    unsafe {
        while channel + VECTORS * LANES <= count {
            block::<VECTORS>(dy.as_ptr(), x.as_ptr(), steps, len, sums, channel);
            channel += VECTORS * LANES;
        }
        while channel + LANES <= count {
            block::<1>(dy.as_ptr(), x.as_ptr(), steps, len, sums, channel);
            channel += LANES;
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn block<const N: usize>(
    dy: *const f32,
    x: *const f32,
    steps: (usize, usize, usize),
    len: usize,
    sums: &mut [f32],
    channel: usize,
) {
    let count = sums.len() / 3;
    let sums = sums.as_mut_ptr();
    // SAFETY: the caller has checked the sizes.
    unsafe {
        let at = |tap: usize, v: usize| tap * count + channel + v * LANES;
        let mut totals: [[__m512; N]; 3] = [[_mm512_setzero_ps(); N]; 3];
        for position in 0..len {
            let dy = dy.add(position * steps.0 + channel);
            let x = x.add(position * steps.1 + channel);
            for v in 0..N {
                let d = _mm512_loadu_ps(dy.add(v * LANES));
                for tap in 0..3 {
                    let x = _mm512_loadu_ps(x.add(tap * steps.2 + v * LANES));
                    totals[tap][v] = _mm512_fmadd_ps(d, x, totals[tap][v]);
                }
            }
        }
        for tap in 0..3 {
            for v in 0..N {
                let sum = sums.add(at(tap, v));
                _mm512_storeu_ps(sum, _mm512_add_ps(_mm512_loadu_ps(sum), totals[tap][v]));
            }
        }
    }
}

/// Adds `len` rows of `dy`, `step` apart, to `sums`.
///
/// # Safety
/// The processor has AVX-512F.
#[target_feature(enable = "avx512f")]
unsafe fn add(dy: &[f32], step: usize, len: usize, sums: &mut [f32]) {
    for position in 0..len {
        let dy = &dy[position * step..][..sums.len()];
        for (s, d) in sums.iter_mut().zip(dy) {
            *s += *d;
        }
    }
}
