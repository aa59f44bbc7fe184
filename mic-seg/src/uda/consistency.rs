//! Masked image consistency on top of any method: the student predicts images with hidden blocks
//! as the teacher predicts whole ones (MIC, sec. 3.2).

use candle_core::Tensor;
use mic_core::PseudoLabels;
use mic_core::augment::Normalization;
use mic_data::UdaBatch;

use super::pass::{Student, Supervision};
use super::trace::{Trace, missing};
use super::{Draws, MaskDraws, MaskedConsistency, Options, Teacher};
use crate::Result;
use crate::config::Images;

/// What masked consistency needs besides the student.
pub(super) struct Consistency<'a> {
    options: &'a MaskedConsistency,
    /// Its own teacher, if it has one.
    teacher: Option<&'a Teacher>,
    normalization: &'a Normalization,
}

impl<'a> Consistency<'a> {
    /// That of the options, if they ask for it.
    pub(super) fn of(options: &'a Options, teacher: Option<&'a Teacher>) -> Option<Self> {
        Some(Self {
            options: options.masked.as_ref()?,
            teacher,
            normalization: &options.normalization,
        })
    }

    /// The loss on masked images, scaled. `shared` are the method's pseudo-labels, used without a
    /// teacher of its own. With HRDA the factor scales the loss of the whole prediction alone, as in
    /// the reference.
    pub(super) fn loss(
        &self,
        student: &Student,
        batch: &UdaBatch,
        draws: &Draws,
        shared: Option<PseudoLabels>,
        trace: &mut Trace,
    ) -> Result<Tensor> {
        let drawn = draws.masked.as_ref().ok_or_else(|| missing("mask draws"))?;
        let MaskDraws { strong, blocks } = drawn;
        let pseudo = self.pseudo_labels(batch, shared, trace)?;
        let images = self.options.mode.images;
        let (image, label, weight) = masked_batch(images, batch, pseudo.as_ref())?;
        let image = match strong {
            Some(strong) => strong.apply(&image, self.normalization)?,
            None => image,
        };
        let image = blocks.apply(&image)?;
        if trace.watched() {
            trace.show("masked.block_mask", &blocks.mask(image.device())?);
        }
        trace.show("masked.img", &image);
        trace.show("masked.label", &label);
        if let Some(weight) = &weight {
            trace.show("masked.weight", weight);
        }
        let truth = Supervision {
            label: &label,
            weight: weight.as_ref(),
        };
        let crop = draws.crops.masked.as_ref();
        let (_, mut losses) = student.pass("masked", &image, crop, &truth, trace)?;
        losses.main = (losses.main * self.options.lambda)?;
        trace.loss("masked.decode.loss_seg", &losses.main)?;
        losses.total()
    }

    fn pseudo_labels(
        &self,
        batch: &UdaBatch,
        shared: Option<PseudoLabels>,
        trace: &mut Trace,
    ) -> Result<Option<PseudoLabels>> {
        let own = self.options.own_teacher.as_ref();
        let (Some(teacher), Some((_, config)), Some(target)) = (self.teacher, own, &batch.target)
        else {
            return Ok(shared);
        };
        let labels = teacher.pseudo_labels(target, config, "mic_teacher", trace)?;
        trace.show("mic_pseudo.label", &labels.label);
        trace.show("mic_pseudo.weight", &labels.weight);
        trace.scalar("mic_pseudo.weight", f64::from(labels.confidence));
        Ok(Some(labels))
    }
}

/// Images, labels and weights of the masked batch, by mode.
fn masked_batch(
    images: Images,
    batch: &UdaBatch,
    pseudo: Option<&PseudoLabels>,
) -> Result<(Tensor, Tensor, Option<Tensor>)> {
    let source = &batch.source;
    // Without pseudo-labels (training on the source alone) every mode masks the source.
    let (Some(pseudo), Some(target)) = (pseudo, &batch.target) else {
        return Ok((source.image.clone(), source.label.clone(), None));
    };
    Ok(match images {
        Images::Source => (source.image.clone(), source.label.clone(), None),
        Images::Target => (
            target.image.clone(),
            pseudo.label.clone(),
            Some(pseudo.weight.clone()),
        ),
        Images::Mixed => {
            let first =
                |a: &Tensor, b: &Tensor| Tensor::cat(&[a.narrow(0, 0, 1)?, b.narrow(0, 0, 1)?], 0);
            let ones = pseudo.weight.ones_like()?;
            (
                first(&source.image, &target.image)?,
                first(&source.label, &pseudo.label)?,
                Some(first(&ones, &pseudo.weight)?),
            )
        }
    })
}
