//! Packing of right operands, and transposition.

use std::arch::x86_64::{
    __m512, _mm512_castpd_ps, _mm512_castps_pd, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps,
    _mm512_setzero_ps, _mm512_shuffle_f32x4, _mm512_unpackhi_pd, _mm512_unpackhi_ps,
    _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};
use std::ops::Range;

use super::{LANES, TERMS, WIDTH, cut, grown};
use crate::ops::cpu::Mat;

/// A packed right operand: for every block of terms (see [`cut`]) its panels one after the other.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a> {
    data: &'a [f32],
    pub(crate) terms: usize,
    pub(crate) columns: usize,
}

impl<'a> Panels<'a> {
    /// Elements of a packed operand of this size.
    pub(crate) fn len(terms: usize, columns: usize) -> usize {
        terms * columns.next_multiple_of(LANES)
    }

    /// A view of packed data.
    pub(crate) fn new(data: &'a [f32], terms: usize, columns: usize) -> Self {
        assert!(data.len() >= Self::len(terms, columns));
        Self {
            data,
            terms,
            columns,
        }
    }

    /// Packs a matrix on this thread.
    pub(crate) fn pack(b: Mat<'_, f32>, buffer: &'a mut Vec<f32>) -> Self {
        let data = grown(buffer, Self::len(b.rows, b.cols));
        for terms in cut(b.rows, TERMS) {
            let range = Self::len(terms.start, b.cols)..Self::len(terms.end, b.cols);
            pack_block(b, &terms, &mut data[range]);
        }
        Self::new(data, b.rows, b.cols)
    }

    /// One panel of a block of terms.
    #[inline(always)]
    pub(crate) fn panel(&self, terms: &Range<usize>, panel: usize) -> &'a [f32] {
        let padded = self.columns.next_multiple_of(LANES);
        let width = (padded - panel * WIDTH).min(WIDTH);
        let start = terms.start * padded + panel * WIDTH * terms.len();
        &self.data[start..start + width * terms.len()]
    }
}

/// Packs a block of terms of `b`, all its panels.
pub(crate) fn pack_block(b: Mat<'_, f32>, terms: &Range<usize>, out: &mut [f32]) {
    assert!(b.fits() && terms.end <= b.rows);
    assert!(out.len() >= Panels::len(terms.len(), b.cols));
    let mut at = 0;
    for first in (0..b.cols).step_by(WIDTH) {
        let columns = (b.cols - first).min(WIDTH);
        let width = columns.next_multiple_of(LANES);
        let panel = &mut out[at..at + width * terms.len()];
        at += panel.len();
        let from = terms.start * b.row_stride + first * b.col_stride;
        if b.col_stride == 1 {
            for (row, to) in panel.chunks_exact_mut(width).enumerate() {
                let row = &b.data[from + row * b.row_stride..][..columns];
                // Fixed lengths become vector copies.
                if let Ok(row) = <&[f32; WIDTH]>::try_from(row) {
                    to.copy_from_slice(row);
                } else {
                    to[..columns].copy_from_slice(row);
                    to[columns..].fill(0.0);
                }
            }
        } else if b.row_stride == 1 {
            if columns < width {
                panel.fill(0.0);
            }
            let from = Mat {
                data: &b.data[from..],
                rows: columns,
                cols: terms.len(),
                row_stride: b.col_stride,
                col_stride: 1,
            };
            transpose(from, panel, width);
        } else {
            for (row, to) in panel.chunks_exact_mut(width).enumerate() {
                for (column, to) in to.iter_mut().enumerate() {
                    let index = from + row * b.row_stride + column * b.col_stride;
                    *to = if column < columns { b.data[index] } else { 0.0 };
                }
            }
        }
    }
}

/// Writes the transpose of `from`, whose rows are contiguous, to rows `stride` apart.
pub(crate) fn transpose(from: Mat<'_, f32>, to: &mut [f32], stride: usize) {
    let (rows, cols) = (from.rows, from.cols);
    if rows == 0 || cols == 0 {
        return;
    }
    assert!(from.fits() && from.col_stride == 1);
    assert!((cols - 1) * stride + rows <= to.len());
    for row in (0..rows).step_by(LANES) {
        for col in (0..cols).step_by(LANES) {
            let (height, width) = ((rows - row).min(LANES), (cols - col).min(LANES));
            // SAFETY: the square lies within both matrices by the assertions, and callers of this
            // module have AVX-512.
            unsafe {
                square(
                    from.data.as_ptr().add(row * from.row_stride + col),
                    from.row_stride,
                    height,
                    width,
                    to.as_mut_ptr().add(col * stride + row),
                    stride,
                )
            };
        }
    }
}

/// Transposes `height` x `width` elements, both at most 16.
#[target_feature(enable = "avx512f")]
unsafe fn square(
    from: *const f32,
    from_stride: usize,
    height: usize,
    width: usize,
    to: *mut f32,
    to_stride: usize,
) {
    let mask = |n: usize| ((1u32 << n) - 1) as u16;
    let (read, write) = (mask(width), mask(height));
    // SAFETY: rows and columns beyond the given sizes are masked or skipped.
    unsafe {
        let mut a: [__m512; LANES] = [_mm512_setzero_ps(); LANES];
        for i in 0..LANES {
            if i < height {
                a[i] = _mm512_maskz_loadu_ps(read, from.wrapping_add(i * from_stride));
            }
        }
        let mut b = a;
        for i in 0..8 {
            b[2 * i] = _mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]);
            b[2 * i + 1] = _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]);
        }
        let low =
            |x, y| _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(x), _mm512_castps_pd(y)));
        let high =
            |x, y| _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(x), _mm512_castps_pd(y)));
        // a[4 g + c]: rows 4 g to 4 g + 3 of columns c, c + 4, c + 8, c + 12.
        for g in 0..4 {
            a[4 * g] = low(b[4 * g], b[4 * g + 2]);
            a[4 * g + 1] = high(b[4 * g], b[4 * g + 2]);
            a[4 * g + 2] = low(b[4 * g + 1], b[4 * g + 3]);
            a[4 * g + 3] = high(b[4 * g + 1], b[4 * g + 3]);
        }
        for c in 0..4 {
            let upper = [
                _mm512_shuffle_f32x4::<0x88>(a[c], a[4 + c]),
                _mm512_shuffle_f32x4::<0xdd>(a[c], a[4 + c]),
            ];
            let lower = [
                _mm512_shuffle_f32x4::<0x88>(a[8 + c], a[12 + c]),
                _mm512_shuffle_f32x4::<0xdd>(a[8 + c], a[12 + c]),
            ];
            b[c] = _mm512_shuffle_f32x4::<0x88>(upper[0], lower[0]);
            b[c + 8] = _mm512_shuffle_f32x4::<0xdd>(upper[0], lower[0]);
            b[c + 4] = _mm512_shuffle_f32x4::<0x88>(upper[1], lower[1]);
            b[c + 12] = _mm512_shuffle_f32x4::<0xdd>(upper[1], lower[1]);
        }
        for i in 0..LANES {
            if i < width {
                _mm512_mask_storeu_ps(to.wrapping_add(i * to_stride), write, b[i]);
            }
        }
    }
}
