//! Filling up to a size.

use image::GrayImage;

use super::flip::Flip;

/// Writes a label or mask of at most size (w, h) = `size` into `out` (H, W); to the right of and
/// below it `out` is `fill`.
///
/// # Panics
///
/// If `grey` exceeds `size` or `out` does not have w * h values.
pub fn pad_into(grey: &GrayImage, size: (u32, u32), fill: u8, out: &mut [u8]) {
    pad_flipped_into(grey, Flip(false), size, fill, out);
}

/// As [`pad_into`] of the label or mask after `flip`.
///
/// # Panics
///
/// As [`pad_into`].
pub fn pad_flipped_into(grey: &GrayImage, flip: Flip, size: (u32, u32), fill: u8, out: &mut [u8]) {
    let (width, height) = (size.0 as usize, size.1 as usize);
    let (inner_width, inner_height) = (grey.width() as usize, grey.height() as usize);
    assert!(inner_width <= width && inner_height <= height);
    assert_eq!(out.len(), width * height);
    if width * height == 0 || inner_width == 0 {
        return out.fill(fill);
    }
    let (inside, below) = out.split_at_mut(inner_height * width);
    let lines = grey.chunks_exact(inner_width);
    for (to, from) in inside.chunks_exact_mut(width).zip(lines) {
        let (inner, right) = to.split_at_mut(inner_width);
        inner.copy_from_slice(from);
        if flip.0 {
            inner.reverse();
        }
        right.fill(fill);
    }
    below.fill(fill);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_right_and_below() {
        let grey = GrayImage::from_raw(2, 1, vec![1, 2]).unwrap();
        let mut out = [9; 6];
        pad_into(&grey, (3, 2), 255, &mut out);
        assert_eq!(out, [1, 2, 255, 255, 255, 255]);
    }
}
