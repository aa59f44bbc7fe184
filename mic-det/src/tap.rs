//! A view of the named intermediate tensors of a step.

use candle_core::{Device, Tensor};

use crate::Result;
use crate::boxes::{Corners, to_tensor};
use crate::sampler::Sampled;

/// Sees tensors such as `main.proposals.img0.boxes`; without a viewer they are not even made.
#[allow(clippy::type_complexity)] // one callback
pub struct Tap<'a>(Option<&'a mut dyn FnMut(&str, &Tensor)>);

impl<'a> Tap<'a> {
    /// Shows every tensor to `view`.
    pub fn to(view: &'a mut dyn FnMut(&str, &Tensor)) -> Self {
        Self(Some(view))
    }

    /// Shows nothing.
    pub fn none() -> Self {
        Self(None)
    }

    pub(crate) fn show(
        &mut self,
        name: &str,
        tensor: impl FnOnce() -> Result<Tensor>,
    ) -> Result<()> {
        if let Some(view) = &mut self.0 {
            view(name, &tensor()?);
        }
        Ok(())
    }

    pub(crate) fn show_boxes(&mut self, name: &str, boxes: &[Corners]) -> Result<()> {
        self.show(name, || to_tensor(boxes))
    }

    pub(crate) fn show_numbers(&mut self, name: &str, numbers: &[f32]) -> Result<()> {
        self.show(name, || {
            Ok(Tensor::from_slice(numbers, numbers.len(), &Device::Cpu)?)
        })
    }

    pub(crate) fn show_labels(&mut self, name: &str, labels: &[u32]) -> Result<()> {
        self.show(name, || {
            let labels: Vec<i64> = labels.iter().map(|&l| l.into()).collect();
            labels_tensor(&labels)
        })
    }

    pub(crate) fn show_sampled(&mut self, site: &str, sampled: &Sampled) -> Result<()> {
        for (name, places) in [
            ("pos_idx", &sampled.positive),
            ("neg_idx", &sampled.negative),
        ] {
            self.show(&format!("{site}.{name}"), || {
                let places: Vec<i64> = places.iter().map(|&i| i as i64).collect();
                labels_tensor(&places)
            })?;
        }
        Ok(())
    }
}

pub(crate) fn labels_tensor(labels: &[i64]) -> Result<Tensor> {
    Ok(Tensor::from_slice(labels, labels.len(), &Device::Cpu)?)
}
