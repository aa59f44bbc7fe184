//! Writing PNGs, so that a file is there whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use image::{GrayImage, RgbImage};
use png::{BitDepth, ColorType, Encoder};

use crate::{Classes, Error, Result};

/// Writes a colour PNG.
///
/// # Errors
///
/// [`Error::Io`] if the folder is missing or the file cannot be written; no partial file stays.
pub fn write_rgb(path: &Path, image: &RgbImage) -> Result<()> {
    write(path, image.dimensions(), ColorType::Rgb, None, image)
}

/// Writes ids as a grey PNG.
///
/// # Errors
///
/// Those of [`write_rgb`].
pub fn write_grey(path: &Path, ids: &GrayImage) -> Result<()> {
    write(path, ids.dimensions(), ColorType::Grayscale, None, ids)
}

/// Writes ids as a palette PNG, which viewers show in the colours of `classes`; ids that are no
/// class are black.
///
/// # Errors
///
/// Those of [`write_rgb`].
pub fn write_palette(path: &Path, ids: &GrayImage, classes: &Classes) -> Result<()> {
    let mut palette = classes.palette().concat();
    palette.resize(256 * 3, 0);
    write(
        path,
        ids.dimensions(),
        ColorType::Indexed,
        Some(palette),
        ids,
    )
}

fn write(
    path: &Path,
    (width, height): (u32, u32),
    color: ColorType,
    palette: Option<Vec<u8>>,
    data: &[u8],
) -> Result<()> {
    write_atomically(path, |file| {
        let mut encoder = Encoder::new(file, width, height);
        encoder.set_color(color);
        encoder.set_depth(BitDepth::Eight);
        if let Some(palette) = palette {
            encoder.set_palette(palette);
        }
        let mut writer = encoder.write_header()?;
        writer.write_image_data(data)?;
        Ok(writer.finish()?)
    })
}

/// Lets `write` fill a file that then takes the place of `path`; after an error there is no new
/// file.
pub(crate) fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<()> {
    let temporary = temporary_beside(path);
    let done = File::create(&temporary)
        .and_then(|file| {
            let mut file = BufWriter::new(file);
            write(&mut file)?;
            file.flush()
        })
        .and_then(|()| fs::rename(&temporary, path));
    done.map_err(|source| {
        // Best effort: the error to report is the first one.
        let _ = fs::remove_file(&temporary);
        Error::Io {
            path: path.to_owned(),
            source,
        }
    })
}

/// A name in the same folder (a rename is atomic inside one file system only), different for
/// every write of every process.
fn temporary_beside(path: &Path) -> PathBuf {
    static WRITES: AtomicUsize = AtomicUsize::new(0);
    let count = WRITES.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}-{count}.tmp", std::process::id()))
}
