//! Decoding PNG and JPEG to 8-bit RGB within a memory limit.
//!
//! PNG goes through the `png` crate: exact, and the fastest of what was compared (18 ms for a
//! drawn scene of 1914 x 1052 in 2.5 MB; `zune-png` 25 ms, OpenCV 43 ms, Pillow 53 ms). 16-bit
//! channels keep their high byte and transparency is dropped, as in OpenCV and Pillow.
//!
//! JPEG goes through `zune-jpeg`, by way of the `image` crate. It rounds otherwise than
//! libjpeg-turbo, which Pillow, OpenCV and torchvision use: see the numbers at [`read_image`]. A
//! decoder with the same bits would need an assembler (turbojpeg, mozjpeg) to be as fast.
//!
//! [`read_image`]: super::read_image

use std::io::Cursor;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use image::codecs::jpeg::JpegDecoder;
use image::{ImageDecoder, RgbImage};
use png::{BitDepth, ColorType, Transformations};

use super::read::damaged;
use crate::parallel::catching;
use crate::{Error, Result};

/// Bytes that decoding one file may take, unless another limit is given: 1 GiB, enough for a PNG
/// of 350 million pixels or a JPEG of 75 million.
pub const DECODE_LIMIT: u64 = 1 << 30;

/// The limit of this process.
static LIMIT: AtomicU64 = AtomicU64::new(DECODE_LIMIT);

/// Sets the bytes that decoding one image or label may take from now on, where a call gives no limit
/// of its own. Memory is the whole process's, and so is this limit.
pub fn set_decode_limit(bytes: u64) {
    LIMIT.store(bytes, Ordering::Relaxed);
}

/// What [`set_decode_limit`] set, else [`DECODE_LIMIT`].
pub fn decode_limit() -> u64 {
    LIMIT.load(Ordering::Relaxed)
}

/// What a decoder holds besides the pixels: tables, windows and a few lines.
const WORKSPACE: u64 = 1 << 20;

/// Decodes the content of `path`, PNG or JPEG, whatever its name says.
pub(super) fn decode(bytes: Vec<u8>, path: &Path, limit: u64) -> Result<RgbImage> {
    // The decoders are libraries of others, so a panic must not end the program.
    catching(|| {
        if bytes.starts_with(PNG_MAGIC) {
            decode_png(&bytes, path, limit)
        } else if bytes.starts_with(JPEG_MAGIC) {
            decode_jpeg(bytes, path, limit)
        } else {
            Err(damaged(path, "neither a PNG nor a JPEG"))
        }
    })
    .map_err(|error| match error {
        Error::Invalid(panic) => damaged(path, panic),
        other => other,
    })
}

const PNG_MAGIC: &[u8] = b"\x89PNG\r\n\x1a\n";
pub(super) const JPEG_MAGIC: &[u8] = &[0xff, 0xd8];

fn decode_png(bytes: &[u8], path: &Path, limit: u64) -> Result<RgbImage> {
    let transformations = Transformations::normalize_to_color8();
    // At most four channels come out, and grey ones are copied to three.
    let mut reader = open_png(
        bytes,
        path,
        limit,
        transformations,
        |color, _| match color {
            ColorType::Grayscale | ColorType::GrayscaleAlpha => 5,
            ColorType::Rgb => 3,
            ColorType::Rgba | ColorType::Indexed => 4,
        },
    )?;
    let (width, height) = reader.info().size();
    let (color, _) = reader.output_color_type();
    let pixels = read_frame(&mut reader, path)?.0;
    let pixels = match color {
        ColorType::Rgb | ColorType::Indexed => pixels,
        ColorType::Rgba => without_alpha(pixels),
        ColorType::Grayscale => pixels.iter().flat_map(|grey| [*grey; 3]).collect(),
        ColorType::GrayscaleAlpha => pixels.chunks_exact(2).flat_map(|p| [p[0]; 3]).collect(),
    };
    RgbImage::from_raw(width, height, pixels).ok_or_else(|| damaged(path, "pixels are missing"))
}

