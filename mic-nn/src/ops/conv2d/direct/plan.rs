//! How the patches under a panel of positions are gathered.

use std::arch::x86_64::{
    __m512, __m512i, _mm512_loadu_si512, _mm512_mask_blend_ps, _mm512_mask_i32gather_ps,
    _mm512_mask_loadu_ps, _mm512_maskz_loadu_ps, _mm512_permutex2var_ps, _mm512_setzero_ps,
    _mm512_storeu_ps,
};
use std::ops::Range;

use super::Direct;
use crate::ops::product::{LANES, WIDTH};

/// Neighbouring lanes of one vector that read one source row.
#[derive(Clone, Copy)]
struct Piece {
    /// Where lane 0 would read, counted from the first channel of the first image.
    offset: isize,
    mask: u16,
    /// With step 2: the lanes' elements in the first and in the second 16 elements.
    low: u16,
    high: u16,
}

const NOTHING: Piece = Piece {
    offset: 0,
    mask: 0,
    low: 0,
    high: 0,
};

impl Piece {
    fn new(offset: isize, lanes: Range<usize>) -> Self {
        let mask = ((1u32 << lanes.end) - (1u32 << lanes.start)) as u16;
        let spread =
            |lanes: Range<usize>| lanes.fold(0u32, |bits, lane| bits | 1 << (2 * lane)) as u16;
        let half = LANES / 2;
        Self {
            offset,
            mask,
            low: spread(lanes.start.min(half)..lanes.end.min(half)),
            high: spread(lanes.start.max(half) - half..lanes.end.max(half) - half),
        }
    }
}

/// Neighbouring lanes of one vector whose results lie in one row.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) vector: usize,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) image: usize,
    pub(super) y: usize,
    /// The position of the first lane.
    pub(super) x: usize,
}

/// How one panel is gathered: for every tap and vector the same number of pieces.
pub(super) struct Plan {
    pub(super) vectors: usize,
    each: usize,
    pieces: Vec<Piece>,
    pub(super) runs: Vec<Run>,
    pub(super) columns: usize,
}

impl Plan {
    pub(super) fn new(d: &Direct, panel: usize) -> Self {
        let first = panel * WIDTH;
        let columns = (d.positions() - first).min(WIDTH);
        let vectors = columns.div_ceil(LANES);
        let runs = runs(d, first, columns);
        let longest = |v| runs.iter().filter(|r| r.vector == v).count();
        let each = (0..vectors).map(longest).max().unwrap_or(0);
        let mut pieces = vec![NOTHING; d.taps() * vectors * each];
        let planes = d.groups * d.inputs;
        let mut slots = pieces.chunks_exact_mut(each * vectors);
        for ty in 0..d.y.taps.len() {
            let rows = d.y.valid(ty);
            for tx in 0..d.x.taps.len() {
                let valid = d.x.valid(tx);
                let Some(slot) = slots.next() else { continue };
                let mut used = [0; WIDTH / LANES];
                for run in &runs {
                    if !rows.contains(&(run.y as isize)) {
                        continue;
                    }
                    let shift = run.start as isize - run.x as isize;
                    let (from, to) = (run.start as isize, run.end as isize);
                    let low = (valid.start + shift).clamp(from, to);
                    let high = (valid.end + shift).clamp(low, to);
                    if low == high {
                        continue;
                    }
                    let row = (run.y * d.y.step) as isize + d.y.taps[ty];
                    let offset = (run.image * planes * d.source()) as isize
                        + row * d.x.limit as isize
                        + d.x.taps[tx]
                        - shift * d.x.step as isize;
                    slot[run.vector * each + used[run.vector]] =
                        Piece::new(offset, low as usize..high as usize);
                    used[run.vector] += 1;
                }
            }
        }
        Self {
            vectors,
            each,
            pieces,
            runs,
            columns,
        }
    }
}

