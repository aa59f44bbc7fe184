//! From the ids or colours in label files to train ids.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use image::{GrayImage, RgbImage};

use crate::files::{read_colours, read_first_channel, read_label};
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

/// A table from raw ids or colours to train ids ([`IGNORE`] for pixels without a class).
#[derive(Clone, Debug)]
pub struct LabelMap {
    name: String,
    keys: Keys,
    unlisted: Unlisted,
}

/// What the values in the files are.
#[derive(Clone, Debug)]
enum Keys {
    /// Grey values or palette indices. By id; ids past the end are unlisted.
    Ids(Vec<Option<u8>>),
    /// The first channel of colour files.
    FirstChannel(Vec<Option<u8>>),
    /// RGB colours.
    Colours(HashMap<[u8; 3], u8>),
}

/// A label read by [`LabelMap::inspect`].
#[derive(Clone, Debug)]
pub struct Inspected {
    /// Train ids; [`IGNORE`] where the value is not in the table.
    pub label: GrayImage,
    /// The values that are not in the table (ids as decimal numbers, colours as `#rrggbb`), with
    /// their pixels.
    pub unlisted: BTreeMap<String, u64>,
}

/// The first unlisted colour with its index is the error.
type Seen = std::result::Result<(), (usize, [u8; 3])>;

impl LabelMap {
    /// A map of `(raw id, train id)` pairs; `name` is for error messages.
    pub fn new(
        name: impl Into<String>,
        pairs: impl IntoIterator<Item = (u16, u8)>,
        unlisted: Unlisted,
    ) -> Self {
        Self {
            name: name.into(),
            keys: Keys::Ids(table(pairs)),
            unlisted,
        }
    }

