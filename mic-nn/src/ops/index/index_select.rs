//! Slices picked along a dimension.

use candle_core::shape::Dim;
use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::{CHUNK, read_places};
use crate::ops::attach::attach;
use crate::ops::cast::in_single;
use crate::ops::cpu::{Elem, Shared, dispatch, fresh, storage, tensor, view};

const OP: &str = "index_select";

/// The slices of `x` along `dim` that `index` names, in its order: for `dim` 0 the rows
/// `x[index[0]]`, `x[index[1]]`, ...
///
/// `index` is of U8, U32 or I64 and has one dimension; it may repeat slices or be empty. The
/// gradient of a slice that was picked several times is the sum of those, added in the order of
/// `index`. Tensors of integers are selected from, too.
///
/// # Errors
/// When the shapes do not fit, an index lies outside, or `x` is of a floating-point dtype other
/// than F32 and F64.
pub fn index_select<D: Dim>(x: &Tensor, dim: D, index: &Tensor) -> Result<Tensor> {
    in_single!([x] => index_select(x, dim, index));
    let dim = dim.to_index(x.shape(), OP)?;
    if index.rank() != 1 {
        candle_core::bail!("{OP}: index is {:?}, expected one dimension", index.dims())
    }
    let places = read_places(OP, index, x.dims()[dim])?;
    let x = x.contiguous()?;
    if !x.dtype().is_float() {
        return x.index_select(&index.contiguous()?, dim);
    }
    dispatch!(OP, x.dtype(), T => select_cpu::<T>(&x, dim, places))
}

fn select_cpu<T: Elem>(x: &Tensor, dim: usize, places: Vec<usize>) -> Result<Tensor> {
    let size = x.dims()[dim];
    let step: usize = x.dims()[dim + 1..].iter().product();
    let leads: usize = x.dims()[..dim].iter().product();
    let mut shape = x.dims().to_vec();
    shape[dim] = places.len();
    let mut output = fresh::<T>(leads * places.len() * step);
    if !output.is_empty() {
        let input = view::<T>(OP, x)?;
        let rows = (CHUNK / step).max(1);
        output
            .par_chunks_mut(rows * step)
            .enumerate()
            .for_each(|(n, out)| {
                for (row, out) in out.chunks_exact_mut(step).enumerate() {
                    let (l, m) = (
                        (n * rows + row) / places.len(),
                        (n * rows + row) % places.len(),
                    );
                    out.copy_from_slice(&input[(l * size + places[m]) * step..][..step]);
                }
            });
    }
    let input = x.shape().clone();
    attach(OP, [x], storage(output), shape, move |grad| {
        let mut dx = vec![T::zero(); input.elem_count()];
        add(&view::<T>(OP, grad)?, &places, (leads, size, step), &mut dx);
        Ok([Some(tensor(dx, &input))])
    })
}

/// Adds slices to those of `dx`, whose shape is (leads, size, step). A task owns some columns of
/// one or several leading coordinates.
fn add<T: Elem>(
    grad: &[T],
    places: &[usize],
    (leads, size, step): (usize, usize, usize),
    dx: &mut [T],
) {
    if grad.is_empty() {
        return;
    }
    let leads_per_task = (CHUNK / (places.len() * step)).max(1);
    let columns = match leads_per_task {
        1 => (CHUNK / places.len()).max(64),
        _ => step,
    };
    let across = step.div_ceil(columns);
    let dx = Shared::new(dx);
    let tasks = leads.div_ceil(leads_per_task) * across;
    (0..tasks).into_par_iter().for_each(|task| {
        let lead = task / across * leads_per_task;
        let column = task % across * columns;
        let width = columns.min(step - column);
        for l in lead..(lead + leads_per_task).min(leads) {
            for (m, &place) in places.iter().enumerate() {
                let to = (l * size + place) * step + column;
                let from = (l * places.len() + m) * step + column;
                // SAFETY: these columns of this leading coordinate are this task's.
                let to = unsafe { dx.slice(to..to + width) };
                for (d, &g) in to.iter_mut().zip(&grad[from..from + width]) {
                    *d += g;
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::reference::{indices, plain, random};
    use super::*;
    use crate::gradcheck::{max_relative_error, wave};
    use candle_core::{DType, Device};
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn matches_plain_loops_on_random_shapes_and_views() -> Result<()> {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        for _ in 0..60 {
            let case = random(&mut rng);
            let (dim, x) = (case.dim, case.x()?);
            let count = rng.random_range(0..7);
            let ids = indices(&mut rng, &[count], case.dims[dim]);
            let index = Tensor::from_vec(ids.clone(), count, &Device::Cpu)?;
            let mut dims = case.dims.clone();
            dims[dim] = count;
            let mut expected = Vec::new();
            plain(&dims, |at| {
                let mut place = at.to_vec();
                place[dim] = ids[at[dim]] as usize;
                expected.push(case.value(&place));
            });
            let y = index_select(&x, dim, &index)?;
            assert_eq!(y.dims(), dims);
            assert_eq!(y.flatten_all()?.to_vec1::<f64>()?, expected);
            let error = max_relative_error(&[x], 30, |x| index_select(&x[0], dim, &index))?;
            assert!(error < 1e-7, "{dims:?}: {error}");
        }
        Ok(())
    }

    #[test]
    fn large_gradients_are_cut_into_columns() -> Result<()> {
        let x = wave(&[3, 700], 1.0, 0.9, 0.1)?;
        let ids: Vec<u32> = (0..400).map(|i| i * i % 3).collect();
        let index = Tensor::from_vec(ids, 400, &Device::Cpu)?;
        let error = max_relative_error(&[x], 50, |x| index_select(&x[0], 0, &index))?;
        assert!(error < 1e-7, "{error}");
        Ok(())
    }

    #[test]
    fn integers_are_selected_and_misuse_is_named() -> Result<()> {
        let message = |r: Result<Tensor>| r.err().map(|e| e.to_string()).unwrap_or_default();
        let x = Tensor::new(&[5u32, 6, 7], &Device::Cpu)?;
        let index = Tensor::new(&[2i64, 0], &Device::Cpu)?;
        assert_eq!(index_select(&x, 0, &index)?.to_vec1::<u32>()?, [7, 5]);
        let x = x.to_dtype(DType::F32)?;
        let outside = Tensor::new(&[0u32, 3], &Device::Cpu)?;
        let text = message(index_select(&x, 0, &outside));
        assert!(
            text.contains("index_select: index 3 (element 1), expected 0 to 3"),
            "{text}"
        );
        let square = Tensor::new(&[[0u32]], &Device::Cpu)?;
        assert!(message(index_select(&x, 0, &square)).contains("expected one dimension"));
        assert!(message(index_select(&x, 0, &x)).contains("index is F32"));
        Ok(())
    }
}
