//! One pass over many parameters, in place and in parallel.

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use super::in_place::{Slot, update};
use crate::ops::cpu::{Shared, view};

/// Elements that a task handles.
pub(super) const CHUNK: usize = 1 << 14;

/// What happens to corresponding pieces of a parameter, of `N` tensors of memory shaped like it,
/// and of an input shaped like it (usually the gradient).
pub(super) trait Kernel<const N: usize>: Sync {
    /// All slices have one length.
    fn apply<T: Slot>(&self, param: &mut [T], memory: [&mut [T]; N], input: &[T]);
}

/// A kernel and the tensors that it runs on.
pub(super) struct Job<'a, K> {
    /// Contiguous; changed in place.
    pub(super) param: &'a Tensor,
    /// Contiguous (N, elements of the parameter), changed in place; `None` for N = 0.
    pub(super) memory: Option<&'a Tensor>,
    /// Contiguous, as many elements as the parameter.
    pub(super) input: &'a Tensor,
    /// What to do.
    pub(super) kernel: K,
}

/// Runs all jobs: large tensors one after the other with all threads, then the small ones side by
/// side. A thread never waits for others while it holds a small tensor, so that two jobs on one
/// tensor cannot lock each other out.
pub(super) fn sweep<const N: usize, K: Kernel<N> + Send>(
    op: &'static str,
    jobs: &[Job<'_, K>],
) -> Result<()> {
    let large = |job: &&Job<'_, K>| job.param.elem_count() > CHUNK;
    for job in jobs.iter().filter(large) {
        run(op, job)?;
    }
    jobs.par_iter()
        .filter(|job| !large(job))
        .try_for_each(|job| run(op, job))
}

fn run<const N: usize, K: Kernel<N>>(op: &'static str, job: &Job<'_, K>) -> Result<()> {
    // candle refuses to change tensors without elements.
    if job.param.elem_count() == 0 {
        return Ok(());
    }
    match job.param.dtype() {
        DType::F32 => run_as::<f32, N, K>(op, job),
        DType::F64 => run_as::<f64, N, K>(op, job),
        other => candle_core::bail!("{op}: dtype {other:?} is not supported, expected F32 or F64"),
    }
}

fn run_as<T: Slot, const N: usize, K: Kernel<N>>(op: &'static str, job: &Job<'_, K>) -> Result<()> {
    let input = view::<T>(op, job.input)?;
    update::<T>(op, job.param, |param| match job.memory {
        None => pieces(op, param, &mut [], &input, &job.kernel),
        Some(memory) => update::<T>(op, memory, |memory| {
            pieces(op, param, memory, &input, &job.kernel)
        }),
    })
}

fn pieces<T: Slot, const N: usize, K: Kernel<N>>(
    op: &str,
    param: &mut [T],
    memory: &mut [T],
    input: &[T],
    kernel: &K,
) -> Result<()> {
    let len = param.len();
    if input.len() != len || memory.len() != N * len {
        candle_core::bail!(
            "{op}: a parameter of {len} elements with an input of {} and a memory of {}",
            input.len(),
            memory.len()
        )
    }
    let (param, memory) = (Shared::new(param), Shared::new(memory));
    let piece = |start: usize| {
        let end = (start + CHUNK).min(len);
        // SAFETY: pieces are disjoint ranges of the parameter and of each of the N memories, and
        // every piece is handled once.
        let (param, memory) = unsafe {
            (
                param.slice(start..end),
                std::array::from_fn(|k| memory.slice(k * len + start..k * len + end)),
            )
        };
        kernel.apply(param, memory, &input[start..end]);
    };
    if len > CHUNK {
        (0..len.div_ceil(CHUNK))
            .into_par_iter()
            .for_each(|i| piece(i * CHUNK));
    } else {
        piece(0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// Adds the input and keeps the old value and the number of visits.
    struct Visit;

    impl Kernel<2> for Visit {
        fn apply<T: Slot>(&self, param: &mut [T], memory: [&mut [T]; 2], input: &[T]) {
            let [old, visits] = memory;
            old.copy_from_slice(param);
            visits.iter_mut().for_each(|v| *v += T::one());
            param.iter_mut().zip(input).for_each(|(p, &i)| *p += i);
        }
    }

    #[test]
    fn every_element_is_visited_once() -> Result<()> {
        let cpu = &Device::Cpu;
        for count in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5] {
            let numbers: Vec<f64> = (0..count).map(|i| i as f64).collect();
            let param = Tensor::from_vec(numbers, count, cpu)?;
            let input = Tensor::full(0.5f64, count, cpu)?;
            let memory = Tensor::zeros((2, count), DType::F64, cpu)?;
            let job = Job {
                param: &param,
                memory: Some(&memory),
                input: &input,
                kernel: Visit,
            };
            sweep("test", &[job])?;
            let (param, memory) = (param.to_vec1::<f64>()?, memory.to_vec2::<f64>()?);
            assert!(param.iter().enumerate().all(|(i, &p)| p == i as f64 + 0.5));
            assert!(memory[0].iter().enumerate().all(|(i, &p)| p == i as f64));
            assert!(memory[1].iter().all(|&v| v == 1.0));
        }
        Ok(())
    }

    #[test]
    fn sizes_and_dtypes_are_checked() -> Result<()> {
        let tensor = |n: usize, dtype| Tensor::zeros(n, dtype, &Device::Cpu);
        let message = |param: &Tensor, input: &Tensor| -> Result<String> {
            let memory = Tensor::zeros((2, 3), param.dtype(), &Device::Cpu)?;
            let job = Job {
                param,
                memory: Some(&memory),
                input,
                kernel: Visit,
            };
            let error = sweep("test", &[job]).err();
            Ok(error.map_or(String::new(), |e| e.to_string()))
        };
        let three = tensor(3, DType::F32)?;
        assert!(message(&three, &tensor(2, DType::F32)?)?.contains("an input of 2"));
        assert!(message(&three, &tensor(3, DType::F64)?)?.contains("F64"));
        let half = tensor(3, DType::BF16)?;
        assert!(message(&half, &half)?.contains("BF16 is not supported"));
        Ok(())
    }
}
