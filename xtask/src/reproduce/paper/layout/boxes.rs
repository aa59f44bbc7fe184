//! Frames with boxes: Cityscapes and Foggy Cityscapes with the annotation files that `mic-det data
//! prepare` makes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use mic_data::detection::{
    CITYSCAPES_CATEGORIES, CocoAnnotation, CocoCategory, CocoDocument, CocoImage,
};
use mic_data::files::write_rgb;
use mic_data::scenes::{Fog, Scene};

use super::super::needs::expected;
use super::super::program::Program;
use super::{Asked, folder_of, scene, scenes, unknown};

/// Train id of the first class with instances; the others follow.
const FIRST: u8 = 11;

/// Writes a set below `root`, the folder of all sets; gives that and one of the images.
pub(super) fn write(asked: &Asked<'_>, root: &Path) -> Result<(PathBuf, PathBuf)> {
    let foggy = match asked.kind {
        "cityscapes" => false,
        "foggy_cityscapes" => true,
        _ => return unknown(asked),
    };
    let (split, fog) = (asked.split(), Fog::new(0.02)?);
    let suffix = if foggy { "_foggy_beta_0.02" } else { "" };
    let mut table = asked.table.clone();
    table.insert("root".into(), root.display().to_string().into());
    let paths = expected(Program::Det, asked.role, &table, asked.kind);
    let [images, annotations] = paths.as_slice() else {
        return unknown(asked);
    };
    let images = images.parent().context("a set without a folder")?;
    let scenes = scenes(asked, (2048, 1024), asked.count())?;
    let mut document = CocoDocument {
        categories: categories(),
        ..CocoDocument::default()
    };
    let mut sample = PathBuf::new();
    for index in 0..asked.count() {
        let city = if split == "train" {
            "aachen"
        } else {
            "frankfurt"
        };
        let stem = format!("{city}_{index:06}_000019");
        let file = format!("{split}/{city}/{stem}_leftImg8bit{suffix}.png");
        sample = images.join(&file);
        let scene = scene(&scenes, index)?;
        if !sample.is_file() {
            folder_of(&sample)?;
            match foggy {
                true => write_rgb(&sample, &fog.over(&scene.image, &scene.depth)?)?,
                false => write_rgb(&sample, &scene.image)?,
            }
        }
        add(&mut document, &scene, index as u64, file, &stem);
    }
    folder_of(annotations)?;
    document.write(annotations)?;
    Ok((root.to_owned(), sample))
}

fn categories() -> Vec<CocoCategory> {
    let numbered = CITYSCAPES_CATEGORIES.iter().zip(1..);
    let category = |((_, name), id): (&(u16, &str), u64)| CocoCategory {
        id,
        name: (*name).to_owned(),
    };
    numbered.map(category).collect()
}

fn add(document: &mut CocoDocument, scene: &Scene, id: u64, file_name: String, stem: &str) {
    let (width, height) = scene.image.dimensions();
    document.images.push(CocoImage {
        id,
        width,
        height,
        file_name,
        seg_file_name: Some(format!("{stem}_gtFine_instanceIds.png")),
    });
    for found in &scene.boxes {
        let Some(place) = found.class.checked_sub(FIRST) else {
            continue;
        };
        let (x, y) = (found.x0, found.y0);
        let (w, h) = (found.x1 - found.x0, found.y1 - found.y0);
        let visible = scene.instances.iter().filter(|i| **i == found.instance);
        document.annotations.push(CocoAnnotation {
            id: document.annotations.len() as u64,
            image_id: id,
            category_id: u64::from(place) + 1,
            segmentation: vec![vec![x, y, x + w, y, x + w, y + h, x, y + h]],
            iscrowd: 0,
            area: visible.count() as f64,
            bbox: [x, y, w, h].map(|side| side as f32),
        });
    }
}