    /// A map of `(RGB colour, train id)` pairs.
    pub fn by_colour(
        name: impl Into<String>,
        pairs: impl IntoIterator<Item = ([u8; 3], u8)>,
        unlisted: Unlisted,
    ) -> Self {
        Self {
            name: name.into(),
            keys: Keys::Colours(pairs.into_iter().collect()),
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

    /// Masks in which 0 is class 0 and 255 is class 1; other ids are refused.
    pub fn binary() -> Self {
        Self::new("binary", [(0, 0), (255, 1)], Unlisted::Refuse)
    }

    /// Raw ids of Cityscapes (`_gtFine_labelIds.png`), which GTA shares; other ids are ignored.
    pub fn cityscapes() -> Self {
        Self::new("cityscapes", in_order(&CITYSCAPES_IDS), Unlisted::Ignore)
    }

    /// Raw ids of SYNTHIA (first channel of its 16-bit label files); other ids are ignored.
    pub fn synthia() -> Self {
        Self {
            name: "synthia".to_owned(),
            keys: Keys::FirstChannel(table(in_order(&SYNTHIA_IDS))),
            unlisted: Unlisted::Ignore,
        }
    }

    /// Ids of CamVid's grouped classes: 0 to 10, 11 is void (ignored), other ids are refused.
    pub fn camvid() -> Self {
        let ids = (0..11).map(|id| (u16::from(id), id));
        let void = std::iter::once((11, IGNORE));
        Self::new("camvid", ids.chain(void), Unlisted::Refuse)
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a value outside the table means.
    pub fn unlisted(&self) -> Unlisted {
        self.unlisted
    }

    /// The train id of `raw`; `None` if the map refuses it (as a map of colours does all ids).
    pub fn get(&self, raw: u16) -> Option<u8> {
        let listed = match &self.keys {
            Keys::Ids(table) | Keys::FirstChannel(table) => {
                table.get(usize::from(raw)).copied().flatten()
            }
            Keys::Colours(_) => return None,
        };
        listed.or((self.unlisted == Unlisted::Ignore).then_some(IGNORE))
    }

    /// Reads a label file as train ids.
    ///
    /// # Errors
    ///
    /// Those of [`read_label`] (of [`read_colours`] for a map of colours, and so on) and of
    /// [`LabelMap::apply`].
    pub fn read(&self, path: &Path) -> Result<GrayImage> {
        match &self.keys {
            Keys::Ids(_) => self.apply(&read_label(path)?, path),
            Keys::FirstChannel(_) => self.apply(&read_first_channel(path)?, path),
            Keys::Colours(colours) => {
                let image = read_colours(path)?;
                let train = self.map_colours(&image, colours, |_| ());
                if let (Unlisted::Refuse, Err((index, colour))) = (self.unlisted, &train.1) {
                    return Err(self.refuse(path, image.width(), *index, &hex(*colour)));
                }
                grey(path, image.dimensions(), train.0)
            }
        }
    }

    /// Reads a label file, collecting values outside the table instead of refusing them.
    ///
    /// # Errors
    ///
    /// Those of [`LabelMap::read`], unlisted values aside.
    pub fn inspect(&self, path: &Path) -> Result<Inspected> {
        let mut unlisted = BTreeMap::new();
        let (size, train) = match &self.keys {
            Keys::Colours(colours) => {
                let image = read_colours(path)?;
                let count = |colour| *unlisted.entry(hex(colour)).or_insert(0) += 1;
                let train = self.map_colours(&image, colours, count).0;
                (image.dimensions(), train)
            }
            Keys::Ids(table) | Keys::FirstChannel(table) => {
                let raw = match &self.keys {
                    Keys::FirstChannel(_) => read_first_channel(path)?,
                    _ => read_label(path)?,
                };
                let mut counts: BTreeMap<u16, u64> = BTreeMap::new();
                let train = raw.ids.iter().map(|id| {
                    let known = table.get(usize::from(id)).copied().flatten();
                    known.unwrap_or_else(|| {
                        *counts.entry(id).or_insert(0) += 1;
                        IGNORE
                    })
                });
                let train = train.collect();
                unlisted.extend(counts.iter().map(|(id, n)| (id.to_string(), *n)));
                ((raw.width, raw.height), train)
            }
        };
        Ok(Inspected {
            label: grey(path, size, train)?,
            unlisted,
        })
    }

    /// Maps every pixel of a label. `file` is for the error message.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names the file, the first refused id, its pixel and this map; also if
    /// `raw` does not hold `width * height` ids.
    pub fn apply(&self, raw: &RawLabel, file: &Path) -> Result<GrayImage> {
        let mapped = match &raw.ids {
            RawIds::Bits8(ids) => {
                let table: [Option<u8>; 256] = std::array::from_fn(|id| self.get(id as u16));
                let mapped = ids
                    .iter()
                    .enumerate()
                    .map(|(index, id)| table[usize::from(*id)].ok_or((index, u16::from(*id))));
                mapped.collect::<std::result::Result<Vec<u8>, _>>()
            }
            RawIds::Bits16(ids) => {
                let mapped = ids.iter().enumerate();
                mapped
                    .map(|(index, id)| self.get(*id).ok_or((index, *id)))
                    .collect()
            }
        };
        let train = mapped
            .map_err(|(index, id)| self.refuse(file, raw.width, index, &format!("id {id}")))?;
        grey(file, (raw.width, raw.height), train)
    }

    /// A number that differs between maps that read files differently.
    pub fn fingerprint(&self) -> u64 {
        let (kind, entries): (u8, BTreeMap<u32, u8>) = match &self.keys {
            Keys::Ids(table) | Keys::FirstChannel(table) => {
                let listed = (0u32..)
                    .zip(table)
                    .filter_map(|(id, train)| Some((id, (*train)?)));
                let first = matches!(self.keys, Keys::FirstChannel(_));
                (u8::from(first), listed.collect())
            }
            Keys::Colours(colours) => {
                let number = |[r, g, b]: [u8; 3]| u32::from_be_bytes([0, r, g, b]);
                (
                    2,
                    colours
                        .iter()
                        .map(|(c, train)| (number(*c), *train))
                        .collect(),
                )
            }
        };
        let mut bytes = vec![kind, u8::from(self.unlisted == Unlisted::Refuse)];
        for (key, train) in entries {
            bytes.extend(key.to_le_bytes());
            bytes.push(train);
        }
        crate::rng::fnv1a(&bytes)
    }

    /// Train ids, and the first unlisted colour with its index, if there is one; `unlisted` sees
    /// all of them.
    fn map_colours(
        &self,
        image: &RgbImage,
        colours: &HashMap<[u8; 3], u8>,
        mut unlisted: impl FnMut([u8; 3]),
    ) -> (Vec<u8>, Seen) {
        let mut first = Ok(());
        // Neighbouring pixels mostly have one colour.
        let mut last: Option<([u8; 3], Option<u8>)> = None;
        let pixels = image.pixels().enumerate().map(|(index, pixel)| {
            let train = match last {
                Some((colour, train)) if colour == pixel.0 => train,
                _ => colours.get(&pixel.0).copied(),
            };
            last = Some((pixel.0, train));
            train.unwrap_or_else(|| {
                if first.is_ok() {
                    first = Err((index, pixel.0));
                }
                unlisted(pixel.0);
                IGNORE
            })
        });
        let train = pixels.collect();
        (train, first)
    }

    fn refuse(&self, file: &Path, width: u32, index: usize, value: &str) -> Error {
        let (x, y) = (index as u32 % width, index as u32 / width);
        let what = if value.starts_with('#') {
            "colour"
        } else {
            "id"
        };
        Error::Invalid(format!(
            "{}: {} at pixel x={x}, y={y} is not in label map {:?}; add the {what} to the map \
             (\"ignore\" to leave it out) or choose the map of this data set",
            file.display(),
            if what == "id" {
                value.to_owned()
            } else {
                format!("colour {value}")
            },
            self.name
        ))
    }
}

impl RawIds {
    fn iter(&self) -> Box<dyn Iterator<Item = u16> + '_> {
        match self {
            Self::Bits8(ids) => Box::new(ids.iter().map(|id| u16::from(*id))),
            Self::Bits16(ids) => Box::new(ids.iter().copied()),
        }
    }
}

/// The Cityscapes id of each of the 19 train ids, and 0 (unlabelled) for all other values: what
/// the benchmark's server expects.
pub fn cityscapes_export_ids() -> [u8; 256] {
    let mut ids = [0; 256];
    for (id, raw) in ids.iter_mut().zip(CITYSCAPES_IDS) {
        *id = raw as u8;
    }
    ids
}

/// `#rrggbb`.
fn hex([r, g, b]: [u8; 3]) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

fn grey(file: &Path, (width, height): (u32, u32), train: Vec<u8>) -> Result<GrayImage> {
    GrayImage::from_raw(width, height, train)
        .ok_or_else(|| Error::Invalid(format!("{}: not {width} x {height} ids", file.display())))
}

fn table(pairs: impl IntoIterator<Item = (u16, u8)>) -> Vec<Option<u8>> {
    let mut table = Vec::new();
    for (raw, train) in pairs {
        let raw = usize::from(raw);
        if table.len() <= raw {
            table.resize(raw + 1, None);
        }
        table[raw] = Some(train);
    }
    table
}

fn in_order(raw_ids: &[u16]) -> impl Iterator<Item = (u16, u8)> {
    raw_ids.iter().zip(0u8..).map(|(raw, train)| (*raw, train))
}

/// Raw ids in the order of the 19 train ids.
pub(crate) const CITYSCAPES_IDS: [u16; 19] = [
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

    #[test]
    fn exported_ids_map_back_to_the_classes() {
        let (ids, map) = (cityscapes_export_ids(), LabelMap::cityscapes());
        for train in 0..19u8 {
            assert_eq!(map.get(u16::from(ids[usize::from(train)])), Some(train));
        }
        assert!(ids[19..].iter().all(|id| *id == 0));
        assert_eq!(map.get(0), Some(IGNORE));
    }

    #[test]
    fn fingerprints_tell_maps_apart() {
        let ids = |other| LabelMap::new("a", [(0, 0), (5, 1)], other);
        let colours = [([0, 0, 0], 0), ([0, 0, 5], 1)];
        let maps = [
            ids(Unlisted::Refuse),
            ids(Unlisted::Ignore),
            LabelMap::new("a", [(0, 0), (5, 2)], Unlisted::Refuse),
            LabelMap::by_colour("a", colours, Unlisted::Refuse),
            LabelMap::synthia(),
        ];
        let prints: std::collections::BTreeSet<_> =
            maps.iter().map(LabelMap::fingerprint).collect();
        assert_eq!(prints.len(), maps.len());
        let renamed = LabelMap::new("b", [(5, 1), (0, 0)], Unlisted::Refuse);
        assert_eq!(renamed.fingerprint(), maps[0].fingerprint());
    }
}
