//! Reading images and pairs of image and label.

use std::path::Path;

use image::{ImageFormat, ImageReader, Limits, RgbImage};

<<<<<<< HEAD
use crate::label_map::LabelMap;
use crate::{Error, Result, sample::Labelled};

/// The memory in bytes that decoding one file may take. A header that claims more is refused
/// before anything is allocated.
pub const DECODE_LIMIT: u64 = 1 << 30;

/// Reads a PNG or JPEG as 8-bit RGB. Grey and palette images become RGB, 16 bits become 8,
/// transparency is dropped.
=======
use super::decode::{DECODE_LIMIT, decode, open_png, read_frame};
use crate::label_map::{LabelMap, RawIds, RawLabel};
use crate::{Error, Result, sample::Labelled};

/// Reads a PNG or JPEG as 8-bit RGB, within [`DECODE_LIMIT`]. Grey and palette images become RGB,
/// transparency is dropped, of 16 bits the high eight stay, and a stored orientation is not applied.
///
/// The pixels of a PNG are exact. Those of a JPEG with subsampled colours (4:2:0, baseline or
/// progressive) differ from libjpeg-turbo's (Pillow's) by 0.1 levels of 255 on average and 2.7 % of
/// the values by more than one, at most by 8 in what was compared; with full colours (4:4:4) by
/// 0.01 on average and at most by 3.
>>>>>>> main
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be read, [`Error::Decode`] if it is neither PNG nor JPEG,
<<<<<<< HEAD
/// damaged or cut short, or larger than [`DECODE_LIMIT`] allows.
pub fn read_image(path: &Path) -> Result<RgbImage> {
    decode_image(path, &read_bytes(path)?)
}

/// Decodes the bytes of an image file; `path` is for messages.
=======
/// damaged, cut short, or too large for the memory limit.
pub fn read_image(path: &Path) -> Result<RgbImage> {
    read_image_within(path, DECODE_LIMIT)
}

