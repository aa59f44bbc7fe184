//! What happens to an image and its label between file and batch.
//!
//! Random steps are sampled parameters ([`Crop::sample`], [`Flip::sample`] and so on) and their
//! application, so that image, label and validity mask share them. The order is that of DAFormer's training
//! pipeline: resize, crop, flip, (photometric distortion,) normalise, pad.

mod crop;
mod detection_resize;
mod flip;
mod normalise;
mod pad;
mod photometric;
mod pil_resize;
mod resize;
mod resized_crop;
#[cfg(test)]
mod tests;
mod value_tables;

pub use crop::{CROP_TRIES, Crop};
pub use detection_resize::DetectionResize;
pub use flip::Flip;
pub use normalise::Normalise;
pub use pad::{pad_flipped_into, pad_into};
pub use photometric::PhotometricDistortion;
pub use pil_resize::{PilFilter, pil_resize, pil_resize_part};
pub use resize::{keep_ratio, resize_image, resize_image_window, resize_nearest};
pub use resized_crop::ResizedCropConfig;
pub use value_tables::ValueTables;
