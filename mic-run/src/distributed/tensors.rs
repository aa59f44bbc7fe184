//! Sums over tensors where they are, and a model's state on every rank.

use std::sync::Mutex;

use candle_core::{CpuStorage, InplaceOp1, Layout, Tensor};
use mic_nn::params::Store;

use super::Communicator;
use crate::{Error, Result};

const OP: &str = "mean over the processes";

/// Runs `sum` once on a storage's elements.
struct InPlace<F>(Mutex<Option<F>>);

enum Elements<'a> {
    F32(&'a mut [f32]),
    F64(&'a mut [f64]),
}

impl<F: FnOnce(Elements<'_>) -> Result<()>> InplaceOp1 for InPlace<F> {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("{OP}: a contiguous tensor is needed")
        };
        let elements = match storage {
            CpuStorage::F32(data) => Elements::F32(&mut data[start..end]),
            CpuStorage::F64(data) => Elements::F64(&mut data[start..end]),
            _ => candle_core::bail!("{OP}: expected a tensor of F32 or F64"),
        };
        let Some(sum) = self.0.lock().ok().and_then(|mut sum| sum.take()) else {
            candle_core::bail!("{OP}: used twice")
        };
        sum(elements).map_err(candle_core::Error::wrap)
    }
}

/// [`Communicator::all_reduce_tensor`] in main memory.
pub(super) fn all_reduce_on_cpu<C: Communicator + ?Sized>(
    communicator: &mut C,
    tensor: &Tensor,
) -> Result<()> {
    // The tensor operation would hide what kind of error it was.
    let mut failure = None;
    let sum = |elements: Elements<'_>| {
        let result = match elements {
            Elements::F32(values) => communicator.all_reduce_f32(values),
            Elements::F64(values) => communicator.all_reduce_f64(values),
        };
        result.map_err(|error| {
            let text = error.to_string();
            failure = Some(error);
            Error::Run(text)
        })
    };
    let result = tensor.inplace_op1(&InPlace(Mutex::new(Some(sum))));
    match failure {
        Some(error) => Err(error),
        None => Ok(result?),
    }
}

/// Divides a flat tensor's elements by the number of ranks, in place.
pub(super) fn divide(tensor: &Tensor, ranks: usize) -> Result<()> {
    if !tensor.device().is_cpu() {
        return Ok(tensor.slice_set(&(tensor / ranks as f64)?, 0, 0)?);
    }
    let divide = |elements: Elements<'_>| {
        match elements {
            Elements::F32(values) => values.iter_mut().for_each(|v| *v /= ranks as f32),
            Elements::F64(values) => values.iter_mut().for_each(|v| *v /= ranks as f64),
        }
        Ok(())
    };
    Ok(tensor.inplace_op1(&InPlace(Mutex::new(Some(divide))))?)
}

/// Replaces the numbers by their means over all ranks, such as the losses of a step for the
/// log.
///
/// # Errors
/// When the processes cannot speak to each other.
pub fn mean(communicator: &mut dyn Communicator, values: &mut [f64]) -> Result<()> {
    communicator.all_reduce_f64(values)?;
    let ranks = communicator.world_size() as f64;
    values.iter_mut().for_each(|value| *value /= ranks);
    Ok(())
}

/// Gives every rank rank 0's parameters and buffers, bit for bit; for the student and the teacher
/// before the first step. `what` names the store in messages.
///
/// # Errors
/// On every rank, when the ranks' parameters and buffers differ in name, order, shape or dtype, as
/// they do when the processes were started with different configurations; when a value cannot be
/// read or written; when the processes cannot speak to each other.
pub fn broadcast_store(
    communicator: &mut dyn Communicator,
    what: &str,
    store: &Store,
) -> Result<()> {
    if communicator.world_size() == 1 {
        return Ok(());
    }
    let describe = |(name, tensor): &(String, Tensor)| {
        format!("{name} {:?} {:?}\n", tensor.dims(), tensor.dtype())
    };
    let layout: String = store.state().iter().map(describe).collect();
    same_everywhere(communicator, what, layout.as_bytes())?;
    for (_, var) in store.vars() {
        var.set(&from_rank_0(communicator, var.as_tensor())?)?;
    }
    for (_, buffer) in store.buffers() {
        buffer.set(from_rank_0(communicator, &buffer.get())?);
    }
    Ok(())
}

/// Rank 0's value of a tensor of one shape and dtype.
fn from_rank_0(communicator: &mut dyn Communicator, tensor: &Tensor) -> Result<Tensor> {
    let mut bytes = Vec::new();
    if communicator.rank() == 0 {
        tensor.write_bytes(&mut bytes)?;
    }
    communicator.broadcast(&mut bytes)?;
    let (dtype, device) = (tensor.dtype(), tensor.device());
    Ok(Tensor::from_raw_buffer(
        &bytes,
        dtype,
        tensor.dims(),
        device,
    )?)
}

/// Checks that every rank has the same text, such as the resolved configuration, and names the
/// first line in which one differs from rank 0's.
///
/// # Errors
/// On every rank, when one differs; when the processes cannot speak to each other.
pub fn same_everywhere(
    communicator: &mut dyn Communicator,
    what: &str,
    bytes: &[u8],
) -> Result<()> {
    let mut wanted = bytes.to_vec();
    communicator.broadcast(&mut wanted)?;
    let difference = difference(&String::from_utf8_lossy(&wanted), bytes);
    let reports = communicator.all_gather(difference.unwrap_or_default().as_bytes())?;
    match reports.iter().enumerate().find(|(_, r)| !r.is_empty()) {
        None => Ok(()),
        Some((rank, report)) => Err(Error::Usage(format!(
            "{what} is not the same in all processes: rank {rank} {}; start all of them with the \
             same program, command and configuration",
            String::from_utf8_lossy(report)
        ))),
    }
}

/// The first line in which `own` differs from rank 0's.
fn difference(wanted: &str, own: &[u8]) -> Option<String> {
    if wanted.as_bytes() == own {
        return None;
    }
    let own = String::from_utf8_lossy(own);
    let (mut wanted, mut own) = (wanted.lines(), own.lines());
    loop {
        return match (wanted.next(), own.next()) {
            (Some(a), Some(b)) if a == b => continue,
            (None, None) => Some("differs from rank 0 in its line ends".to_owned()),
            (a, b) => {
                let [a, b] = [a, b].map(|line| line.unwrap_or("nothing"));
                Some(format!("has \"{b}\" where rank 0 has \"{a}\""))
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_different_line_is_named() {
        assert_eq!(difference("a\nb\n", b"a\nb\n"), None);
        let text = difference("a\nb\nc", b"a\nx\nc").unwrap();
        assert_eq!(text, "has \"x\" where rank 0 has \"b\"");
        let text = difference("a\nb", b"a").unwrap();
        assert_eq!(text, "has \"nothing\" where rank 0 has \"b\"");
        assert!(difference("a", b"a\n").is_some());
    }
}
