//! Reading images and label maps.

use std::io::Cursor;
use std::path::Path;

use image::RgbImage;
use png::{BitDepth, ColorType, Transformations};

use crate::label_map::{LabelMap, RawIds, RawLabel};
use crate::{Error, Result, sample::Labelled};

/// Reads a PNG or JPEG as 8-bit RGB. Grey and palette images become RGB, transparency is dropped.
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be read, [`Error::Decode`] if it is neither PNG nor JPEG,
/// damaged or cut short.
pub fn read_image(path: &Path) -> Result<RgbImage> {
    let bytes = read_bytes(path)?;
    if bytes.starts_with(JPEG_MAGIC) && !jpeg_is_complete(&bytes) {
        return Err(damaged(path, "the JPEG data ends early"));
    }
    // The content decides, not the extension: data sets hold misnamed files.
    let format = image::guess_format(&bytes).map_err(|error| damaged(path, error))?;
    let image = image::load_from_memory_with_format(&bytes, format);
    Ok(image.map_err(|error| damaged(path, error))?.into_rgb8())
}

/// Reads the ids of a label PNG: grey values of any depth, or the **indices** of a palette image,
/// never its colours.
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be read, [`Error::Decode`] if it is no PNG, is damaged or cut
/// short, or holds colours instead of ids.
pub fn read_label(path: &Path) -> Result<RawLabel> {
    let bytes = read_bytes(path)?;
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    // The image crate would replace palette indices by colours and stretch small grey depths.
    decoder.set_transformations(Transformations::IDENTITY);
    let mut reader = decoder.read_info().map_err(|error| damaged(path, error))?;
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
    let size = reader.output_buffer_size();
    let size = size.ok_or_else(|| damaged(path, "too large for memory"))?;
    let mut data = vec![0; size];
    let frame = reader.next_frame(&mut data);
    let line_size = frame.map_err(|error| damaged(path, error))?.line_size;
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

const JPEG_MAGIC: &[u8] = &[0xff, 0xd8];

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

fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| Error::Io {
        path: path.to_owned(),
        source,
    })
}

fn damaged(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::Decode {
        path: path.to_owned(),
        reason: format!("{reason}; the file may be damaged or cut short, copy it again"),
    }
}
