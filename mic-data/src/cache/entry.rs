//! The bytes of a cache entry: a magic number, the key, name, sizes, pixels and a check sum.

use image::{GrayImage, RgbImage};

const MAGIC: &[u8; 8] = b"MICDATA1";

/// A sample as it is cached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedSample {
    /// Its name.
    pub name: String,
    /// RGB, 8 bits a channel.
    pub image: RgbImage,
    /// The label or the validity mask, if there is one.
    pub grey: Option<GrayImage>,
}

/// What the bytes of an entry turn out to be.
pub(super) enum Found {
    Valid(CachedSample),
    /// Intact, but of another key.
    Stale,
    Damaged,
}

pub(super) fn encode(sample: &CachedSample, key: &str) -> Vec<u8> {
    let grey = sample.grey.as_ref();
    let (width, height) = sample.image.dimensions();
    let (grey_width, grey_height) = grey.map_or((0, 0), GrayImage::dimensions);
    let pixels = sample.image.len() + grey.map_or(0, |grey| grey.len());
    let mut bytes = Vec::with_capacity(pixels + key.len() + sample.name.len() + 64);
    bytes.extend_from_slice(MAGIC);
    for text in [key, &sample.name] {
        bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes.push(u8::from(grey.is_some()));
    for side in [width, height, grey_width, grey_height] {
        bytes.extend_from_slice(&side.to_le_bytes());
    }
    bytes.extend_from_slice(&sample.image);
    if let Some(grey) = grey {
        bytes.extend_from_slice(grey);
    }
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

pub(super) fn decode(bytes: &[u8], key: &str) -> Found {
    let Some((content, sum)) = bytes.split_last_chunk::<4>() else {
        return Found::Damaged;
    };
    if crc32fast::hash(content) != u32::from_le_bytes(*sum) {
        return Found::Damaged;
    }
    let Some(content) = content.strip_prefix(MAGIC) else {
        // Intact, so written by another version.
        return Found::Stale;
    };
    let mut reader = Reader(content);
    match reader.text() {
        Some(found) if found == key => (),
        _ => return Found::Stale,
    }
    match reader.sample() {
        Some(sample) if reader.0.is_empty() => Found::Valid(sample),
        _ => Found::Damaged,
    }
}

/// The rest of an entry.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        let bytes = self.take(4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = self.number()?;
        std::str::from_utf8(self.take(len as usize)?).ok()
    }

    fn sample(&mut self) -> Option<CachedSample> {
        let name = self.text()?.to_owned();
        let has_grey = self.take(1)? == [1];
        let [width, height] = [self.number()?, self.number()?];
        let [grey_width, grey_height] = [self.number()?, self.number()?];
        let len = |w: u32, h: u32, channels: u32| {
            usize::try_from(u64::from(w) * u64::from(h) * u64::from(channels)).ok()
        };
        let image = self.take(len(width, height, 3)?)?.to_vec();
        let grey = match has_grey {
            true => Some(self.take(len(grey_width, grey_height, 1)?)?.to_vec()),
            false => None,
        };
        Some(CachedSample {
            name,
            image: RgbImage::from_raw(width, height, image)?,
            grey: match grey {
                Some(grey) => Some(GrayImage::from_raw(grey_width, grey_height, grey)?),
                None => None,
            },
        })
    }
}
