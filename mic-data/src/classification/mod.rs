//! Images with one class each: data sets, and the batches of a training or evaluation run.
//!
//! - [`ImageList`], [`ClassFolders`] and [`IdxSet`] read the usual layouts, [`Published`] names the
//!   paper's data sets, [`Digits`] are built in; [`Concat`] joins domains. [`SourceConfig`] is any of these in TOML, and
//!   [`DomainsConfig`] a source with its target.
//! - [`ClassificationPipeline`] makes the batch of a training step, [`EvaluationSet`] those of an
//!   evaluation.
//! - [`check_class_set`] reads a whole set and lists what is wrong with it.

mod batch;
mod check;
mod class_folders;
mod class_names;
mod concat;
mod config;
mod digits;
mod evaluation;
mod idx;
mod image_list;
mod pipeline;
mod published;
mod sample;
mod transform;

pub use batch::{ClassificationBatch, ClassificationSource, ClassificationTarget};
pub use check::{
    ClassSubject, LookedAt, add_class_pictures, check_class_set, check_shared, class_table,
};
pub use class_folders::{ClassFolders, same_classes};
pub use concat::{Concat, ConcatImages};
pub use config::{Domains, DomainsConfig, SourceConfig, open_images};
pub use digits::Digits;
pub use evaluation::{EvaluationBatch, EvaluationSet};
pub use idx::{IdxArray, IdxSet, read_idx};
pub use image_list::ImageList;
pub use pipeline::{ClassificationPipeline, ClassificationPipelineConfig};
pub use published::{Published, Split};
pub use sample::{Classified, ClassifiedSet, WithoutClasses};
pub use transform::{ImageTransform, Resizing, TrainTransform};
