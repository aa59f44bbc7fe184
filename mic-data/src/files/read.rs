//! Reading images and pairs of image and label.

use std::path::Path;

use image::RgbImage;

use super::decode::{decode, decode_limit};
use crate::{Error, LabelMap, Result, sample::Labelled};

/// Reads a PNG or JPEG as 8-bit RGB, within [`decode_limit`]. Grey and palette images become RGB,
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
    read_image_within(path, decode_limit())
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

/// The bytes of a file of at most `limit` bytes.
pub(crate) fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>> {
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
    let bytes = std::fs::read(path).map_err(io)?;
    if bytes.is_empty() {
        return Err(damaged(path, "the file is empty"));
    }
    Ok(bytes)
}

pub(crate) fn damaged(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::Decode {
        path: path.to_owned(),
        reason: format!("{reason}; the file may be damaged or cut short, copy it again"),
    }
}
