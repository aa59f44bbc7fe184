//! Images with one class each: data sets, and the batches of a training or evaluation run.
//!
//! - [`ImageList`], [`ClassFolders`] and [`IdxSet`] read the usual layouts, [`Published`] names the
//!   paper's data sets; [`Concat`] joins domains. [`SourceConfig`] is any of these in TOML, and
//!   [`DomainsConfig`] a source with its target.
//! - [`ClassificationPipeline`] makes the batch of a training step, [`EvaluationSet`] those of an
//!   evaluation.
//! - [`check_classification`] reads a whole set and lists what is wrong with it.

mod batch;
mod check;
mod class_folders;
mod class_names;
mod concat;
mod config;
mod evaluation;
mod idx;
mod image_list;
mod pipeline;
mod published;
mod sample;
mod transform;

pub use batch::{ClassificationBatch, ClassificationSource, ClassificationTarget};
pub use check::{check_class_domains, check_classification};
pub use class_folders::{ClassFolders, same_classes};
pub use concat::{Concat, ConcatImages};
pub use config::{Domains, DomainsConfig, SourceConfig, open_images};
pub use evaluation::{EvaluationBatch, EvaluationSet};
pub use idx::{IdxArray, IdxSet, read_idx};
pub use image_list::ImageList;
pub use pipeline::{ClassificationPipeline, ClassificationPipelineConfig};
pub use published::{Published, Split};
pub use sample::{Classified, ClassifiedSet, WithoutClasses};
pub use transform::{ImageTransform, Resizing, TrainTransform};
