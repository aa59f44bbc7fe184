//! The two passes with AVX2.
//!
//! A weight of 24 bits is split into a high and a low part of at most 13 bits, so that the
//! multiplication of 16-bit numbers, which adds neighbouring products, does the work:
//! `sum(w * p) = (sum(high * p) << 11) + sum(low * p)`, exact in 32 bits.

use std::arch::x86_64::*;

use super::Out;
use super::passes::{HALF, Lines, clamp};
use super::taps::{PRECISION, Taps};

const LOW_BITS: i32 = 11;

fn split(weight: i32) -> (i16, i16) {
    let low = (1 << LOW_BITS) - 1;
    ((weight >> LOW_BITS) as i16, (weight & low) as i16)
}

/// Four taps of one output pixel: `[w0 w1]` four times, then `[w2 w3]` four times.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
struct Group {
    high: [i16; 16],
    low: [i16; 16],
}

impl Group {
    fn new(weights: &[i32]) -> Self {
        let mut group = Self {
            high: [0; 16],
            low: [0; 16],
        };
        for (tap, weight) in weights.iter().enumerate() {
            let (high, low) = split(*weight);
            for channel in 0..4 {
                let place = tap / 2 * 8 + channel * 2 + tap % 2;
                group.high[place] = high;
                group.low[place] = low;
            }
        }
        group
    }
}

/// The weights of all output pixels in groups of four taps, the same number of groups for each.
struct Groups {
    firsts: Vec<usize>,
    groups: Vec<Group>,
    each: usize,
}

impl Groups {
    fn new(taps: &Taps) -> Self {
        let each = taps.stride.div_ceil(4);
        let mut firsts = Vec::with_capacity(taps.spans.len());
        let mut groups = Vec::with_capacity(taps.spans.len() * each);
        let most = taps.spans.iter().map(|span| span.1).max().unwrap_or(0);
        let each = each.min((most as usize).div_ceil(4)).max(1);
        for (first, weights) in taps.iter() {
            firsts.push(first * 3);
            let mut chunks = weights.chunks(4);
            groups.extend((0..each).map(|_| Group::new(chunks.next().unwrap_or_default())));
        }
        Self {
            firsts,
            groups,
            each,
        }
    }
}

/// [`stretch_horizontally`](super::passes::stretch_horizontally) with AVX2.
#[target_feature(enable = "avx2")]
pub(super) fn stretch_horizontally(from: Lines, columns: &Taps, out: Out) {
    let groups = Groups::new(columns);
    let used = columns.span().end as usize * 3;
    // Zero weights may reach past the last pixel by `each` groups; a copy has room for that.
    let room = used + groups.each * 12 + 16;
    let mut lines = [vec![0u8; room], vec![0u8; room]];
    let mut results = [vec![0u8; out.line + 1], vec![0u8; out.line + 1]];
    let mut y = 0;
    for pair in out.data.chunks_mut(out.line * 2) {
        let count = pair.len() / out.line;
        for (k, line) in lines.iter_mut().take(count).enumerate() {
            line[..used].copy_from_slice(&from.rest_from(y + k)[..used]);
        }
        let [a, b] = &mut results;
        stretch_two(&lines, &groups, a, b);
        for (to, result) in pair.chunks_exact_mut(out.line).zip(&results) {
            to.copy_from_slice(&result[..out.line]);
        }
        y += count;
    }
}

/// Two lines at once, so that every weight is loaded once for both.
#[target_feature(enable = "avx2")]
fn stretch_two(lines: &[Vec<u8>; 2], groups: &Groups, a: &mut [u8], b: &mut [u8]) {
    // From 4 pixels of 3 bytes, the same in both halves: r0 r1 g0 g1 b0 b1 | r2 r3 g2 g3 b2 b3,
    // each as 16 bits.
    let pairs = _mm256_setr_epi8(
        0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, //
        6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1,
    );
    let per_pixel = groups.groups.chunks_exact(groups.each);
    for (index, (first, weights)) in groups.firsts.iter().zip(per_pixel).enumerate() {
        let zero = _mm256_setzero_si256();
        let (mut high, mut low) = ([zero; 2], [zero; 2]);
        for (k, group) in weights.iter().enumerate() {
            // SAFETY: the arrays are 32 bytes and aligned to 32.
            let (weight_high, weight_low) = unsafe {
                (
                    _mm256_load_si256(group.high.as_ptr().cast()),
                    _mm256_load_si256(group.low.as_ptr().cast()),
                )
            };
            for row in 0..2 {
                let bytes = _mm256_broadcastsi128_si256(load(&lines[row][first + k * 12..]));
                let pixels = _mm256_shuffle_epi8(bytes, pairs);
                high[row] = _mm256_add_epi32(high[row], _mm256_madd_epi16(pixels, weight_high));
                low[row] = _mm256_add_epi32(low[row], _mm256_madd_epi16(pixels, weight_low));
            }
        }
        // The fourth byte belongs to the next pixel, which is written later.
        a[index * 3..][..4].copy_from_slice(&finish_pixel(high[0], low[0]));
        b[index * 3..][..4].copy_from_slice(&finish_pixel(high[1], low[1]));
    }
}