/// A PNG whose pixels fit into the limit, at `per_pixel(type, depth)` bytes.
pub(super) fn open_png<'a>(
    bytes: &'a [u8],
    path: &Path,
    limit: u64,
    transformations: Transformations,
    per_pixel: impl Fn(ColorType, BitDepth) -> u64,
) -> Result<png::Reader<Cursor<&'a [u8]>>> {
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    let info = decoder.read_header_info();
    let info = info.map_err(|error| damaged(path, error))?;
    let per_pixel = per_pixel(info.color_type, info.bit_depth);
    // Lines of the stored and of the wanted form; eight bytes a pixel are the most.
    let lines = 8 * 8 * u64::from(info.width);
    let needed = needed(info.size(), per_pixel, bytes.len() as u64 + lines);
    check_memory(path, info.size(), needed, limit)?;
    let rest = usize::try_from(limit - needed).unwrap_or(usize::MAX);
    decoder.set_limits(png::Limits {
        bytes: rest.max(WORKSPACE as usize),
    });
    decoder.set_transformations(transformations);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.read_info().map_err(|error| damaged(path, error))
}

/// The pixels of the first frame and the bytes of a line.
pub(super) fn read_frame(
    reader: &mut png::Reader<Cursor<&[u8]>>,
    path: &Path,
) -> Result<(Vec<u8>, usize)> {
    let size = reader.output_buffer_size();
    let size = size.ok_or_else(|| damaged(path, "too large for memory"))?;
    let mut pixels = vec![0; size];
    let frame = reader.next_frame(&mut pixels);
    let frame = frame.map_err(|error| damaged(path, error))?;
    Ok((pixels, frame.line_size))
}

/// RGB of RGBA, in the same memory.
fn without_alpha(mut pixels: Vec<u8>) -> Vec<u8> {
    let count = pixels.len() / 4;
    for pixel in 0..count {
        pixels.copy_within(4 * pixel..4 * pixel + 3, 3 * pixel);
    }
    pixels.truncate(3 * count);
    pixels
}

fn decode_jpeg(bytes: Vec<u8>, path: &Path, limit: u64) -> Result<RgbImage> {
    if !jpeg_is_complete(&bytes) {
        return Err(damaged(path, "the JPEG data ends early"));
    }
    let file = bytes.len() as u64;
    let decoder = JpegDecoder::new(Cursor::new(bytes)).map_err(|error| damaged(path, error))?;
    // Up to four channels of 16-bit coefficients (progressive files hold all), the same upsampled
    // and the result.
    let needed = needed(decoder.dimensions(), 14, 2 * file);
    check_memory(path, decoder.dimensions(), needed, limit)?;
    let (width, height) = decoder.dimensions();
    let grey = decoder.color_type().channel_count() == 1;
    let mut pixels = vec![0; usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX)];
    let read = decoder.read_image(&mut pixels);
    read.map_err(|error| damaged(path, error))?;
    if grey {
        pixels = pixels.iter().flat_map(|grey| [*grey; 3]).collect();
    }
    RgbImage::from_raw(width, height, pixels).ok_or_else(|| damaged(path, "pixels are missing"))
}

/// Whether an end-of-image marker follows the last start of a scan. The decoder fills what is
/// missing with grey and reports nothing.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    if bytes.ends_with(&[0xff, 0xd9]) {
        return true;
    }
    let last = |code: u8| bytes.windows(2).rposition(|pair| pair == [0xff, code]);
    match (last(0xda), last(0xd9)) {
        (Some(scan), Some(end)) => end > scan,
        _ => false,
    }
}

fn needed((width, height): (u32, u32), per_pixel: u64, besides: u64) -> u64 {
    let pixels = u64::from(width) * u64::from(height);
    pixels
        .saturating_mul(per_pixel)
        .saturating_add(besides + WORKSPACE)
}

fn check_memory(path: &Path, (width, height): (u32, u32), needed: u64, limit: u64) -> Result<()> {
    if needed <= limit {
        return Ok(());
    }
    Err(Error::Decode {
        path: path.to_owned(),
        reason: format!(
            "its header says {width} x {height} pixels, which take about {} MiB to decode, but \
             the limit is {} MiB; the file may be damaged, otherwise scale the image down",
            needed >> 20,
            limit >> 20
        ),
    })
}
