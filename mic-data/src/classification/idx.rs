//! IDX files (MNIST, USPS), plain or gzipped.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use image::{GrayImage, RgbImage};

use super::sample::ClassifiedSet;
use crate::{Error, Result};

/// Largest array that is read; a damaged header may claim any size.
const MAX_BYTES: u64 = 2 << 30;

/// An array of bytes of any shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdxArray {
    /// Length of each dimension, the slowest first.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: Vec<u8>,
}

/// Reads an IDX file of bytes, gzipped or not (the content decides, not the name).
///
/// # Errors
///
/// [`Error::Io`] if the file cannot be read; [`Error::Decode`] if it is no IDX file of bytes, claims
/// more than 2 GiB, is damaged, or holds less or more data than its header says.
pub fn read_idx(path: &Path) -> Result<IdxArray> {
    let io = |source| Error::Io {
        path: path.to_owned(),
        source,
    };
    let mut file = BufReader::new(File::open(path).map_err(io)?);
    let head = std::io::BufRead::fill_buf(&mut file).map_err(io)?;
    if head.starts_with(&[0x1f, 0x8b]) {
        parse(path, GzDecoder::new(file))
    } else {
        parse(path, file)
    }
}

/// As [`read_idx`], of gzipped bytes that `name` stands for in messages.
pub(super) fn read_idx_bytes(bytes: &[u8], name: &Path) -> Result<IdxArray> {
    parse(name, GzDecoder::new(bytes))
}

fn parse(path: &Path, mut file: impl Read) -> Result<IdxArray> {
    let damaged = |reason: String| Error::Decode {
        path: path.to_owned(),
        reason: format!("{reason}; the file may be damaged or no IDX file, copy it again"),
    };
    let mut word = || -> Result<[u8; 4]> {
        let mut bytes = [0; 4];
        let read = file.read_exact(&mut bytes);
        read.map_err(|error| damaged(format!("the header cannot be read: {error}")))?;
        Ok(bytes)
    };
    let magic = word()?;
    let [0, 0, 8, dimensions @ 1..=4] = magic else {
        return Err(damaged(format!(
            "it starts with {magic:?}, not with [0, 0, 8, number of dimensions]"
        )));
    };
    let mut shape = Vec::new();
    let mut size = 1u64;
    for _ in 0..dimensions {
        let length = u32::from_be_bytes(word()?);
        shape.push(length as usize);
        // Saturated sizes are refused below.
        size = size.saturating_mul(u64::from(length));
    }
    if size > MAX_BYTES {
        return Err(damaged(format!(
            "its header says {shape:?}, more than {MAX_BYTES} bytes"
        )));
    }
    // The memory grows with what is really there.
    let mut data = Vec::new();
    let read = file.take(size + 1).read_to_end(&mut data);
    read.map_err(|error| damaged(error.to_string()))?;
    if data.len() as u64 != size {
        let held = if data.len() as u64 > size {
            "more"
        } else {
            "less"
        };
        return Err(damaged(format!(
            "its header says {shape:?}, but it holds {held} data"
        )));
    }
    Ok(IdxArray { shape, data })
}

/// Grey images with a class each, from a pair of IDX files. All images are held in memory.
#[derive(Clone, Debug)]
pub struct IdxSet {
    name: String,
    width: u32,
    height: u32,
    pixels: Vec<u8>,
    classes: Vec<u8>,
    class_names: Vec<String>,
}

impl IdxSet {
    /// Reads images (number, height, width) and classes (number).
    ///
    /// # Errors
    ///
    /// Those of [`read_idx`], and [`Error::Invalid`] for arrays of another shape, without elements
    /// or of different numbers, and for a class that is no place in `class_names`.
    pub fn read(images: &Path, classes: &Path, class_names: Vec<String>) -> Result<Self> {
        let name = images.file_name().unwrap_or_default().to_string_lossy();
        let name = name.split('.').next().unwrap_or_default().to_owned();
        let arrays = (read_idx(images)?, read_idx(classes)?);
        Self::checked(&name, arrays, (images, classes), class_names)
    }

