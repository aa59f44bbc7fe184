//! Small trees in the layouts of published sets.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(dead_code, unreachable_pub)]

use std::fs;
use std::io::BufWriter;
use std::path::Path;

use image::{Rgb, RgbImage};
use mic_data::files::write_rgb;
use png::{BitDepth, ColorType};

/// Width and height of generated images.
pub const SIZE: (u32, u32) = (20, 12);

/// A picture that differs by `seed`.
pub fn picture(seed: u32) -> RgbImage {
    RgbImage::from_fn(SIZE.0, SIZE.1, |x, y| {
        let value = x * (31 + seed) + y * 57 + seed * 101;
        Rgb([value as u8, (value >> 1) as u8, (x + y + seed) as u8])
    })
}

pub fn write_png(
    path: &Path,
    (color, depth): (ColorType, BitDepth),
    (width, height): (u32, u32),
    data: &[u8],
) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = BufWriter::new(fs::File::create(path).unwrap());
    let mut encoder = png::Encoder::new(file, width, height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == ColorType::Indexed {
        let colours = (0..=255u8).flat_map(|i| [i.wrapping_mul(37), 255 - i, i / 2]);
        encoder.set_palette(colours.collect::<Vec<u8>>());
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(data).unwrap();
}

/// A palette PNG, as the labels of GTA are.
pub fn write_indices(path: &Path, size: (u32, u32), ids: &[u8]) {
    write_png(path, (ColorType::Indexed, BitDepth::Eight), size, ids);
}

pub fn write_grey8(path: &Path, size: (u32, u32), ids: &[u8]) {
    write_png(path, (ColorType::Grayscale, BitDepth::Eight), size, ids);
}

/// A 16-bit RGB PNG with the ids in the first channel and instances in the others, as in SYNTHIA.
pub fn write_first_of_16_bits(path: &Path, size: (u32, u32), ids: &[u8]) {
    let data = ids
        .iter()
        .zip(0u8..)
        .flat_map(|(id, n)| [0, *id, 1, n, 0, 7]);
    let data: Vec<u8> = data.collect();
    write_png(path, (ColorType::Rgb, BitDepth::Sixteen), size, &data);
}

/// Ids of `known` in turn, one a pixel, beginning at `first`.
pub fn ids_of(known: &[u8], first: usize) -> Vec<u8> {
    let count = (SIZE.0 * SIZE.1) as usize;
    (0..count)
        .map(|i| known[(i / 3 + first) % known.len()])
        .collect()
}

fn picture_at(path: &Path, seed: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    write_rgb(path, &picture(seed)).unwrap();
}

/// Road, building, sky, car and one that is not evaluated.
pub const CITY_IDS: [u8; 5] = [7, 11, 23, 26, 4];

/// The same in SYNTHIA's numbers.
pub const SYNTHIA_IDS: [u8; 5] = [3, 2, 1, 8, 0];

/// Train ids of both.
pub const TRAIN_IDS: [u8; 5] = [0, 2, 10, 13, 255];

pub fn gta(root: &Path, count: u32) {
    for index in 0..count {
        let name = format!("{:05}.png", index + 1);
        picture_at(&root.join("images").join(&name), index);
        let ids = ids_of(&CITY_IDS, index as usize);
        write_indices(&root.join("labels").join(&name), SIZE, &ids);
    }
}

pub fn synthia(root: &Path, count: u32) {
    for index in 0..count {
        let name = format!("{index:07}.png");
        picture_at(&root.join("RGB").join(&name), index);
        let ids = ids_of(&SYNTHIA_IDS, index as usize);
        write_first_of_16_bits(&root.join("GT/LABELS").join(&name), SIZE, &ids);
    }
}

/// A label as a polygon file: one rectangle a pixel run, back to front.
pub fn polygons((width, height): (u32, u32), objects: &[(&str, [[u32; 2]; 4])]) -> String {
    let objects: Vec<_> = objects
        .iter()
        .map(|(label, points)| serde_json::json!({"label": label, "polygon": points}))
        .collect();
    serde_json::json!({"imgHeight": height, "imgWidth": width, "objects": objects}).to_string()
}

/// Cityscapes with two images a city, labels as ids or, if `drawn`, as polygons.
pub fn cityscapes(root: &Path, drawn: bool) {
    let [w, h] = [SIZE.0 - 1, SIZE.1 - 1];
    for (seed, (split, city)) in [("train", "aachen"), ("train", "bochum"), ("val", "lindau")]
        .into_iter()
        .enumerate()
    {
        for frame in 0..2 {
            let name = format!("{split}/{city}/{city}_{frame:06}_000019");
            let seed = seed as u32 * 10 + frame;
            picture_at(
                &root.join(format!("leftImg8bit/{name}_leftImg8bit.png")),
                seed,
            );
            let label = root.join(format!("gtFine/{name}_gtFine"));
            fs::create_dir_all(label.parent().unwrap()).unwrap();
            if drawn {
                let half = w / 2;
                let objects = [
                    ("road", [[0, 0], [w, 0], [w, h], [0, h]]),
                    ("cargroup", [[half, 0], [w, 0], [w, h], [half, h]]),
                    ("license plate", [[0, 0], [3, 0], [3, 3], [0, 3]]),
                    ("static", [[0, 5], [2, 5], [2, 7], [0, 7]]),
                ];
                let text = polygons(SIZE, &objects);
                fs::write(format!("{}_polygons.json", label.display()), text).unwrap();
            } else {
                let path = format!("{}_labelIds.png", label.display());
                write_grey8(Path::new(&path), SIZE, &ids_of(&CITY_IDS, frame as usize));
            }
        }
    }
}

/// ACDC as shipped, or flattened.
pub fn acdc(root: &Path, flat: bool) {
    for (seed, condition) in ["fog", "night", "rain", "snow"].into_iter().enumerate() {
        for split in ["train", "val"] {
            let below = if flat {
                format!("{split}/GP{seed:06}")
            } else {
                format!("{condition}/{split}/GP{seed:06}")
            };
            let name = format!("{below}/GP{seed:06}_frame_000001");
            picture_at(
                &root.join(format!("rgb_anon/{name}_rgb_anon.png")),
                seed as u32,
            );
            let label = root.join(format!("gt/{name}_gt_labelIds.png"));
            write_grey8(&label, SIZE, &ids_of(&CITY_IDS, seed));
        }
    }
}

pub fn dark_zurich(root: &Path) {
    for (seed, name) in [
        "train/night/GOPR1/f_1",
        "train/day/GOPR0/f_1",
        "val/night/GOPR2/f_1",
        "test/night/GO/f",
    ]
    .into_iter()
    .enumerate()
    {
        picture_at(
            &root.join(format!("rgb_anon/{name}_rgb_anon.png")),
            seed as u32,
        );
        if name.starts_with("val") {
            let label = root.join(format!("gt/{name}_gt_labelTrainIds.png"));
            write_grey8(&label, SIZE, &ids_of(&TRAIN_IDS, seed));
        }
    }
}

/// The SegNet release of CamVid: frames of all recordings in three splits, 11 classes and void.
pub fn camvid(root: &Path) {
    let frames = [
        ("train", ["0001TP_006690", "0006R0_f00930", "0016E5_00390"]),
        ("val", ["0016E5_07959", "0016E5_07961", "0016E5_07963"]),
        (
            "test",
            ["0001TP_008550", "Seq05VD_f00000", "Seq05VD_f00030"],
        ),
    ];
    let mut seed = 0;
    for (split, names) in frames {
        for name in names {
            seed += 1;
            picture_at(&root.join(format!("{split}/{name}.png")), seed);
            let label = root.join(format!("{split}annot/{name}.png"));
            write_grey8(&label, SIZE, &ids_of(&CAMVID_IDS, seed as usize));
        }
    }
}

/// Sky, building, road, car and void.
pub const CAMVID_IDS: [u8; 5] = [0, 1, 3, 8, 11];
