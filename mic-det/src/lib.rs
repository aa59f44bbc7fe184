//! Object detection across domains with Masked Image Consistency: Faster R-CNN FPN with SADA, with and without MIC.
//!
//! Nothing of it is written yet. The method itself is in `mic-core`, what networks are built of
//! in `mic-nn`, and a finished task in `mic-seg`.

/// What the binary says while there is nothing to run.
pub const NOT_YET: &str = "mic-det has no training, evaluation or prediction yet. mic-seg \
(segmentation) is complete enough to use; mic-core adds masked image consistency to a training loop \
of your own.";
