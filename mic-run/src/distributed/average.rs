//! Gradient averaging in buckets.

use candle_core::{DType, Device, Tensor, Var};
use mic_nn::optim::Grads;

use super::{Communicator, tensors};
use crate::Result;

/// 25 MiB, as in PyTorch's `DistributedDataParallel`: large enough that starting a message costs
/// nothing, small enough to need little memory.
pub const BUCKET_BYTES: usize = 25 << 20;

/// Replaces every gradient by its mean over all ranks, bit for bit the same on all of them.
///
/// The gradients are copied one after another, in the parameters' order, into buckets of up to
/// `bucket_bytes` (of one dtype and device; a larger gradient has a bucket of its own), each of
/// which is summed over the ranks and divided by their number. A parameter whose gradient only some
/// ranks have counts as zero on the others and has a gradient everywhere afterwards; one that no
/// rank has reached stays without (PyTorch's rule with `find_unused_parameters`).
///
/// With losses that are means over the batch and an equal share for every rank, the result is the
/// gradient of the whole batch. It is called after the last backward pass of a step and before
/// clipping, so that the norm is the whole batch's.
///
/// # Errors
/// When the processes cannot speak to each other, or a gradient's dtype cannot be summed (F32 and
/// F64 in main memory, F16 and BF16 too over NCCL). The gradients are in an undefined state then.
pub fn average(
    grads: &mut Grads,
    communicator: &mut dyn Communicator,
    bucket_bytes: usize,
) -> Result<()> {
    if communicator.world_size() == 1 {
        return Ok(());
    }
    let reached = reached_somewhere(grads, communicator)?;
    let buckets: Vec<_> = buckets(&reached, bucket_bytes).collect();
    let largest = buckets.iter().map(|b| elements(b)).max().unwrap_or(0);
    let mut space: Option<Tensor> = None;
    for bucket in buckets {
        let (dtype, device) = bucket[0].kind();
        let fits = |t: &Tensor| t.dtype() == dtype && t.device().same_device(device);
        // One after another use the same memory.
        let all = match space.take().filter(fits) {
            Some(all) => all,
            None => Tensor::zeros(largest, dtype, device)?,
        };
        average_bucket(
            grads,
            communicator,
            bucket,
            &all.narrow(0, 0, elements(bucket))?,
        )?;
        space = Some(all);
    }
    Ok(())
}

/// A parameter that some rank has a gradient of.
struct Parameter {
    name: String,
    var: Var,
}

impl Parameter {
    fn kind(&self) -> (DType, &Device) {
        (self.var.dtype(), self.var.device())
    }

    fn bytes(&self) -> usize {
        self.var.elem_count() * self.var.dtype().size_in_bytes()
    }
}

fn reached_somewhere(grads: &Grads, communicator: &mut dyn Communicator) -> Result<Vec<Parameter>> {
    let mut ranks: Vec<f32> = grads
        .iter()
        .map(|(_, _, g)| f32::from(g.is_some()))
        .collect();
    communicator.all_reduce_f32(&mut ranks)?;
    let reached = grads.iter().zip(ranks).filter(|(_, ranks)| *ranks > 0.0);
    let parameter = |((name, var, _), _): ((&str, &Var, Option<&Tensor>), f32)| Parameter {
        name: name.to_owned(),
        var: var.clone(),
    };
    Ok(reached.map(parameter).collect())
}

/// Splits the parameters, in order, where a bucket is full or the dtype or device changes.
fn buckets(parameters: &[Parameter], bytes: usize) -> impl Iterator<Item = &[Parameter]> {
    let mut full = 0;
    parameters.chunk_by(move |last, next| {
        full += last.bytes();
        let same = last.kind().0 == next.kind().0 && last.kind().1.same_device(next.kind().1);
        let together = same && full + next.bytes() <= bytes;
        if !together {
            full = 0;
        }
        together
    })
}

fn elements(bucket: &[Parameter]) -> usize {
    bucket.iter().map(|p| p.var.elem_count()).sum()
}

/// Averages the gradients of `parameters` in the flat tensor `bucket`, of as many elements.
fn average_bucket(
    grads: &mut Grads,
    communicator: &mut dyn Communicator,
    parameters: &[Parameter],
    bucket: &Tensor,
) -> Result<()> {
    let mut offset = 0;
    for Parameter { name, var } in parameters {
        let own = match grads.get(name) {
            Some(gradient) => gradient.flatten_all()?.contiguous()?,
            None => Tensor::zeros(var.elem_count(), var.dtype(), var.device())?,
        };
        bucket.slice_set(&own, 0, offset)?;
        offset += var.elem_count();
    }
    communicator.all_reduce_tensor(bucket)?;
    tensors::divide(bucket, communicator.world_size())?;
    let mut offset = 0;
    for Parameter { name, var } in parameters {
        let mean = bucket.narrow(0, offset, var.elem_count())?;
        grads.overwrite(name, &mean.reshape(var.shape())?)?;
        offset += var.elem_count();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_the_order_and_the_size() -> Result<()> {
        let parameter = |(i, (n, dtype)): (usize, (usize, DType))| -> Result<Parameter> {
            let var = Var::zeros(n, dtype, &Device::Cpu)?;
            let name = i.to_string();
            Ok(Parameter { name, var })
        };
        let sizes = [2, 2, 1, 9, 1, 1].map(|n| (n, DType::F32));
        let sizes = sizes.into_iter().chain([(1, DType::F64)]);
        let parameters = sizes
            .enumerate()
            .map(parameter)
            .collect::<Result<Vec<_>>>()?;
        let names = |bytes| -> Vec<String> {
            let join = |b: &[Parameter]| b.iter().map(|p| p.name.as_str()).collect();
            buckets(&parameters, bytes).map(join).collect()
        };
        assert_eq!(names(16), ["01", "2", "3", "45", "6"]);
        assert_eq!(names(20), ["012", "3", "45", "6"]);
        assert_eq!(names(0), ["0", "1", "2", "3", "4", "5", "6"]);
        assert_eq!(names(1 << 20), ["012345", "6"]);
        Ok(())
    }
}
