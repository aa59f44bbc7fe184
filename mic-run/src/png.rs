//! PNG encoding and decoding of pictures, and making them smaller.

use std::io::{Cursor, Read};
use std::path::Path;

use crate::record::Picture;
use crate::{Error, Result};

/// The picture as a PNG: RGB, 8 bits a channel, compressed for speed.
///
/// # Errors
/// A picture without pixels, or whose bytes are not width times height times 3.
pub fn encode(picture: &Picture) -> Result<Vec<u8>> {
    let (width, height) = (picture.width, picture.height);
    let wanted = 3 * width as usize * height as usize;
    if wanted == 0 || picture.rgb.len() != wanted {
        return Err(Error::Usage(format!(
            "picture {}: {width}x{height} pixels of RGB are {wanted} bytes, got {}; a picture has \
             at least one pixel",
            picture.name,
            picture.rgb.len()
        )));
    }
    let failed = |error: png::EncodingError| {
        Error::Run(format!(
            "picture {} cannot be encoded: {error}",
            picture.name
        ))
    };
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&picture.rgb).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

/// Reads a PNG as RGB, 8 bits a channel; transparency is dropped.
///
/// # Errors
/// A file that cannot be read or is no PNG.
pub fn read(path: &Path, name: &str) -> Result<Picture> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .map_err(Error::io(path))?;
    let damaged = |error: png::DecodingError| Error::damaged(path, error.to_string());
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(damaged)?;
    let size = reader
        .output_buffer_size()
        .ok_or_else(|| Error::damaged(path, "the picture is too large for memory"))?;
    let mut pixels = vec![0; size];
    let frame = reader.next_frame(&mut pixels).map_err(damaged)?;
    pixels.truncate(frame.buffer_size());
    let grey = |pixel: &[u8]| [pixel[0]; 3];
    let rgb = match frame.color_type.samples() {
        1 => pixels.chunks_exact(1).flat_map(grey).collect(),
        2 => pixels.chunks_exact(2).flat_map(grey).collect(),
        4 => pixels
            .chunks_exact(4)
            .flat_map(|p| [p[0], p[1], p[2]])
            .collect(),
        _ => pixels,
    };
    Ok(Picture {
        name: name.to_owned(),
        width: frame.width,
        height: frame.height,
        rgb,
    })
}

/// The picture at most `widest` pixels wide: every pixel the mean of a square of pixels, whose side
/// is the smallest whole number that will do. What is narrow enough stays as it is.
pub fn shrink(picture: Picture, widest: u32) -> Picture {
    let side = picture.width.div_ceil(widest.max(1)).max(1);
    if side == 1 {
        return picture;
    }
    let (width, height) = (picture.width.div_ceil(side), picture.height.div_ceil(side));
    let mut rgb = Vec::with_capacity(3 * width as usize * height as usize);
    for y in 0..height {
        for x in 0..width {
            let rows = y * side..((y + 1) * side).min(picture.height);
            let columns = x * side..((x + 1) * side).min(picture.width);
            rgb.extend(mean(&picture, rows, columns));
        }
    }
    Picture {
        name: picture.name,
        width,
        height,
        rgb,
    }
}

fn mean(picture: &Picture, rows: std::ops::Range<u32>, columns: std::ops::Range<u32>) -> [u8; 3] {
    let count = (rows.len() * columns.len()).max(1) as u32;
    let mut sums = [0u32; 3];
    for y in rows {
        let start = 3 * (y as usize * picture.width as usize + columns.start as usize);
        let pixels = &picture.rgb[start..start + 3 * columns.len()];
        for pixel in pixels.chunks_exact(3) {
            for (sum, value) in sums.iter_mut().zip(pixel) {
                *sum += u32::from(*value);
            }
        }
    }
    sums.map(|sum| ((sum + count / 2) / count) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: u32, height: u32) -> Picture {
        let bytes = 3 * width * height;
        Picture {
            name: "a".into(),
            width,
            height,
            rgb: (0..bytes).map(|i| (i * 37 % 251) as u8).collect(),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let sent = picture(7, 5);
        std::fs::write(&path, encode(&sent).unwrap()).unwrap();
        assert_eq!(read(&path, "a").unwrap(), sent);
    }

    #[test]
    fn grey_pictures_become_rgb() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grey.png");
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
        encoder.set_color(png::ColorType::GrayscaleAlpha);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&[9, 255, 200, 255]).unwrap();
        writer.finish().unwrap();
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(read(&path, "g").unwrap().rgb, [9, 9, 9, 200, 200, 200]);
    }

    #[test]
    fn wrong_sizes_and_foreign_files_are_named() {
        let mut short = picture(2, 2);
        short.rgb.pop();
        let error = encode(&short).unwrap_err().to_string();
        assert!(error.contains("12 bytes, got 11"), "{error}");
        assert!(encode(&picture(0, 3)).is_err());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("no.png");
        std::fs::write(&path, "no picture").unwrap();
        assert!(
            read(&path, "no")
                .unwrap_err()
                .to_string()
                .contains("no.png")
        );
    }

    #[test]
    fn shrinking_takes_means_of_squares() {
        let wide = Picture {
            name: "w".into(),
            width: 3,
            height: 2,
            rgb: [0, 10, 20, 30, 40, 50]
                .into_iter()
                .flat_map(|v: u8| [v, v + 1, v + 2])
                .collect(),
        };
        assert_eq!(shrink(wide.clone(), 3), wide);
        let small = shrink(wide, 2);
        assert_eq!((small.width, small.height), (2, 1));
        assert_eq!(small.rgb, [20, 21, 22, 35, 36, 37]);
    }
}
