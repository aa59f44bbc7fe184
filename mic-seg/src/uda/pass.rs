//! One supervised pass of the student.

use candle_core::Tensor;
use mic_core::augment::Normalization;
use mic_data::SourceBatch;
use mic_nn::forward::Forward;
use mic_nn::ops::{self, CrossEntropyOptions};

use super::Draws;
use super::trace::Trace;
use crate::Result;
use crate::model::{CropBox, Detail, HrdaConfig, Output, Segmentor};

/// Labels U8 (B, H, W) and optional pixel weights of a batch.
pub(super) struct Supervision<'a> {
    pub(super) label: &'a Tensor,
    pub(super) weight: Option<&'a Tensor>,
}

/// The terms of one pass's loss, weighted.
pub(super) struct Losses {
    /// That of the prediction.
    pub(super) main: Tensor,
    /// Those of HRDA's detail and context alone.
    others: Vec<Tensor>,
}

impl Losses {
    pub(super) fn total(&self) -> Result<Tensor> {
        let mut total = self.main.clone();
        for other in &self.others {
            total = (total + other)?;
        }
        Ok(total)
    }
}

/// The student in training.
pub(super) struct Student<'a> {
    pub(super) net: &'a Segmentor,
    pub(super) mode: Forward<'a>,
}

impl Student<'_> {
    /// The supervised pass on the source images, their colours changed where that is drawn. Gives the
    /// images that the student saw, too.
    pub(super) fn source_pass(
        &self,
        source: &SourceBatch,
        draws: &Draws,
        normalization: &Normalization,
        trace: &mut Trace,
    ) -> Result<(Tensor, Output, Losses)> {
        let image = match &draws.source {
            Some(strong) => strong.apply(&source.image, normalization)?,
            None => source.image.clone(),
        };
        let truth = Supervision {
            label: &source.label,
            weight: None,
        };
        let crop = draws.crops.source.as_ref();
        let (output, losses) = self.pass("source", &image, crop, &truth, trace)?;
        Ok((image, output, losses))
    }

    /// Predicts images (B, 3, H, W) and computes the loss, the mean over all pixels. `name` is
    /// `source`, `mix` or `masked`.
    pub(super) fn pass(
        &self,
        name: &str,
        image: &Tensor,
        crop: Option<&CropBox>,
        truth: &Supervision,
        trace: &mut Trace,
    ) -> Result<(Output, Losses)> {
        let output = self.net.forward_train(image, crop, &self.mode)?;
        trace.show(&format!("{name}.logits"), &output.logits);
        let key = match name {
            "source" => "decode".to_owned(),
            other => format!("{other}.decode"),
        };
        let mut losses = Losses {
            main: cross_entropy(&output.logits, truth, &key, trace)?,
            others: Vec::new(),
        };
        if let (Some(hrda), Some(detail)) = (self.net.hrda(), &output.detail) {
            if trace.watched() {
                show(name, detail, trace)?;
            }
            let main = 1.0 - hrda.detail_loss - hrda.context_loss;
            losses.main = (losses.main * main)?;
            losses.others = detail_losses(hrda, detail, truth, &key, trace)?;
        }
        trace.loss(&format!("{key}.loss_seg"), &losses.main)?;
        Ok((output, losses))
    }
}

fn show(name: &str, detail: &Detail, trace: &mut Trace) -> Result<()> {
    trace.show(&format!("{name}.hr_logits"), &detail.logits);
    let bounds = detail.crop.bounds().map(|n| n as i64);
    let bounds = Tensor::new(&bounds, detail.logits.device())?;
    trace.show(&format!("{name}.crop_box"), &bounds);
    Ok(())
}

/// The weighted losses of the detail crop and of the context, where they count.
fn detail_losses(
    hrda: &HrdaConfig,
    detail: &Detail,
    truth: &Supervision,
    key: &str,
    trace: &mut Trace,
) -> Result<Vec<Tensor>> {
    let mut losses = Vec::new();
    if hrda.detail_loss > 0.0 {
        let label = detail.crop.of(truth.label)?;
        let weight = truth.weight.map(|w| detail.crop.of(w)).transpose()?;
        let truth = Supervision {
            label: &label,
            weight: weight.as_ref(),
        };
        let key = format!("{key}.hr");
        let loss = (cross_entropy(&detail.logits, &truth, &key, trace)? * hrda.detail_loss)?;
        trace.loss(&format!("{key}.loss_seg"), &loss)?;
        losses.push(loss);
    }
    if hrda.context_loss > 0.0 {
        let key = format!("{key}.lr");
        let loss = (cross_entropy(&detail.context, truth, &key, trace)? * hrda.context_loss)?;
        trace.loss(&format!("{key}.loss_seg"), &loss)?;
        losses.push(loss);
    }
    Ok(losses)
}

/// Cross-entropy at the labels' size.
fn cross_entropy(
    logits: &Tensor,
    truth: &Supervision,
    key: &str,
    trace: &mut Trace,
) -> Result<Tensor> {
    let (_, height, width) = truth.label.dims3()?;
    let logits = ops::resize_bilinear(logits, (height, width), false)?;
    let options = CrossEntropyOptions {
        weight: truth.weight.cloned(),
        ..CrossEntropyOptions::default()
    };
    let loss = ops::cross_entropy(&logits, truth.label, &options)?;
    if trace.watched() {
        let accuracy = ops::pixel_accuracy(&logits, truth.label)?;
        trace.scalar(format!("{key}.acc_seg"), accuracy);
    }
    Ok(loss)
}
