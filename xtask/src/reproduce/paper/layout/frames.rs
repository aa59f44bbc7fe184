//! Frames with a class a pixel: GTA5, SYNTHIA, Cityscapes, ACDC, Dark Zurich.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use image::{GrayImage, ImageBuffer, Rgb};
use mic_data::files::{write_grey, write_palette, write_rgb};
use mic_data::{Classes, LabelMap};

use super::{Asked, folder_of, scene, scenes, unknown};

/// Image and label below the folder of the set, by number.
type Names = Box<dyn Fn(usize) -> (String, String)>;

/// Where image and label of a set go, and how large they are.
struct Layout {
    size: (u32, u32),
    names: Names,
    labels: Labels,
}

#[derive(Clone, Copy)]
enum Labels {
    /// Palette images of Cityscapes ids.
    Palette,
    /// Grey images of Cityscapes ids.
    Grey,
    /// 16-bit colour images whose first channel is the id of SYNTHIA.
    FirstChannel,
}

/// Writes a set below `root`; gives its folder and one of its images.
pub(super) fn write(asked: &Asked<'_>, root: &Path) -> Result<(PathBuf, PathBuf)> {
    let Some(layout) = layout(asked.kind, asked.split().to_owned()) else {
        return unknown(asked);
    };
    // Conditions of ACDC have a folder each.
    let count = asked.count().max(if asked.kind == "acdc" { 4 } else { 1 });
    let folder = root.join(asked.kind);
    let scenes = scenes(asked, layout.size, count)?;
    let mut sample = PathBuf::new();
    for index in 0..count {
        let (image, label) = (layout.names)(index);
        let (image, label) = (folder.join(image), folder.join(label));
        if !image.is_file() {
            let scene = scene(&scenes, index)?;
            folder_of(&image)?;
            folder_of(&label)?;
            write_rgb(&image, &scene.image)?;
            write_label(&label, &scene.label, layout.labels)?;
        }
        sample = image;
    }
    Ok((folder, sample))
}

fn layout(kind: &str, split: String) -> Option<Layout> {
    let full_hd = (1920, 1080);
    let (size, names, labels): (_, Names, _) = match kind {
        "gta" => (
            (1914, 1052),
            Box::new(|i| {
                let name = format!("{:05}.png", i + 1);
                (format!("images/{name}"), format!("labels/{name}"))
            }),
            Labels::Palette,
        ),
        "synthia" => (
            (1280, 760),
            Box::new(|i| (format!("RGB/{i:07}.png"), format!("GT/LABELS/{i:07}.png"))),
            Labels::FirstChannel,
        ),
        "cityscapes" => (
            (2048, 1024),
            Box::new(move |i| {
                let city = if split == "train" {
                    "aachen"
                } else {
                    "frankfurt"
                };
                let name = format!("{split}/{city}/{city}_{i:06}_000019");
                (
                    format!("leftImg8bit/{name}_leftImg8bit.png"),
                    format!("gtFine/{name}_gtFine_labelIds.png"),
                )
            }),
            Labels::Grey,
        ),
        "acdc" => (
            full_hd,
            Box::new(move |i| {
                let condition = ["fog", "night", "rain", "snow"][i % 4];
                let name = format!("{condition}/{split}/GOPR0475/GOPR0475_frame_{i:06}");
                (
                    format!("rgb_anon/{name}_rgb_anon.png"),
                    format!("gt/{name}_gt_labelIds.png"),
                )
            }),
            Labels::Grey,
        ),
        "dark_zurich" => (
            full_hd,
            Box::new(move |i| {
                let name = format!("{split}/night/GOPR0351/GOPR0351_frame_{i:06}");
                (
                    format!("rgb_anon/{name}_rgb_anon.png"),
                    format!("gt/{name}_gt_labelIds.png"),
                )
            }),
            Labels::Grey,
        ),
        _ => return None,
    };
    Some(Layout {
        size,
        names,
        labels,
    })
}

fn write_label(path: &Path, train_ids: &GrayImage, labels: Labels) -> Result<()> {
    let map = match labels {
        Labels::FirstChannel => LabelMap::synthia(),
        Labels::Palette | Labels::Grey => LabelMap::cityscapes(),
    };
    let raw = raw_ids(&map);
    let mut ids = train_ids.clone();
    for id in ids.iter_mut() {
        *id = raw[usize::from(*id)];
    }
    match labels {
        Labels::Palette => write_palette(path, &ids, &Classes::cityscapes())?,
        Labels::Grey => write_grey(path, &ids)?,
        Labels::FirstChannel => {
            let (width, height) = ids.dimensions();
            let pixel = |x, y| Rgb([u16::from(ids.get_pixel(x, y).0[0]), 0, 0]);
            let image = ImageBuffer::from_fn(width, height, pixel);
            let saved = image.save(path);
            saved.with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

/// The raw id of every train id; 0, which is no class, for pixels without one.
fn raw_ids(map: &LabelMap) -> [u8; 256] {
    let mut raw = [0; 256];
    for id in 0..64u8 {
        match map.get(u16::from(id)) {
            Some(train) if train < 19 => raw[usize::from(train)] = id,
            _ => {}
        }
    }
    raw
}

#[cfg(test)]
mod tests {
    use mic_data::sample::IGNORE;

    use super::*;

    #[test]
    fn labels_come_back_as_they_were_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let drawn = GrayImage::from_fn(20, 1, |x, _| {
            image::Luma([if x < 19 { x as u8 } else { IGNORE }])
        });
        for (name, labels, map) in [
            ("palette.png", Labels::Palette, LabelMap::cityscapes()),
            ("grey.png", Labels::Grey, LabelMap::cityscapes()),
            ("first.png", Labels::FirstChannel, LabelMap::synthia()),
        ] {
            let path = folder.path().join(name);
            write_label(&path, &drawn, labels).unwrap();
            assert_eq!(map.read(&path).unwrap(), drawn, "{name}");
        }
    }
}
