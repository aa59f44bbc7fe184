//! What the processes of a run say to each other.

use candle_core::{Device, Tensor};

use super::tensors;
use crate::Result;

/// The processes of one run, seen from one of them.
///
/// All methods but [`rank`](Self::rank), [`world_size`](Self::world_size) and
/// [`abort`](Self::abort) are collective: every rank calls the same one, in the same order, with
/// values of the same length and type, and waits for the others in it. An error leaves the
/// communicator unusable: the process has to end, and the others notice.
pub trait Communicator {
    /// This process's number, from 0.
    fn rank(&self) -> usize;

    /// Number of processes.
    fn world_size(&self) -> usize;

    /// Replaces each value by its sum over all ranks. Every rank gets the same bits, and gets them
    /// again in the next run with as many ranks.
    ///
    /// # Errors
    /// When another process has ended, is silent for too long or does something else.
    fn all_reduce_f32(&mut self, values: &mut [f32]) -> Result<()>;

    /// The same in double precision.
    ///
    /// # Errors
    /// As [`Communicator::all_reduce_f32`].
    fn all_reduce_f64(&mut self, values: &mut [f64]) -> Result<()>;

    /// Replaces the bytes by those of rank 0, of whatever length.
    ///
    /// # Errors
    /// As [`Communicator::all_reduce_f32`].
    fn broadcast(&mut self, bytes: &mut Vec<u8>) -> Result<()>;

    /// The bytes of every rank, in the ranks' order. For small values: they all pass through
    /// rank 0.
    ///
    /// # Errors
    /// As [`Communicator::all_reduce_f32`].
    fn all_gather(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// Waits until every rank has come here.
    ///
    /// # Errors
    /// As [`Communicator::all_reduce_f32`].
    fn barrier(&mut self) -> Result<()> {
        self.all_gather(&[]).map(drop)
    }

    /// Whether any rank says yes. Signals and losses that are not finite reach one rank first or
    /// only: asked once a step, this makes all of them stop, or skip, at the same step.
    ///
    /// # Errors
    /// As [`Communicator::all_reduce_f32`].
    fn any(&mut self, flag: bool) -> Result<bool> {
        let flags = self.all_gather(&[flag.into()])?;
        Ok(flags.iter().any(|flag| flag == &[1]))
    }

    /// Replaces a contiguous tensor's elements, in place and on its device, by their sums over all
    /// ranks. F32 or F64.
    ///
    /// # Errors
    /// As [`Communicator::all_reduce_f32`], and for another dtype or layout.
    fn all_reduce_tensor(&mut self, tensor: &Tensor) -> Result<()> {
        match tensor.device() {
            Device::Cpu => tensors::all_reduce_on_cpu(self, tensor),
            _ => {
                let host = tensor.to_device(&Device::Cpu)?;
                tensors::all_reduce_on_cpu(self, &host)?;
                let sums = host.to_device(tensor.device())?.flatten_all()?;
                Ok(tensor.flatten_all()?.slice_set(&sums, 0, 0)?)
            }
        }
    }

    /// Ends the work of all ranks together, well. A communicator that is dropped without ends the
    /// other ranks with an error: they must not wait for a rank that has failed.
    ///
    /// # Errors
    /// As [`Communicator::all_reduce_f32`].
    fn finish(&mut self) -> Result<()> {
        self.barrier()
    }

    /// Ends this process with `code` after an error, without waiting for the others; they end too,
    /// by an error of theirs or because the launcher ends them.
    fn abort(&mut self, code: i32) -> ! {
        std::process::exit(code)
    }
}

/// One process: every sum is the value itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Single;

impl Communicator for Single {
    fn rank(&self) -> usize {
        0
    }

    fn world_size(&self) -> usize {
        1
    }

    fn all_reduce_f32(&mut self, _values: &mut [f32]) -> Result<()> {
        Ok(())
    }

    fn all_reduce_f64(&mut self, _values: &mut [f64]) -> Result<()> {
        Ok(())
    }

    fn broadcast(&mut self, _bytes: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }

    fn all_gather(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(vec![bytes.to_vec()])
    }

    fn all_reduce_tensor(&mut self, _tensor: &Tensor) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_agrees_with_itself() {
        let mut values = [1f32, 2.0];
        let mut bytes = vec![3];
        Single.all_reduce_f32(&mut values).unwrap();
        Single.broadcast(&mut bytes).unwrap();
        assert_eq!((values, bytes), ([1.0, 2.0], vec![3]));
        assert!(Single.any(true).unwrap() && !Single.any(false).unwrap());
        Single.barrier().unwrap();
    }
}
