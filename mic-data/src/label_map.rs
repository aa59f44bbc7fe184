//! From the ids in label files to train ids.

use std::path::Path;

use image::GrayImage;

use crate::{Error, Result, sample::IGNORE};

/// The ids of a label file as stored, before any mapping; row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawLabel {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `width * height` ids.
    pub ids: RawIds,
}

/// Ids of either depth a PNG can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawIds {
    /// Up to 8 bits a pixel, or palette indices.
    Bits8(Vec<u8>),
    /// 16 bits a pixel.
    Bits16(Vec<u16>),
}

/// What an id outside the table means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlisted {
    /// The pixel has no class.
    Ignore,
    /// The file does not belong to this data set.
    Refuse,
}

/// A table from raw ids to train ids ([`IGNORE`] for pixels without a class).
#[derive(Clone, Debug)]
pub struct LabelMap {
    name: String,
    /// By raw id; ids past the end are unlisted.
    table: Vec<Option<u8>>,
    unlisted: Unlisted,
}

impl LabelMap {
    /// A map of `(raw id, train id)` pairs; `name` is for error messages.
    pub fn new(
        name: impl Into<String>,
        pairs: impl IntoIterator<Item = (u16, u8)>,
        unlisted: Unlisted,
    ) -> Self {
        let mut table = Vec::new();
        for (raw, train) in pairs {
            let raw = usize::from(raw);
            if table.len() <= raw {
                table.resize(raw + 1, None);
            }
            table[raw] = Some(train);
        }
        Self {
            name: name.into(),
            table,
            unlisted,
        }
    }

    /// Files that already hold train ids below `classes`, and [`IGNORE`]; other ids are refused.
    pub fn train_ids(classes: usize) -> Self {
        let ids = (0..classes.min(usize::from(IGNORE))).map(|id| (id as u16, id as u8));
        let ignored = std::iter::once((u16::from(IGNORE), IGNORE));
        let name = format!("train ids of {classes} classes");
        Self::new(name, ids.chain(ignored), Unlisted::Refuse)
    }

    /// Raw ids of Cityscapes (`_gtFine_labelIds.png`), which GTA shares; other ids are ignored.
    pub fn cityscapes() -> Self {
        Self::new("cityscapes", in_order(&CITYSCAPES_IDS), Unlisted::Ignore)
    }

    /// Raw ids of SYNTHIA (first channel of its 16-bit label files); other ids are ignored.
    pub fn synthia() -> Self {
        Self::new("synthia", in_order(&SYNTHIA_IDS), Unlisted::Ignore)
    }

    /// Ids of CamVid's grouped classes: 0 to 10, 11 is void (ignored), other ids are refused.
    pub fn camvid() -> Self {
        let ids = (0..11).map(|id| (u16::from(id), id));
        let void = std::iter::once((11, IGNORE));
        Self::new("camvid", ids.chain(void), Unlisted::Refuse)
    }

    /// The train id of `raw`; `None` if the map refuses it.
    pub fn get(&self, raw: u16) -> Option<u8> {
        let listed = self.table.get(usize::from(raw)).copied().flatten();
        listed.or((self.unlisted == Unlisted::Ignore).then_some(IGNORE))
    }

    /// Maps every pixel of a label. `file` is for the error message.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names the file, the first refused id, its pixel and this map; also if
    /// `raw` does not hold `width * height` ids.
    pub fn apply(&self, raw: &RawLabel, file: &Path) -> Result<GrayImage> {
        let mapped = match &raw.ids {
            RawIds::Bits8(ids) => self.map(ids.iter().map(|id| u16::from(*id))),
            RawIds::Bits16(ids) => self.map(ids.iter().copied()),
        };
        let train = mapped.map_err(|(index, id)| {
            let (x, y) = (index as u32 % raw.width, index as u32 / raw.width);
            Error::Invalid(format!(
                "{}: id {id} at pixel x={x}, y={y} is not in label map {:?}; add the id to the \
                 map (255 to ignore it) or choose the map of this data set",
                file.display(),
                self.name
            ))
        })?;
        GrayImage::from_raw(raw.width, raw.height, train).ok_or_else(|| {
            Error::Invalid(format!(
                "{}: not {} x {} ids",
                file.display(),
                raw.width,
                raw.height
            ))
        })
    }

    fn map(&self, ids: impl Iterator<Item = u16>) -> std::result::Result<Vec<u8>, (usize, u16)> {
        ids.enumerate()
            .map(|(index, id)| self.get(id).ok_or((index, id)))
            .collect()
    }
}

fn in_order(raw_ids: &[u16]) -> impl Iterator<Item = (u16, u8)> {
    raw_ids.iter().zip(0u8..).map(|(raw, train)| (*raw, train))
}

/// Raw ids in the order of the 19 train ids.
const CITYSCAPES_IDS: [u16; 19] = [
    7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33,
];
const SYNTHIA_IDS: [u16; 19] = [
    3, 4, 2, 21, 5, 7, 15, 9, 6, 16, 1, 10, 17, 8, 18, 19, 20, 12, 11,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn label(ids: RawIds) -> RawLabel {
        RawLabel {
            width: 3,
            height: 2,
            ids,
        }
    }

    #[test]
    fn refused_ids_are_named_with_file_pixel_and_map() {
        let raw = label(RawIds::Bits8(vec![0, 10, 11, 3, 12, 4]));
        let error = LabelMap::camvid().apply(&raw, Path::new("a/b.png"));
        let text = error.unwrap_err().to_string();
        for part in ["a/b.png", "id 12", "x=1, y=1", "camvid"] {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
    }

    #[test]
    fn both_depths_map_alike_and_void_is_ignored() {
        let map = LabelMap::camvid();
        let eight = label(RawIds::Bits8(vec![0, 10, 11, 3, 9, 4]));
        let sixteen = label(RawIds::Bits16(vec![0, 10, 11, 3, 9, 4]));
        let mapped = map.apply(&eight, Path::new("f")).unwrap();
        assert_eq!(mapped.as_raw(), &[0, 10, 255, 3, 9, 4]);
        assert_eq!(map.apply(&sixteen, Path::new("f")).unwrap(), mapped);
    }

    #[test]
    fn train_ids_keep_classes_and_the_ignored_label_only() {
        let map = LabelMap::train_ids(3);
        assert_eq!((map.get(2), map.get(255)), (Some(2), Some(255)));
        assert_eq!((map.get(3), map.get(254), map.get(700)), (None, None, None));
    }
}
