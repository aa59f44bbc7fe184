//! Reading images and label maps.

use std::path::Path;

use image::RgbImage;
use png::{BitDepth, ColorType, Transformations};

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
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be read, [`Error::Decode`] if it is neither PNG nor JPEG,
/// damaged, cut short, or too large for the memory limit.
pub fn read_image(path: &Path) -> Result<RgbImage> {
    read_image_within(path, DECODE_LIMIT)
}

/// As [`read_image`], with a limit on the bytes of memory that decoding takes, the content of the
/// file among them. The limit is checked against the size in the header before there are pixels.
///
/// # Errors
///
/// Those of [`read_image`].
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
}

/// Reads an image with its label, mapped to train ids.
///
/// # Errors
///
/// Those of [`read_image`], [`read_label`] and [`LabelMap::apply`], and [`Error::Invalid`] if the
/// two files differ in size.
pub fn read_pair(name: &str, image: &Path, label: &Path, map: &LabelMap) -> Result<Labelled> {
    let pixels = read_image(image)?;
    let raw = read_label(label)?;
    if pixels.dimensions() != (raw.width, raw.height) {
        return Err(Error::Invalid(format!(
            "{} is {} x {} but its label {} is {} x {}; both must have one size: pair the right \
             files, or resize the label by nearest neighbour",
            image.display(),
            pixels.width(),
            pixels.height(),
            label.display(),
            raw.width,
            raw.height
        )));
    }
    Ok(Labelled {
        name: name.to_owned(),
        image: pixels,
        label: map.apply(&raw, label)?,
    })
}

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
    let io = |source| Error::Io {
        path: path.to_owned(),
        source,
    };
    let size = std::fs::metadata(path).map_err(io)?.len();
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
    Error::Decode {
        path: path.to_owned(),
        reason: format!("{reason}; the file may be damaged or cut short, copy it again"),
    }
}
