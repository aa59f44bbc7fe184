//! Resizing with the results of Pillow's `Image.resize` on 8 bits, on which the published numbers
//! of classification and detection rest.
//!
//! One pass for each direction, with rounding to 8 bits between them; the filters are stretched when
//! the image shrinks (antialiasing) and their weights have 22 fractional bits. A direction in which
//! the size stays is left alone.
//!
//! The horizontal pass comes first unless the height loses more than twice as many pixels as the
//! width: the order of Pillow 13. Before, the horizontal pass always came first; the results differ
//! by at most one grey level in the images where the order does.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod passes;
mod taps;
#[cfg(test)]
mod tests;

use image::RgbImage;

use super::crop::Crop;
use passes::{Lines, stretch_horizontally, stretch_vertically};
use taps::Taps;

/// How neighbouring pixels are weighted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PilFilter {
    /// A triangle that reaches one pixel.
    Bilinear,
    /// Keys' cubic with a = -0.5, which reaches two pixels.
    Bicubic,
}

/// The whole image, resized to `width` x `height`.
pub fn pil_resize(image: &RgbImage, width: u32, height: u32, filter: PilFilter) -> RgbImage {
    let whole = |(width, height)| Crop {
        x: 0,
        y: 0,
        width,
        height,
    };
    let part = whole(image.dimensions());
    pil_resize_part(
        image,
        &part,
        (width, height),
        &whole((width, height)),
        filter,
    )
}

/// Cuts `part` out of the image, resizes it to `size` (w, h) and cuts `wanted` out of the result.
/// Only what `wanted` needs is computed. Rectangles end at the border of what they are cut from.
pub fn pil_resize_part(
    image: &RgbImage,
    part: &Crop,
    size: (u32, u32),
    wanted: &Crop,
    filter: PilFilter,
) -> RgbImage {
    let part = inside(part, image.dimensions());
    let wanted = inside(wanted, size);
    let mut out = RgbImage::new(wanted.width, wanted.height);
    if out.is_empty() || part.width == 0 || part.height == 0 {
        return out;
    }
    if (part.width, part.height) == size {
        return Crop {
            x: part.x + wanted.x,
            y: part.y + wanted.y,
            ..wanted
        }
        .apply_image(image);
    }
    let columns = Taps::new(part.width, size.0, wanted.x, wanted.width, filter);
    let rows = Taps::new(part.height, size.1, wanted.y, wanted.height, filter);
    let (needed_x, needed_y) = (columns.span(), rows.span());
    let (x, y) = (part.x + needed_x.start, part.y + needed_y.start);
    let from = Lines::of_image(image, x, y, needed_y.len());
    let (unchanged_x, unchanged_y) = (columns.is_identity(), rows.is_identity());
    let columns = columns.relative_to(needed_x.start);
    let rows = rows.relative_to(needed_y.start);
    let line = wanted.width as usize * 3;
    if unchanged_y {
        stretch_horizontally(from, &columns, Out::new(&mut out, line));
    } else if unchanged_x {
        stretch_vertically(from, &rows, Out::new(&mut out, line));
    } else if vertical_first((part.width, part.height), size) {
        let between_line = needed_x.len() * 3;
        let mut between = vec![0; between_line * wanted.height as usize];
        stretch_vertically(from, &rows, Out::new(&mut between, between_line));
        let between = Lines::new(&between, between_line);
        stretch_horizontally(between, &columns, Out::new(&mut out, line));
    } else {
        let mut between = vec![0; line * needed_y.len()];
        stretch_horizontally(from, &columns, Out::new(&mut between, line));
        stretch_vertically(Lines::new(&between, line), &rows, Out::new(&mut out, line));
    }
    out
}

/// Whether the height shrinks by more than twice as many pixels as the width.
fn vertical_first(from: (u32, u32), to: (u32, u32)) -> bool {
    let lost = |from: u32, to: u32| i64::from(from) - i64::from(to);
    let (width, height) = (lost(from.0, to.0), lost(from.1, to.1));
    height > 0 && height > 2 * width
}

/// Lines of `line` bytes to write to.
struct Out<'a> {
    data: &'a mut [u8],
    line: usize,
}

impl<'a> Out<'a> {
    fn new(data: &'a mut [u8], line: usize) -> Self {
        Self { data, line }
    }
}

fn inside(crop: &Crop, (width, height): (u32, u32)) -> Crop {
    let (x, y) = (crop.x.min(width), crop.y.min(height));
    Crop {
        x,
        y,
        width: crop.width.min(width - x),
        height: crop.height.min(height - y),
    }
}
