//! Reading images and pairs of image and label.

use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, ImageReader, Limits, RgbImage};

use crate::label_map::LabelMap;
use crate::{Error, Result, sample::Labelled};

/// The memory in bytes that decoding one file may take. A header that claims more is refused
/// before anything is allocated.
pub const DECODE_LIMIT: u64 = 1 << 30;

/// Reads a PNG or JPEG as 8-bit RGB. Grey and palette images become RGB, 16 bits become 8,
/// transparency is dropped.
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be read, [`Error::Decode`] if it is neither PNG nor JPEG,
/// damaged or cut short, or larger than [`DECODE_LIMIT`] allows.
pub fn read_image(path: &Path) -> Result<RgbImage> {
    decode_image(path, &read_bytes(path)?)
}

/// Decodes the bytes of an image file; `path` is for messages.
///
/// # Errors
///
/// Those of [`read_image`].
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
    let io = |source| Error::Io {
        path: path.to_owned(),
        source,
    };
    let size = std::fs::metadata(path).map_err(io)?.len();
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