/// Cuts a panel's positions at the ends of rows and vectors.
fn runs(d: &Direct, first: usize, columns: usize) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut lane = 0;
    while lane < columns {
        let position = first + lane;
        let (row, x) = (position / d.x.count, position % d.x.count);
        let start = lane % LANES;
        let len = (d.x.count - x).min(columns - lane).min(LANES - start);
        runs.push(Run {
            vector: lane / LANES,
            start,
            end: start + len,
            image: row / d.y.count,
            y: row % d.y.count,
            x,
        });
        lane += len;
    }
    runs
}

/// Fills one panel with the terms `terms`.
///
/// # Safety
/// The processor has AVX-512F; `source` is the first channel of the group in the first image, and
/// `panel` holds `plan.vectors * LANES` elements a term.
#[target_feature(enable = "avx512f")]
unsafe fn gather<const STEP: usize, const EACH: usize>(
    d: &Direct,
    plan: &Plan,
    source: *const f32,
    terms: &Range<usize>,
    panel: *mut f32,
) {
    let (taps, plane) = (d.taps(), d.source());
    let each = if EACH > 0 { EACH } else { plan.each };
    let mut lanes = [0i32; LANES];
    for (lane, value) in lanes.iter_mut().enumerate() {
        *value = (lane * d.x.step) as i32;
    }
    let mut panel = panel;
    let mut term = terms.start;
    // SAFETY: lanes that a piece's mask selects lie within the source by construction, and the
    // panel is as large as the caller promises.
    unsafe {
        let lanes = _mm512_loadu_si512(lanes.as_ptr().cast());
        while term < terms.end {
            let (channel, tap) = (term / taps, term % taps);
            let last = (tap + terms.end - term).min(taps);
            let source = source.wrapping_add(channel * plane);
            let slots = &plan.pieces[tap * plan.vectors * each..last * plan.vectors * each];
            for pieces in slots.chunks_exact(each) {
                let mut value = _mm512_setzero_ps();
                for piece in pieces {
                    value = load::<STEP>(value, source, piece, lanes);
                }
                _mm512_storeu_ps(panel, value);
                panel = panel.wrapping_add(LANES);
            }
            term += last - tap;
        }
    }
}

/// Replaces the piece's lanes of `value` by the source's elements.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load<const STEP: usize>(
    value: __m512,
    source: *const f32,
    piece: &Piece,
    lanes: __m512i,
) -> __m512 {
    let from = source.wrapping_offset(piece.offset);
    // SAFETY: the caller's promise.
    unsafe {
        match STEP {
            1 => _mm512_mask_loadu_ps(value, piece.mask, from),
            2 => {
                let low = _mm512_maskz_loadu_ps(piece.low, from);
                let high = _mm512_maskz_loadu_ps(piece.high, from.wrapping_add(LANES));
                // The even elements of both: the lanes' distances are their places.
                let even = _mm512_permutex2var_ps(low, lanes, high);
                _mm512_mask_blend_ps(piece.mask, value, even)
            }
            _ => _mm512_mask_i32gather_ps::<4>(value, piece.mask, lanes, from),
        }
    }
}

/// Chooses the gathering loop.
///
/// # Safety
/// As for [`gather`].
pub(super) unsafe fn fill(
    d: &Direct,
    plan: &Plan,
    source: *const f32,
    terms: &Range<usize>,
    panel: *mut f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match (d.x.step, plan.each) {
            (1, 1) => gather::<1, 1>(d, plan, source, terms, panel),
            (1, 2) => gather::<1, 2>(d, plan, source, terms, panel),
            (1, 3) => gather::<1, 3>(d, plan, source, terms, panel),
            (1, 4) => gather::<1, 4>(d, plan, source, terms, panel),
            (1, _) => gather::<1, 0>(d, plan, source, terms, panel),
            (2, 1) => gather::<2, 1>(d, plan, source, terms, panel),
            (2, 2) => gather::<2, 2>(d, plan, source, terms, panel),
            (2, _) => gather::<2, 0>(d, plan, source, terms, panel),
            _ => gather::<0, 0>(d, plan, source, terms, panel),
        }
    }
}
