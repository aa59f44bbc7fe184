//! Photographs in one folder a class: VisDA-2017, Office-Home.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use image::RgbImage;
use mic_data::files::write_rgb;

use super::super::needs::{class_names, expected};
use super::super::program::Program;
use super::{Asked, folder_of, scene, scenes, unknown};

/// Images in all of a domain at least; a batch has 32.
const LEAST: usize = 36;

/// Writes a set below `root`; gives its folder and one of its images.
pub(super) fn write(asked: &Asked<'_>, root: &Path) -> Result<(PathBuf, PathBuf)> {
    let size = match asked.kind {
        // Crops of video and renderings: these are the sizes of many.
        "visda2017" => (500, 375),
        "office_home" => (300, 300),
        _ => return unknown(asked),
    };
    let names = class_names(asked.kind);
    let folder = root.join(asked.kind);
    let each = LEAST.div_ceil(names.len());
    let scenes = scenes(asked, size, names.len() * each)?;
    let mut table = asked.table.clone();
    table.insert("root".into(), folder.display().to_string().into());
    let mut sample = PathBuf::new();
    for (domain, short) in expected(Program::Cls, asked.role, &table, asked.kind)
        .iter()
        .zip(asked.domains())
    {
        // The renderings of VisDA-2017 are PNG files.
        let ending = if short == "Synthetic" { "png" } else { "jpg" };
        for (class, name) in names.iter().enumerate() {
            for number in 0..each {
                let path = domain.join(name).join(format!("{number:05}.{ending}"));
                if !path.is_file() {
                    folder_of(&path)?;
                    write_photo(&path, &scene(&scenes, class * each + number)?.image)?;
                }
                sample = path;
            }
        }
    }
    Ok((folder, sample))
}

fn write_photo(path: &Path, image: &RgbImage) -> Result<()> {
    if path.extension().is_some_and(|ending| ending == "png") {
        return Ok(write_rgb(path, image)?);
    }
    let (width, height) = image.dimensions();
    let encoder = jpeg_encoder::Encoder::new_file(path, 90)
        .with_context(|| format!("cannot write {}", path.display()))?;
    let sides = (u16::try_from(width)?, u16::try_from(height)?);
    let written = encoder.encode(image, sides.0, sides.1, jpeg_encoder::ColorType::Rgb);
    written.with_context(|| format!("cannot write {}", path.display()))
}
