//! How the pixels of a file are stored.

use std::path::Path;

use image::{ExtendedColorType, ImageDecoder, ImageReader};

use crate::parallel::catching;

/// Channels of a stored image. Reading makes RGB of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StoredColours {
    /// Red, green and blue, or a palette of them.
    Rgb,
    /// One channel.
    Grey,
    /// Colours or grey with transparency.
    Alpha,
    /// More than eight bits a channel.
    Deep,
}

/// The channels that the header of a PNG or JPEG names; `None` if it cannot be read.
pub fn stored_colours(path: &Path) -> Option<StoredColours> {
    // The decoders are libraries of others, so a panic must not end the program.
    let colours = catching(|| Ok(original(path))).ok().flatten()?;
    Some(match colours {
        ExtendedColorType::L1
        | ExtendedColorType::L2
        | ExtendedColorType::L4
        | ExtendedColorType::L8 => StoredColours::Grey,
        ExtendedColorType::La8 | ExtendedColorType::Rgba8 => StoredColours::Alpha,
        ExtendedColorType::L16
        | ExtendedColorType::La16
        | ExtendedColorType::Rgb16
        | ExtendedColorType::Rgba16 => StoredColours::Deep,
        _ => StoredColours::Rgb,
    })
}

fn original(path: &Path) -> Option<ExtendedColorType> {
    let reader = ImageReader::open(path).ok()?.with_guessed_format().ok()?;
    Some(reader.into_decoder().ok()?.original_color_type())
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, ImageBuffer};

    use super::*;

    #[test]
    fn channels_are_told_from_the_file_and_not_from_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let stored = |image: DynamicImage| {
            image.save(&path).unwrap();
            stored_colours(&path)
        };
        assert_eq!(
            stored(DynamicImage::new_rgb8(4, 4)),
            Some(StoredColours::Rgb)
        );
        assert_eq!(
            stored(DynamicImage::new_luma8(4, 4)),
            Some(StoredColours::Grey)
        );
        for image in [
            DynamicImage::new_rgba8(4, 4),
            DynamicImage::new_luma_a8(4, 4),
        ] {
            assert_eq!(stored(image), Some(StoredColours::Alpha));
        }
        let deep = ImageBuffer::<image::Rgb<u16>, _>::new(4, 4);
        assert_eq!(stored(deep.into()), Some(StoredColours::Deep));
        std::fs::write(&path, "no image").unwrap();
        assert_eq!(stored_colours(&path), None);
        assert_eq!(stored_colours(&folder.path().join("none")), None);
    }
}
