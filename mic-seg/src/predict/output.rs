//! The files that a prediction becomes.

use std::path::{Path, PathBuf};

use image::{GrayImage, RgbImage};
use mic_data::Classes;
use mic_data::files::{write_grey, write_palette, write_rgb};
use mic_data::label_map::cityscapes_export_ids;
use mic_data::overlay::{colourise, overlay};

use crate::inference::Segmented;
use crate::{Error, Result};

/// A file that a prediction becomes, a PNG of the image's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The image under the colours of its classes.
    Overlay,
    /// Train ids, grey.
    Id,
    /// The colours of the classes.
    Color,
    /// The probability of each pixel's class, 0 to 255, grey.
    Confidence,
    /// Ids for a benchmark's server, in a palette, under the image's own name.
    Submission(Ids),
}

/// The ids that a benchmark's server wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// Cityscapes' label ids, 0 to 33 (its own server).
    Label,
    /// Train ids, 0 to 18 (the servers of ACDC and Dark Zurich).
    Train,
}

impl Output {
    /// What it shows, which begins the end of the file's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::Id => "id",
            Self::Color => "color",
            Self::Confidence => "confidence",
            Self::Submission(_) => "submission",
        }
    }

    /// The file in the output folder for an image whose path without ending is `name`: servers take
    /// all files in one folder, others keep the inner folders of their images.
    pub(super) fn file(self, name: &Path) -> PathBuf {
        match self {
            Self::Submission(_) => {
                let base = name.file_name().unwrap_or_default();
                PathBuf::from(format!("{}.png", base.to_string_lossy()))
            }
            _ => PathBuf::from(format!("{}_{}.png", name.display(), self.name())),
        }
    }

    /// Refuses what cannot be written for these classes.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for label ids of other classes than Cityscapes'.
    pub fn check(self, classes: &Classes) -> Result<()> {
        let own = classes.names() == Classes::cityscapes().names();
        if self == Self::Submission(Ids::Label) && !own {
            return Err(Error::Config(format!(
                "the network's {} classes ({}, ...) have no Cityscapes label ids; write train ids, or \
                 predict with a network of Cityscapes' 19 classes",
                classes.len(),
                classes.names()[0]
            )));
        }
        Ok(())
    }

    pub(super) fn write(
        self,
        path: &Path,
        image: &RgbImage,
        segmented: &Segmented,
        classes: &Classes,
        opacity: f32,
    ) -> Result<()> {
        let ids = &segmented.ids;
        match self {
            Self::Overlay => write_rgb(path, &overlay(image, ids, classes, opacity)?)?,
            Self::Id => write_grey(path, ids)?,
            Self::Color => write_rgb(path, &colourise(ids, classes)?)?,
            Self::Confidence => write_grey(path, &grey(segmented)?)?,
            Self::Submission(Ids::Train) => write_palette(path, ids, classes)?,
            Self::Submission(Ids::Label) => {
                let table = cityscapes_export_ids();
                let mut label = ids.clone();
                label
                    .iter_mut()
                    .for_each(|id| *id = table[usize::from(*id)]);
                write_palette(path, &label, &label_palette(classes, &table)?)?;
            }
        }
        Ok(())
    }
}

fn grey(segmented: &Segmented) -> Result<GrayImage> {
    let values = segmented.confidence.iter();
    let values = values.map(|share| (255.0 * share).round() as u8).collect();
    let (width, height) = segmented.ids.dimensions();
    GrayImage::from_raw(width, height, values)
        .ok_or_else(|| Error::Run("the confidence has another size than the prediction".into()))
}

/// The colours of the classes by label id; ids without a class are black, like id 0.
fn label_palette(classes: &Classes, table: &[u8; 256]) -> Result<Classes> {
    let last = table.iter().copied().max().unwrap_or(0);
    let entry = |id: u8| {
        let class = table[..classes.len()].iter().position(|label| *label == id);
        let colour = class.and_then(|class| classes.palette().get(class));
        (format!("id {id}"), colour.copied().unwrap_or([0; 3]))
    };
    Ok(Classes::new((0..=last).map(entry))?)
}

#[cfg(test)]
mod tests {
    use mic_data::files::{read_image, read_label};
    use mic_data::label_map::RawIds;

    use super::*;

    #[test]
    fn submissions_hold_ids_in_a_palette_of_the_classes_colours() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.png");
        let classes = Classes::cityscapes();
        let train = vec![0u8, 13, 18, 255];
        let segmented = Segmented {
            ids: GrayImage::from_raw(4, 1, train.clone()).unwrap(),
            confidence: vec![1.0; 4],
        };
        let image = RgbImage::new(4, 1);
        for (ids, expected) in [(Ids::Train, train), (Ids::Label, vec![7, 26, 33, 0])] {
            let output = Output::Submission(ids);
            output
                .write(&path, &image, &segmented, &classes, 1.0)
                .unwrap();
            assert_eq!(read_label(&path).unwrap().ids, RawIds::Bits8(expected));
            let colours = read_image(&path).unwrap();
            let colour = |x| colours.get_pixel(x, 0).0;
            assert_eq!(
                [colour(0), colour(1), colour(2)],
                [0, 13, 18].map(|id| classes.palette()[id])
            );
            assert_eq!(colour(3), [0; 3]);
        }
    }

    #[test]
    fn label_ids_need_the_classes_of_cityscapes() {
        let output = Output::Submission(Ids::Label);
        assert!(output.check(&Classes::cityscapes()).is_ok());
        let error = output.check(&Classes::camvid()).unwrap_err().to_string();
        assert!(
            error.contains("11 classes") && error.contains("train ids"),
            "{error}"
        );
        assert!(
            Output::Submission(Ids::Train)
                .check(&Classes::camvid())
                .is_ok()
        );
    }

    #[test]
    fn servers_want_the_images_base_name() {
        let name = Path::new("berlin/berlin_000000_000019_leftImg8bit");
        let submitted = Output::Submission(Ids::Label).file(name);
        assert_eq!(submitted, Path::new("berlin_000000_000019_leftImg8bit.png"));
        let overlay = Output::Overlay.file(Path::new("a/x.1"));
        assert_eq!(overlay, Path::new("a/x.1_overlay.png"));
    }
}