    /// Of arrays as [`IdxSet::read`] reads them; `name` starts the images' names.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] as [`IdxSet::read`].
    pub fn new(
        name: &str,
        images: IdxArray,
        classes: IdxArray,
        class_names: Vec<String>,
    ) -> Result<Self> {
        let path = Path::new(name);
        Self::checked(name, (images, classes), (path, path), class_names)
    }

    fn checked(
        name: &str,
        (pixels, ids): (IdxArray, IdxArray),
        (images, classes): (&Path, &Path),
        class_names: Vec<String>,
    ) -> Result<Self> {
        let invalid = |path: &Path, reason: String| {
            Err(Error::Invalid(format!("{}: {reason}", path.display())))
        };
        let [number, height, width] = pixels.shape[..] else {
            let reason = format!(
                "images must be (number, height, width), not {:?}",
                pixels.shape
            );
            return invalid(images, reason);
        };
        if pixels.data.is_empty() {
            return invalid(images, "it holds no image".to_owned());
        }
        if ids.shape != [number] {
            let reason = format!(
                "classes of shape {:?} for the {number} images of {}; pair the right files",
                ids.shape,
                images.display()
            );
            return invalid(classes, reason);
        }
        let known = class_names.len();
        if let Some(index) = ids.data.iter().position(|id| usize::from(*id) >= known) {
            let reason = format!(
                "image {index} has class {}, but there are {known} classes",
                ids.data[index]
            );
            return invalid(classes, reason);
        }
        Ok(Self {
            name: name.to_owned(),
            width: width as u32,
            height: height as u32,
            pixels: pixels.data,
            classes: ids.data,
            class_names,
        })
    }

    /// The ten digits in `folder`: `<set>-<split>-images-idx3-ubyte` with
    /// `<set>-<split>-labels-idx1-ubyte`, each plain or with `.gz`. Without `set` the names are
    /// those of the MNIST release, with `t10k` for the split `test`.
    ///
    /// # Errors
    ///
    /// Those of [`IdxSet::read`], and [`Error::Invalid`] if a file is missing.
    pub fn digits(folder: &Path, set: Option<&str>, split: &str) -> Result<Self> {
        let stem = match (set, split) {
            (Some(set), split) => format!("{set}-{split}"),
            (None, "test") => "t10k".to_owned(),
            (None, split) => split.to_owned(),
        };
        let images = plain_or_gz(folder, &format!("{stem}-images-idx3-ubyte"))?;
        let classes = plain_or_gz(folder, &format!("{stem}-labels-idx1-ubyte"))?;
        let names = (0..10).map(|digit| digit.to_string()).collect();
        Self::read(&images, &classes, names)
    }
}

fn plain_or_gz(folder: &Path, name: &str) -> Result<PathBuf> {
    let candidates = [folder.join(format!("{name}.gz")), folder.join(name)];
    let found = candidates.into_iter().find(|path| path.is_file());
    found.ok_or_else(|| {
        Error::Invalid(format!(
            "{} holds neither {name} nor {name}.gz",
            folder.display()
        ))
    })
}

impl ClassifiedSet for IdxSet {
    fn len(&self) -> usize {
        self.classes.len()
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }

    fn name(&self, index: usize) -> String {
        format!("{} {index}", self.name)
    }

    fn class(&self, index: usize) -> u32 {
        u32::from(self.classes[index])
    }

    fn pixels(&self, index: usize) -> Result<RgbImage> {
        let size = self.width as usize * self.height as usize;
        let pixels = self.pixels[index * size..][..size].to_vec();
        let grey = GrayImage::from_raw(self.width, self.height, pixels);
        let grey = grey
            .ok_or_else(|| Error::Invalid(format!("{}: image {index} is cut short", self.name)))?;
        Ok(image::DynamicImage::ImageLuma8(grey).into_rgb8())
    }
}
