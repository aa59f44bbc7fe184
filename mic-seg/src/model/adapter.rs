//! SegFormer adapter: the coarsest level enlarged, so that convolutional decoders that want fine
//! maps can stand on a MiT. It has no parameters.

use candle_core::{Result, Tensor};
use mic_nn::ops;

/// The levels with the last one enlarged `scale` times, bilinearly; without scale as they are.
pub(super) fn adapt(features: &[Tensor], scale: Option<usize>) -> Result<Vec<Tensor>> {
    let mut adapted = features.to_vec();
    if let (Some(scale), Some(last)) = (scale, adapted.last_mut()) {
        let (_, _, height, width) = last.dims4()?;
        *last = ops::resize_bilinear(last, (height * scale, width * scale), false)?;
    }
    Ok(adapted)
}
