//! Cross-entropy.

use candle_core::{DType, Result, Storage, Tensor};

use super::gpu::{Gpu, THREADS};
use super::source::CROSS_ENTROPY;
use super::value::Value;
use crate::ops::attach::attach;

const OP: &str = "cross_entropy";

/// Labels and weights, contiguous and on the device.
pub(crate) struct PixelLabels {
    /// U8 or U32.
    pub(crate) labels: Tensor,
    /// F32, like the labels.
    pub(crate) weight: Option<Tensor>,
    /// F32, one a class.
    pub(crate) class_weight: Option<Tensor>,
    pub(crate) ignore: Option<u32>,
}

impl PixelLabels {
    fn value(&self, gpu: &Gpu) -> Result<Value> {
        let (guard, layout) = self.labels.storage_and_layout();
        let (Storage::Cuda(storage), Some((start, _))) = (&*guard, layout.contiguous_offsets())
        else {
            candle_core::bail!("{OP}: expected contiguous labels on the logits' device")
        };
        let (bytes, words) = match self.labels.dtype() {
            DType::U8 => (gpu.address(storage.as_cuda_slice::<u8>()?, start), 0),
            DType::U32 => (0, gpu.address(storage.as_cuda_slice::<u32>()?, start)),
            other => candle_core::bail!("{OP}: expected labels of dtype U8 or U32, got {other:?}"),
        };
        let address = |t: &Option<Tensor>| t.as_ref().map_or(Ok(0), |t| gpu.address_of(t, 0));
        Ok(Value::structure()
            .address(bytes)
            .address(words)
            .address(address(&self.weight)?)
            .address(address(&self.class_weight)?)
            .wide(self.ignore.map_or(-1, i64::from)))
    }
}

/// The loss of contiguous logits (batch, classes, pixels..), a scalar.
///
/// Waits for the device once, to see whether a label is none.
pub(crate) fn cross_entropy(
    z: &Tensor,
    labels: PixelLabels,
    classes: usize,
    pixels: usize,
) -> Result<Tensor> {
    let gpu = Gpu::of(OP, z)?;
    let count = labels.labels.elem_count();
    let blocks = count.div_ceil(THREADS);
    let (log_sums, partials) = (gpu.floats(count)?, gpu.floats(blocks)?);
    let invalid = Tensor::full(i64::MAX, 1, z.device())?;
    let invalid_at = {
        let (guard, _) = invalid.storage_and_layout();
        let Storage::Cuda(storage) = &*guard else {
            candle_core::bail!("{OP}: expected a tensor on a CUDA device")
        };
        gpu.address(storage.as_cuda_slice::<i64>()?, 0)
    };
    let sizes = move || {
        [
            Value::long(count),
            Value::count(classes),
            Value::long(pixels),
        ]
    };
    let [n, c, p] = sizes();
    let arguments = [
        gpu.at(z)?,
        labels.value(&gpu)?,
        n,
        c,
        p,
        log_sums.at(),
        partials.at(),
        Value::pointer(invalid_at),
    ];
    gpu.over(CROSS_ENTROPY, "cross_entropy_forward", count, &arguments)?;
    let mean = gpu.floats(1)?;
    let arguments = [
        partials.at(),
        Value::count(blocks),
        Value::long(count),
        mean.at(),
    ];
    gpu.launch(
        CROSS_ENTROPY,
        "cross_entropy_mean",
        [1, 1, 1],
        [THREADS, 1],
        &arguments,
    )?;
    let first = invalid.to_vec1::<i64>()?[0];
    if first != i64::MAX {
        let ignored = labels.ignore;
        candle_core::bail!(
            "{OP}: the label of pixel {first}, counted over the batch, is neither a class \
             (0..{classes}) nor ignored ({ignored:?})"
        )
    }
    let saved = z.detach();
    attach(OP, [z], mean.storage(), (), move |g| {
        let dz = gpu.floats(saved.elem_count())?;
        let [n, c, p] = sizes();
        let arguments = [
            gpu.at(&saved)?,
            labels.value(&gpu)?,
            log_sums.at(),
            gpu.at(g)?,
            n,
            c,
            p,
            dz.at(),
        ];
        gpu.over(CROSS_ENTROPY, "cross_entropy_backward", count, &arguments)?;
        Ok([Some(dz.tensor(saved.shape()))])
    })
}
