//! Options of HRDA.

use candle_core::Result;

use super::DetailCrop;

/// Who decides between context and detail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ScaleAttention {
    /// A second head, with one map a class.
    ClassWise,
    /// A second head, with one map for all classes.
    Single,
    /// This share of the detail everywhere, 0 to 1.
    Fixed(f64),
}

/// Which features stand for the network, as in the distance to ImageNet's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetailFeatures {
    /// Those of the context alone.
    Context,
    /// Those of the context and of the detail crop.
    All,
}

/// Options of HRDA over any backbone and head.
#[derive(Clone, Debug, PartialEq)]
pub struct HrdaConfig {
    /// The detail crop.
    pub crop: DetailCrop,
    /// Size of the context as a share of the image, above 0, at most 1.
    pub context_scale: f64,
    /// Whether inference covers the image with detail crops; else it takes the whole image as one.
    pub slide: bool,
    /// Whether these crops overlap by half.
    pub overlap: bool,
    /// Who decides between context and detail.
    pub attention: ScaleAttention,
    /// Channels of the attention's head, where it is DAFormer's.
    pub attention_channels: usize,
    /// Weight of the detail crop's own loss, 0 to 1.
    pub detail_loss: f64,
    /// Weight of the context's own loss, 0 to 1.
    pub context_loss: f64,
    /// Whether the detail is taken from an image without fine detail (an ablation).
    pub blur: bool,
    /// Which features stand for the network.
    pub features: DetailFeatures,
}

impl HrdaConfig {
    /// The published options for detail crops of (height, width) and a DAFormer head.
    pub fn new(crop: (usize, usize)) -> Self {
        Self {
            crop: DetailCrop {
                size: crop,
                divisible: 8,
            },
            context_scale: 0.5,
            slide: true,
            overlap: true,
            attention: ScaleAttention::ClassWise,
            attention_channels: 256,
            detail_loss: 0.1,
            context_loss: 0.0,
            blur: false,
            features: DetailFeatures::Context,
        }
    }

    /// Checks the options for a head whose logits are `stride` pixels apart.
    ///
    /// # Errors
    /// Names the option that does not fit.
    pub fn check(&self, stride: f64) -> Result<()> {
        let DetailCrop { size, divisible } = self.crop;
        let (height, width) = size;
        if divisible == 0 || (divisible as f64 % stride) != 0.0 {
            candle_core::bail!(
                "detail crops start at multiples of {divisible} pixels, expected a multiple of \
                 {stride}, the distance of logits"
            )
        }
        if [height, width]
            .iter()
            .any(|&n| n == 0 || !n.is_multiple_of(divisible))
        {
            candle_core::bail!(
                "detail crops are {width} x {height} (width, height), expected multiples of \
                 {divisible}"
            )
        }
        if !(self.context_scale > 0.0 && self.context_scale <= 1.0) {
            candle_core::bail!(
                "the context's scale is {}, expected above 0 and at most 1",
                self.context_scale
            )
        }
        let (detail, context) = (self.detail_loss, self.context_loss);
        if !(detail >= 0.0 && context >= 0.0 && detail + context <= 1.0) {
            candle_core::bail!(
                "the weights of the losses of detail and context are {detail} and {context}, \
                 expected a sum from 0 to 1"
            )
        }
        Ok(())
    }
}