/// As [`read_image`], with a limit on the bytes of memory that decoding takes, the content of the
/// file among them. The limit is checked against the size in the header before there are pixels.
>>>>>>> main
///
/// # Errors
///
/// Those of [`read_image`].
<<<<<<< HEAD
pub fn decode_image(path: &Path, bytes: &[u8]) -> Result<RgbImage> {
    // The content decides, not the extension: data sets hold misnamed files.
    let format = image::guess_format(bytes).map_err(|error| damaged(path, error))?;
    if !matches!(format, ImageFormat::Png | ImageFormat::Jpeg) {
        return Err(refused(
            path,
            format!("it is a {format:?} file; PNG and JPEG can be read, so convert it"),
        ));
    }
    if format == ImageFormat::Jpeg && !jpeg_is_complete(bytes) {
        return Err(damaged(path, "the JPEG data ends early"));
    }
    let size = ImageReader::with_format(Cursor::new(bytes), format).into_dimensions();
    let (width, height) = size.map_err(|error| damaged(path, error))?;
    // Three channels are what is kept; the decoder's own limit covers deeper files.
    check_claim(path, width, height, 3)?;
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(DECODE_LIMIT);
    reader.limits(limits);
    let image = reader.decode().map_err(|error| damaged(path, error))?;
    Ok(image.into_rgb8())
=======
pub fn read_image_within(path: &Path, limit: u64) -> Result<RgbImage> {
    decode(read_bytes(path, limit)?, path, limit)
}

/// Reads the ids of a label PNG, within [`DECODE_LIMIT`]: grey values of any depth, or the
/// **indices** of a palette image, never its colours.
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be read, [`Error::Decode`] if it is no PNG, is damaged, cut
/// short or too large for the memory limit, or holds colours instead of ids.
pub fn read_label(path: &Path) -> Result<RawLabel> {
    read_label_within(path, DECODE_LIMIT)
}

/// As [`read_label`], with a limit on the bytes of memory that decoding takes.
///
/// # Errors
///
/// Those of [`read_label`].
pub fn read_label_within(path: &Path, limit: u64) -> Result<RawLabel> {
    let bytes = read_bytes(path, limit)?;
    // The image crate would replace palette indices by colours and stretch small grey depths.
    let stored = Transformations::IDENTITY;
    let mut reader = open_png(&bytes, path, limit, stored, |color, depth| {
        2 * color.samples() as u64 * if depth == BitDepth::Sixteen { 2 } else { 1 }
    })?;
    let (width, height) = reader.info().size();
    let (color, depth) = reader.output_color_type();
    if !matches!(color, ColorType::Grayscale | ColorType::Indexed) {
        return Err(Error::Decode {
            path: path.to_owned(),
            reason: format!(
                "a label must hold one id a pixel (a grey or palette PNG), this one is {color:?}; \
                 convert its colours to ids first"
            ),
        });
    }
    let (data, line_size) = read_frame(&mut reader, path)?;
    let ids = match depth {
        BitDepth::Eight => RawIds::Bits8(data),
        BitDepth::Sixteen => RawIds::Bits16(
            data.chunks_exact(2)
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
                .collect(),
        ),
        small => RawIds::Bits8(unpack(&data, line_size, width as usize, small as usize)),
    };
    Ok(RawLabel { width, height, ids })
>>>>>>> main
}

/// Reads an image with its label, mapped to train ids.
///
/// # Errors
///
/// Those of [`read_image`] and [`LabelMap::read`], and [`Error::Invalid`] if the two files differ
/// in size.
pub fn read_pair(name: &str, image: &Path, label: &Path, map: &LabelMap) -> Result<Labelled> {
    let pixels = read_image(image)?;
    let ids = map.read(label)?;
    if pixels.dimensions() != ids.dimensions() {
        return Err(Error::Invalid(format!(
            "{} is {} x {} but its label {} is {} x {}; both must have one size: pair the right \
             files, or resize the label by nearest neighbour",
            image.display(),
            pixels.width(),
            pixels.height(),
            label.display(),
            ids.width(),
            ids.height()
        )));
    }
    Ok(Labelled {
        name: name.to_owned(),
        image: pixels,
        label: ids,
    })
}

<<<<<<< HEAD
pub(super) const JPEG_MAGIC: &[u8] = &[0xff, 0xd8];

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

/// The bytes of a file.
///
/// # Errors
///
/// [`Error::Io`] if it cannot be read, [`Error::Decode`] if it is empty or above [`DECODE_LIMIT`].
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>> {
=======
/// Values of 1, 2 or 4 bits, packed from the high bits down in lines of whole bytes.
fn unpack(data: &[u8], line_size: usize, width: usize, bits: usize) -> Vec<u8> {
    let mask = (1u8 << bits) - 1;
    let lines = data.chunks_exact(line_size);
    lines
        .flat_map(|line| {
            (0..width).map(move |x| {
                let shift = 8 - bits - (x * bits) % 8;
                (line[x * bits / 8] >> shift) & mask
            })
        })
        .collect()
}

fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>> {
>>>>>>> main
    let io = |source| Error::Io {
        path: path.to_owned(),
        source,
    };
    let size = std::fs::metadata(path).map_err(io)?.len();
<<<<<<< HEAD
    if size > DECODE_LIMIT {
        let limit = DECODE_LIMIT >> 20;
        return Err(refused(
            path,
            format!("{size} bytes, more than the {limit} MiB allowed"),
        ));
    }
    let bytes = std::fs::read(path).map_err(io)?;
    if bytes.is_empty() {
        return Err(damaged(path, "the file is empty"));
    }
    Ok(bytes)
}

/// Refuses the size that a header claims, before memory is taken for it.
pub(super) fn check_claim(path: &Path, width: u32, height: u32, bytes_a_pixel: u64) -> Result<()> {
    let claimed = u64::from(width) * u64::from(height);
    if claimed.saturating_mul(bytes_a_pixel) <= DECODE_LIMIT {
        return Ok(());
    }
    Err(refused(
        path,
        format!(
            "its header claims {width} x {height} pixels, more than the {} MiB that decoding one \
             file may take; the file is damaged, or must be cut into pieces",
            DECODE_LIMIT >> 20
        ),
    ))
}

pub(crate) fn refused(path: &Path, reason: impl std::fmt::Display) -> Error {
=======
    if size > limit {
        return Err(Error::Decode {
            path: path.to_owned(),
            reason: format!(
                "the file has {} MiB, but the limit for decoding is {} MiB",
                size >> 20,
                limit >> 20
            ),
        });
    }
    std::fs::read(path).map_err(io)
}

pub(super) fn damaged(path: &Path, reason: impl std::fmt::Display) -> Error {
>>>>>>> main
    Error::Decode {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

pub(crate) fn damaged(path: &Path, reason: impl std::fmt::Display) -> Error {
    refused(
        path,
        format!("{reason}; the file may be damaged or cut short, copy it again"),
    )
}
