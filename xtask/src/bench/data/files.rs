//! The files that both sides read: drawn street scenes in the sizes and formats of the data sets.

use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::Context;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, RgbImage};
use mic_data::LabelledSet;
use mic_data::files::write_grey;
use mic_data::scenes::{SceneConfig, Split, StreetScenes, Style};

/// How many files there are, and how large.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Scenes as PNG with a label PNG, in the size of GTA's frames.
    pub(super) frames: usize,
    pub(super) frame: (u32, u32),
    /// Scenes as JPEG.
    pub(super) photos: usize,
    pub(super) photo: (u32, u32),
}

impl Sizes {
    pub(super) const FULL: Self = Self {
        frames: 32,
        frame: (1914, 1052),
        photos: 64,
        photo: (500, 375),
    };
    pub(super) const TINY: Self = Self {
        frames: 3,
        frame: (160, 88),
        photos: 3,
        photo: (50, 38),
    };
}

/// A temporary folder with all files; it is removed when dropped.
pub(super) struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    /// Draws and writes the files.
    pub(super) fn write(sizes: &Sizes, threads: usize) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let files = Self { folder };
        for folder in [files.frames(), files.labels(), files.photos()] {
            fs::create_dir(folder)?;
        }
        let scenes = |size: (u32, u32), count| {
            let config = SceneConfig::new(size.0, size.1, Style::Source);
            StreetScenes::new(config, 1, Split::Train, count)
        };
        let (frames, photos) = (
            scenes(sizes.frame, sizes.frames)?,
            scenes(sizes.photo, sizes.photos)?,
        );
        in_parallel(sizes.frames, threads, |index| {
            let scene = frames.get(index)?;
            let name = format!("{index:04}.png");
            write_png(&files.frames().join(&name), &scene.image)?;
            Ok(write_grey(&files.labels().join(&name), &scene.label)?)
        })?;
        in_parallel(sizes.photos, threads, |index| {
            let scene = photos.get(index)?;
            write_jpeg(
                &files.photos().join(format!("{index:04}.jpg")),
                &scene.image,
            )
        })?;
        Ok(files)
    }

    pub(super) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn frames(&self) -> PathBuf {
        self.root().join("frames")
    }

    pub(super) fn labels(&self) -> PathBuf {
        self.root().join("labels")
    }

    pub(super) fn photos(&self) -> PathBuf {
        self.root().join("photos")
    }

    /// Mean bytes of a file in a folder.
    pub(super) fn mean_size(folder: &Path) -> anyhow::Result<u64> {
        let (mut bytes, mut count) = (0, 0);
        for file in fs::read_dir(folder)? {
            bytes += file?.metadata()?.len();
            count += 1;
        }
        Ok(bytes / u64::max(count, 1))
    }

    /// A folder of `count` hard links to the frames and one to their labels.
    pub(super) fn link_frames(&self, sizes: &Sizes, count: usize) -> anyhow::Result<[PathBuf; 2]> {
        let pairs = [
            (self.frames(), "many frames"),
            (self.labels(), "many labels"),
        ];
        let [images, labels] = pairs.map(|(from, name)| (from, self.root().join(name)));
        for (from, to) in [&images, &labels] {
            fs::create_dir(to)?;
            for index in 0..count {
                let from = from.join(format!("{:04}.png", index % sizes.frames));
                fs::hard_link(from, to.join(format!("{index:06}.png")))?;
            }
        }
        Ok([images.1, labels.1])
    }

    /// A list of `count` lines over the photos, of twelve classes.
    pub(super) fn list_photos(&self, sizes: &Sizes, count: usize) -> anyhow::Result<PathBuf> {
        let line = |index| format!("{:04}.jpg {}\n", index % sizes.photos, index % 12);
        let path = self.root().join(format!("list of {count}.txt"));
        fs::write(&path, (0..count).map(line).collect::<String>())?;
        Ok(path)
    }
}

/// Compressed as well as usual tools do; the fastest setting would favour our decoder.
fn write_png(path: &Path, image: &RgbImage) -> anyhow::Result<()> {
    let file = BufWriter::new(fs::File::create(path)?);
    let (width, height) = image.dimensions();
    PngEncoder::new_with_quality(file, CompressionType::Default, FilterType::Adaptive)
        .write_image(image, width, height, ExtendedColorType::Rgb8)?;
    Ok(())
}

/// With colours at half the resolution, as cameras and libjpeg's tools do.
fn write_jpeg(path: &Path, image: &RgbImage) -> anyhow::Result<()> {
    let mut encoder = jpeg_encoder::Encoder::new_file(path, 85)?;
    encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_2_2);
    let (width, height) = (
        u16::try_from(image.width())?,
        u16::try_from(image.height())?,
    );
    encoder.encode(image, width, height, jpeg_encoder::ColorType::Rgb)?;
    Ok(())
}

/// Runs `work(0)` to `work(count - 1)` on several threads.
fn in_parallel(
    count: usize,
    threads: usize,
    work: impl Fn(usize) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<()> {
    let work = &work;
    std::thread::scope(|scope| {
        let share = |first| move || (first..count).step_by(threads).try_for_each(work);
        let workers: Vec<_> = (0..threads)
            .map(|first| scope.spawn(share(first)))
            .collect();
        workers.into_iter().try_for_each(|worker| {
            let done = worker.join();
            done.unwrap_or_else(|_| Err(anyhow::anyhow!("a thread that writes files panicked")))
        })
    })
}
