//! Writing COCO files.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::files::write_atomically;

/// A COCO annotation file for boxes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CocoDocument {
    /// The images.
    pub images: Vec<CocoImage>,
    /// The classes.
    pub categories: Vec<CocoCategory>,
    /// The objects.
    pub annotations: Vec<CocoAnnotation>,
}

/// An image of a [`CocoDocument`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CocoImage {
    /// Unique among the images.
    pub id: u64,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Path below the folder of the images.
    pub file_name: String,
    /// Name of the file with the instances, where the boxes are from one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seg_file_name: Option<String>,
}

/// A class of a [`CocoDocument`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CocoCategory {
    /// Unique among the categories.
    pub id: u64,
    /// Its name.
    pub name: String,
}

/// An object of a [`CocoDocument`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CocoAnnotation {
    /// Unique among the annotations.
    pub id: u64,
    /// Id of its image.
    pub image_id: u64,
    /// Id of its class.
    pub category_id: u64,
    /// Outlines `[x0, y0, x1, y1, ...]`; may be empty.
    pub segmentation: Vec<Vec<u32>>,
    /// 1 for a crowd, else 0.
    pub iscrowd: u8,
    /// Area in pixels.
    pub area: f64,
    /// `[x, y, width, height]`.
    pub bbox: [f32; 4],
}

impl CocoDocument {
    /// Writes the file.
    ///
    /// # Errors
    ///
    /// [`Io`](crate::Error::Io) if the folder is missing or the file cannot be written; no partial
    /// file stays.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomically(path, |file| Ok(serde_json::to_writer(file, self)?))
    }
}
