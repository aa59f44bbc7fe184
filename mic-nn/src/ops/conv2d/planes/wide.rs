//! The kernel's gradient of a 3x3 depthwise convolution with stride 1, in single precision, for
//! AVX-512: the sums of the nine taps stay in registers.

use std::arch::x86_64::{
    __m512, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_maskz_loadu_ps, _mm512_reduce_add_ps,
    _mm512_setzero_ps,
};

use super::super::geometry::Geometry;
use crate::ops::cpu::Elem;
use crate::ops::product::{LANES, available, grown, single, with_scratch};

/// Vectors that are summed in single precision.
const VECTORS: usize = 256;

/// Adds one plane's sums to `total`, if this is a case for it.
pub(super) fn plane_weight<T: Elem>(
    g: &Geometry,
    x: &[T],
    grad: &[T],
    total: &mut [f64],
) -> Option<()> {
    let (y, across) = (&g.y, &g.x);
    if !available::<T>()
        || (y.kernel, across.kernel) != (3, 3)
        || (y.stride, across.stride) != (1, 1)
    {
        return None;
    }
    let (x, grad) = (single(x)?, single(grad)?);
    let width = across.input + 2 * across.padding;
    let height = y.input + 2 * y.padding;
    with_scratch(|buffer| {
        // A frame of zeros around the plane, so that no tap has to look where it falls, and room
        // for the last vector.
        let frame = grown(buffer, height * width + LANES);
        frame.fill(0.0);
        let inside = frame[y.padding * width..].chunks_exact_mut(width);
        for (frame, x) in inside.zip(x.chunks_exact(across.input)) {
            frame[across.padding..across.padding + across.input].copy_from_slice(x);
        }
        let rows = (VECTORS / across.output.div_ceil(LANES)).max(1);
        for (block, grad) in grad.chunks(rows * across.output).enumerate() {
            let frame = &frame[block * rows * width..];
            let steps = (y.dilation * width, across.dilation);
            // SAFETY: `available` has found AVX-512.
            let sums = unsafe { nine(frame, width, steps, grad, across.output) };
            for (total, sum) in total.iter_mut().zip(sums) {
                *total += f64::from(sum);
            }
        }
    });
    Some(())
}

/// The sums of the nine taps, `steps` apart, over the rows of `grad`, which are `len` long.
///
/// # Safety
/// The processor has AVX-512F.
#[target_feature(enable = "avx512f")]
unsafe fn nine(
    frame: &[f32],
    width: usize,
    steps: (usize, usize),
    grad: &[f32],
    len: usize,
) -> [f32; 9] {
    let rows = grad.len() / len;
    let last = (rows - 1) * width + 2 * (steps.0 + steps.1) + len.next_multiple_of(LANES);
    assert!(last <= frame.len());
    let mut sums: [__m512; 9] = [_mm512_setzero_ps(); 9];
    for (row, grad) in grad.chunks_exact(len).enumerate() {
        for start in (0..len).step_by(LANES) {
            let lanes = (len - start).min(LANES);
            let mask = ((1u32 << lanes) - 1) as u16;
            // SAFETY: the mask selects what is left of the row; the frame reaches to the end of
            // the last tap's last vector by the assertion.
            unsafe {
                let d = _mm512_maskz_loadu_ps(mask, grad.as_ptr().add(start));
                let from = frame.as_ptr().add(row * width + start);
                for tap in 0..9 {
                    let x = _mm512_loadu_ps(from.add(tap / 3 * steps.0 + tap % 3 * steps.1));
                    sums[tap] = _mm512_fmadd_ps(d, x, sums[tap]);
                }
            }
        }
    }
    sums.map(|sum| _mm512_reduce_add_ps(sum))
}
