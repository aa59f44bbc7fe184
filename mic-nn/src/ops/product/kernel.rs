//! The innermost loops: a block of the product in registers, for AVX-512.
//!
//! The block has up to [`ROWS`] rows of up to three vectors, 24 of the 32 registers. For every term
//! of the sums, the right operand's vectors are loaded once and multiplied with a broadcast element
//! of each row.

use std::arch::x86_64::{
    __m512, __mmask16, _MM_HINT_T0, _MM_HINT_T1, _mm_prefetch, _mm512_add_ps, _mm512_fmadd_ps,
    _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_set1_ps,
    _mm512_setzero_ps,
};

use super::{LANES, ROWS};

/// The left operand of a block: row `r` begins at `pointer + rows[r]`. The sum runs over
/// `repeats` times `lines` stretches of `len` elements that are `step` apart; the stretches begin
/// `jump` elements apart, the repeats `skip`.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a> {
    pub(crate) pointer: *const f32,
    pub(crate) rows: &'a [usize],
    pub(crate) len: usize,
    pub(crate) step: usize,
    pub(crate) lines: usize,
    pub(crate) jump: usize,
    pub(crate) repeats: usize,
    pub(crate) skip: usize,
    /// What will be read soon, to be fetched meanwhile: `ahead_step` elements a term.
    pub(crate) ahead: *const f32,
    pub(crate) ahead_step: usize,
}

impl<'a> Left<'a> {
    /// One stretch of `len` elements, `step` apart.
    pub(crate) fn line(pointer: *const f32, rows: &'a [usize], len: usize, step: usize) -> Self {
        Self {
            pointer,
            rows,
            len,
            step,
            lines: 1,
            jump: 0,
            repeats: 1,
            skip: 0,
            ahead: pointer,
            ahead_step: 0,
        }
    }
}

/// What a block is added to.
#[derive(Clone, Copy)]
pub(crate) enum Start {
    /// Nothing: the output is overwritten.
    Zero,
    /// The output itself.
    Output,
    /// One element a row.
    Rows(*const f32),
    /// One element a column.
    Columns(*const f32),
}

/// Where a block goes: rows `stride` apart, of which the first `columns` elements are written.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    pub(crate) pointer: *mut f32,
    pub(crate) stride: usize,
    pub(crate) columns: usize,
    pub(crate) start: Start,
}

/// The lanes of vector `v` that lie within `columns`.
#[inline(always)]
fn mask(columns: usize, v: usize) -> __mmask16 {
    let left = columns.saturating_sub(v * LANES).min(LANES);
    ((1u32 << left) - 1) as u16
}

/// `MR` rows of `NV` vectors.
#[target_feature(enable = "avx512f")]
unsafe fn block<const MR: usize, const NV: usize>(
    left: &Left<'_>,
    right: *const f32,
    output: &Output,
) {
    // SAFETY: the caller promises that everything addressed below exists.
    unsafe {
        let mut sums: [[__m512; NV]; MR] = [[_mm512_setzero_ps(); NV]; MR];
        // The output is not in the nearest cache yet; it arrives during the sums.
        for r in 0..MR {
            for v in 0..NV {
                let out = output.pointer.wrapping_add(r * output.stride + v * LANES);
                _mm_prefetch::<_MM_HINT_T0>(out.cast_const().cast());
            }
        }
        let mut right = right;
        let mut ahead = left.ahead;
        let first: [*const f32; MR] =
            std::array::from_fn(|r| left.pointer.wrapping_add(*left.rows.get_unchecked(r)));
        for repeat in 0..left.repeats {
            for line in 0..left.lines {
                let from = repeat * left.skip + line * left.jump;
                let rows: [*const f32; MR] = std::array::from_fn(|r| first[r].wrapping_add(from));
                let mut at = 0;
                for _ in 0..left.len {
                    let b: [__m512; NV] =
                        std::array::from_fn(|v| _mm512_loadu_ps(right.add(v * LANES)));
                    for r in 0..MR {
                        let x = _mm512_set1_ps(*rows[r].add(at));
                        for v in 0..NV {
                            sums[r][v] = _mm512_fmadd_ps(x, b[v], sums[r][v]);
                        }
                    }
                    _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                    ahead = ahead.wrapping_add(left.ahead_step);
                    at += left.step;
                    right = right.add(NV * LANES);
                }
            }
        }
        for r in 0..MR {
            let out = output.pointer.wrapping_add(r * output.stride);
            for v in 0..NV {
                let mask = mask(output.columns, v);
                let out = out.wrapping_add(v * LANES);
                let start = match output.start {
                    Start::Zero => _mm512_setzero_ps(),
                    Start::Output => _mm512_maskz_loadu_ps(mask, out),
                    Start::Rows(rows) => _mm512_set1_ps(*rows.add(r)),
                    Start::Columns(columns) => {
                        _mm512_maskz_loadu_ps(mask, columns.wrapping_add(v * LANES))
                    }
                };
                _mm512_mask_storeu_ps(out, mask, _mm512_add_ps(sums[r][v], start));
            }
        }
    }
}

/// Computes `rows` x `vectors` vectors of the product.
///
/// # Safety
/// The processor has AVX-512F. `rows` is in `1..=ROWS`, `vectors` in `1..=3`; `left` has as many
/// rows, `right` is a panel of `vectors * LANES` columns for every term, and `output` and its
/// start can be accessed in `rows` rows of `columns` elements.
pub(crate) unsafe fn product(
    rows: usize,
    vectors: usize,
    left: &Left<'_>,
    right: *const f32,
    output: &Output,
) {
    debug_assert!(rows <= left.rows.len() && rows <= ROWS);
    macro_rules! choose {
        ($($mr:literal)+) => {
            match (vectors, rows) {
                $((1, $mr) => block::<$mr, 1>(left, right, output),)+
                $((2, $mr) => block::<$mr, 2>(left, right, output),)+
                $((3, $mr) => block::<$mr, 3>(left, right, output),)+
                _ => {}
            }
        };
    }
    // SAFETY: the caller's promise.
    unsafe { choose!(1 2 3 4 5 6 7 8) }
}
