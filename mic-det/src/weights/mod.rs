//! Published weights in and out: whose names a file has, what of it fits, and what does not.
//!
//! | file | names | fits |
//! | --- | --- | --- |
//! | Detectron's `R-50.pkl` and whole Detectron models | `res2_0_branch2a_w` | `model.body = "detectron"`, BGR |
//! | torchvision's ResNets (timm's, too) | `layer1.0.conv1.weight` | `model.body = "torchvision"`, RGB |
//! | torchvision's `fasterrcnn_resnet50_fpn` | `roi_heads.box_predictor.*` | `model.conventions = "modern"`, RGB |
//! | maskrcnn-benchmark, SADA, the released MIC(SADA) | `backbone.body.stem.conv1.weight` | `model.conventions = "legacy"`, BGR |
//!
//! A file may be a bare dictionary or hold it as `model`; `module.` (data parallelism) and
//! `ema_model.` (the teacher's file) before all names are removed. Pickles are read as data and
//! never run: see [`mic_nn::weights`].

mod export;
mod load;
mod names;

pub use export::export;
pub use load::{Loaded, Part, load, load_from};
pub use names::Names;
