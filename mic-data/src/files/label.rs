//! Reading label files: PNGs with one id, or one colour, a pixel.

use std::path::Path;

use image::RgbImage;
use png::{BitDepth, ColorType, Transformations};

use super::decode::{JPEG_MAGIC, decode_limit, open_png, read_frame};
use super::read::{damaged, read_bytes};
use crate::label_map::{RawIds, RawLabel};
use crate::parallel::catching;
use crate::{Error, Result};

/// Reads the ids of a label PNG, within [`decode_limit`]: grey values of any depth, or the
/// **indices** of a palette image, never its colours. Transparency is dropped.
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be read, [`Error::Decode`] if it is no PNG, is damaged, cut
/// short or too large for the memory limit, or holds colours instead of ids.
pub fn read_label(path: &Path) -> Result<RawLabel> {
    read_label_within(path, decode_limit())
}

/// As [`read_label`], with a limit on the bytes of memory that decoding takes.
///
/// # Errors
///
/// Those of [`read_label`].
pub fn read_label_within(path: &Path, limit: u64) -> Result<RawLabel> {
    let png = Png::decode(path, limit)?;
    if png.is_coloured() {
        return Err(refused(
            path,
            "a label must hold one id a pixel (a grey or palette PNG), this one holds colours; if \
             they mark classes, list them in the label map as \"#rrggbb\"; if it is a photograph, \
             labels and images are mixed up",
        ));
    }
    Ok(png.first_channel())
}

/// Reads the first channel of a PNG as ids: the R channel of SYNTHIA's 16-bit RGB labels. Grey
/// and palette images are read as by [`read_label`].
///
/// # Errors
///
/// Those of [`read_label`], colours aside.
pub fn read_first_channel(path: &Path) -> Result<RawLabel> {
    Ok(Png::decode(path, decode_limit())?.first_channel())
}

/// Reads a PNG whose colours stand for classes. Palette images give the colours of their palette,
/// grey images equal channels (small depths stretched to 0 to 255), 16 bits their upper 8.
///
/// # Errors
///
/// Those of [`read_label`], colours aside.
pub fn read_colours(path: &Path) -> Result<RgbImage> {
    Png::decode(path, decode_limit())?.colours(path)
}

/// A PNG as stored, without any conversion.
struct Png {
    width: u32,
    height: u32,
    color: ColorType,
    depth: BitDepth,
    line_size: usize,
    data: Vec<u8>,
    palette: Vec<[u8; 3]>,
}

impl Png {
    fn decode(path: &Path, limit: u64) -> Result<Self> {
        let bytes = read_bytes(path, limit)?;
        if bytes.starts_with(JPEG_MAGIC) {
            return Err(refused(
                path,
                "a label must be a PNG, this is a JPEG, whose compression changes ids; if it is a \
                 photograph, labels and images are mixed up",
            ));
        }
        // The decoder is a library of others, so a panic must not end the program.
        let png = catching(|| Self::decode_bytes(&bytes, path, limit));
        png.map_err(|error| match error {
            Error::Invalid(panic) => damaged(path, panic),
            other => other,
        })
    }

    fn decode_bytes(bytes: &[u8], path: &Path, limit: u64) -> Result<Self> {
        // The image crate would replace palette indices by colours and stretch small grey depths.
        let stored = Transformations::IDENTITY;
        // As stored, and taken apart into ids or three channels.
        let mut reader = open_png(bytes, path, limit, stored, |color, depth| {
            let deep = if depth == BitDepth::Sixteen { 2 } else { 1 };
            (color.samples() as u64 * deep) + 3
        })?;
        let (width, height) = reader.info().size();
        let (color, depth) = reader.output_color_type();
        let palette = reader.info().palette.as_deref().unwrap_or_default();
        let palette = palette.as_chunks::<3>().0.to_vec();
        let (data, line_size) = read_frame(&mut reader, path)?;
        Ok(Self {
            width,
            height,
            color,
            depth,
            line_size,
            data,
            palette,
        })
    }

    fn is_coloured(&self) -> bool {
        matches!(self.color, ColorType::Rgb | ColorType::Rgba)
    }

    fn first_channel(self) -> RawLabel {
        let (width, height) = (self.width, self.height);
        let samples = self.color.samples();
        let ids = match self.depth {
            BitDepth::Eight if samples == 1 => RawIds::Bits8(self.data),
            BitDepth::Eight => RawIds::Bits8(self.data.into_iter().step_by(samples).collect()),
            BitDepth::Sixteen => {
                let pixels = self.data.chunks_exact(2 * samples);
                RawIds::Bits16(pixels.map(|p| u16::from_be_bytes([p[0], p[1]])).collect())
            }
            small => RawIds::Bits8(unpack(
                &self.data,
                self.line_size,
                width as usize,
                small as usize,
            )),
        };
        RawLabel { width, height, ids }
    }

    fn colours(self, path: &Path) -> Result<RgbImage> {
        let (width, height) = (self.width, self.height);
        let pixels: Vec<u8> = match self.color {
            ColorType::Rgb if self.depth == BitDepth::Eight => self.data,
            ColorType::Rgb | ColorType::Rgba => {
                let bytes = if self.depth == BitDepth::Sixteen {
                    2
                } else {
                    1
                };
                let pixels = self.data.chunks_exact(bytes * self.color.samples());
                pixels
                    .flat_map(|p| [p[0], p[bytes], p[2 * bytes]])
                    .collect()
            }
            ColorType::Indexed => {
                let palette = self.palette.clone();
                let RawIds::Bits8(indices) = self.first_channel().ids else {
                    return Err(damaged(path, "a palette with 16-bit indices"));
                };
                let colour = |index: u8| palette.get(usize::from(index)).copied();
                let colours: Option<Vec<[u8; 3]>> = indices.into_iter().map(colour).collect();
                colours
                    .ok_or_else(|| damaged(path, "an index outside the palette"))?
                    .concat()
            }
            ColorType::Grayscale | ColorType::GrayscaleAlpha => {
                let most = match self.depth {
                    BitDepth::Sixteen => 255,
                    depth => (1u16 << depth as u32) - 1,
                };
                match self.first_channel().ids {
                    RawIds::Bits8(values) => values
                        .into_iter()
                        .flat_map(|v| [(u16::from(v) * 255 / most) as u8; 3])
                        .collect(),
                    RawIds::Bits16(values) => values
                        .into_iter()
                        .flat_map(|v| [(v >> 8) as u8; 3])
                        .collect(),
                }
            }
        };
        RgbImage::from_raw(width, height, pixels)
            .ok_or_else(|| damaged(path, "fewer pixels than its header claims"))
    }
}

fn refused(path: &Path, reason: &str) -> Error {
    Error::Decode {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
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