/// Both halves added up, rounded and clamped to 8 bits.
#[target_feature(enable = "avx2")]
fn finish_pixel(high: __m256i, low: __m256i) -> [u8; 4] {
    let sum = _mm256_add_epi32(_mm256_slli_epi32::<LOW_BITS>(high), low);
    let sum = _mm_add_epi32(
        _mm256_castsi256_si128(sum),
        _mm256_extracti128_si256::<1>(sum),
    );
    let sum = _mm_add_epi32(sum, _mm_set1_epi32(HALF));
    let value = _mm_srai_epi32::<{ PRECISION as i32 }>(sum);
    let value = _mm_packs_epi32(value, value);
    _mm_cvtsi128_si32(_mm_packus_epi16(value, value)).to_le_bytes()
}

/// [`stretch_vertically`](super::passes::stretch_vertically) with AVX2.
#[target_feature(enable = "avx2")]
pub(super) fn stretch_vertically(from: Lines, rows: &Taps, out: Out) {
    let whole = out.line / 16 * 16;
    for (to, (first, weights)) in out.data.chunks_exact_mut(out.line).zip(rows.iter()) {
        let (blocks, rest) = to.split_at_mut(whole);
        for (index, block) in blocks.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            *block = mix(from, first, weights, index * 16);
        }
        for (index, value) in rest.iter_mut().enumerate() {
            let mut sum = HALF;
            for (k, weight) in weights.iter().enumerate() {
                sum += i32::from(from.rest_from(first + k)[whole + index]) * weight;
            }
            *value = clamp(sum);
        }
    }
}

/// 16 bytes of an output line from byte `at` on.
#[target_feature(enable = "avx2")]
fn mix(from: Lines, first: usize, weights: &[i32], at: usize) -> [u8; 16] {
    let zero = _mm256_setzero_si256();
    // Of bytes 0..8 and 8..16.
    let (mut high, mut low) = ([zero; 2], [zero; 2]);
    for (pair, weights) in weights.chunks(2).enumerate() {
        let line = first + pair * 2;
        let upper = load(&from.rest_from(line)[at..]);
        let (lower, second) = match weights.get(1) {
            Some(weight) => (load(&from.rest_from(line + 1)[at..]), *weight),
            None => (upper, 0),
        };
        let (first_high, first_low) = split(weights[0]);
        let (second_high, second_low) = split(second);
        let weight_high = both(first_high, second_high);
        let weight_low = both(first_low, second_low);
        let halves = [
            _mm_unpacklo_epi8(upper, lower),
            _mm_unpackhi_epi8(upper, lower),
        ];
        for (half, bytes) in halves.into_iter().enumerate() {
            let pixels = _mm256_cvtepu8_epi16(bytes);
            high[half] = _mm256_add_epi32(high[half], _mm256_madd_epi16(pixels, weight_high));
            low[half] = _mm256_add_epi32(low[half], _mm256_madd_epi16(pixels, weight_low));
        }
    }
    let values = [0, 1].map(|half| {
        let sum = _mm256_add_epi32(_mm256_slli_epi32::<LOW_BITS>(high[half]), low[half]);
        let sum = _mm256_add_epi32(sum, _mm256_set1_epi32(HALF));
        _mm256_srai_epi32::<{ PRECISION as i32 }>(sum)
    });
    // Packing works within halves of 128 bits; the permutation puts the quarters in order.
    let words = _mm256_packs_epi32(values[0], values[1]);
    let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
    let bytes = _mm_packus_epi16(
        _mm256_castsi256_si128(words),
        _mm256_extracti128_si256::<1>(words),
    );
    let mut out = [0; 16];
    // SAFETY: `out` is 16 bytes; the store need not be aligned.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), bytes) };
    out
}

/// `[first second]` in every lane of 32 bits.
#[target_feature(enable = "avx2")]
fn both(first: i16, second: i16) -> __m256i {
    _mm256_set1_epi32(i32::from(first) & 0xffff | i32::from(second) << 16)
}

/// The first 16 bytes.
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8]) -> __m128i {
    let bytes = &bytes[..16];
    // SAFETY: the slice is 16 bytes; the load need not be aligned.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}
