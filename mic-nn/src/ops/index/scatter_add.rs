//! Elements added along a dimension.

use candle_core::shape::Dim;
use candle_core::{Result, Tensor};

use super::grid::{Direction, Grid, check_fits, exchange};
use super::read_places;
use crate::ops::attach::attach;
use crate::ops::cast::in_single;
use crate::ops::cpu::{Elem, Shared, dispatch, storage, tensor, view};

const OP: &str = "scatter_add";

/// Adds elements of `source` to a copy of `x` along `dim`: for `dim` 1 of three,
/// `out[i, index[i, j, k], k] += source[i, j, k]`.
///
/// `index` is of U8, U32 or I64; it has as many dimensions as `x` and `source` and none larger than
/// that of `source`, or, except `dim`, of `x`. Elements of `source` beyond it are not added, as in
/// PyTorch. Where several are added to one place this happens in the order of `index`.
///
/// # Errors
/// When `x` and `source` are not both F32 or both F64, the shapes do not fit, or an index lies
/// outside.
pub fn scatter_add<D: Dim>(x: &Tensor, dim: D, index: &Tensor, source: &Tensor) -> Result<Tensor> {
    in_single!([x, source] => scatter_add(x, dim, index, source));
    let dim = dim.to_index(x.shape(), OP)?;
    check_fits(OP, "x", x.dims(), index.dims(), Some(dim))?;
    check_fits(OP, "source", source.dims(), index.dims(), None)?;
    let places = read_places(OP, index, x.dims()[dim])?;
    let (x, source) = (x.contiguous()?, source.contiguous()?);
    dispatch!(OP, x.dtype(), T => scatter_add_cpu::<T>(&x, dim, index.dims(), places, &source))
}

fn scatter_add_cpu<T: Elem>(
    x: &Tensor,
    dim: usize,
    index: &[usize],
    places: Vec<usize>,
    source: &Tensor,
) -> Result<Tensor> {
    let from = Grid::new(source.dims(), index, dim);
    let to = Grid::new(x.dims(), index, dim);
    let mut output = view::<T>(OP, x)?.to_vec();
    let add = Direction::Add(&view::<T>(OP, source)?, Shared::new(&mut output));
    exchange(&from, &to, &places, &add);
    let shape = source.shape().clone();
    attach(OP, [x, source], storage(output), x.shape(), move |grad| {
        let mut ds = vec![T::zero(); shape.elem_count()];
        let read = Direction::Read(Shared::new(&mut ds), &view::<T>(OP, grad)?);
        exchange(&from, &to, &places, &read);
        Ok([Some(grad.clone()), Some(tensor(ds, &shape))])
    })
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
        let mut rng = ChaCha8Rng::seed_from_u64(10);
        for _ in 0..60 {
            let case = random(&mut rng);
            let (dim, x) = (case.dim, case.x()?);
            let mut dims = case.smaller(&mut rng);
            dims[dim] = rng.random_range(1..7);
            let ids = indices(&mut rng, &dims, case.dims[dim]);
            let index = Tensor::from_vec(ids.clone(), dims.as_slice(), &Device::Cpu)?;
            let larger: Vec<usize> = dims.iter().map(|d| d + rng.random_range(0..2)).collect();
            let source = wave(&larger, 1.0, 0.9, 0.4)?;
            let strides = source.stride().to_vec();
            let added = source.flatten_all()?.to_vec1::<f64>()?;
            let mut expected = x.flatten_all()?.to_vec1::<f64>()?;
            let mut n = 0;
            plain(&dims, |at| {
                let from: usize = at.iter().zip(&strides).map(|(a, s)| a * s).sum();
                let mut place = at.to_vec();
                place[dim] = ids[n] as usize;
                expected[case.offset(&place)] += added[from];
                n += 1;
            });
            let y = scatter_add(&x, dim, &index, &source)?;
            assert_eq!(y.flatten_all()?.to_vec1::<f64>()?, expected);
            let f = |v: &[Tensor]| scatter_add(&v[0], dim, &index, &v[1]);
            let error = max_relative_error(&[x, source], 30, f)?;
            assert!(error < 1e-7, "{dims:?}: {error}");
        }
        Ok(())
    }

    #[test]
    fn misuse_is_named() -> Result<()> {
        let message = |r: Result<Tensor>| r.err().map(|e| e.to_string()).unwrap_or_default();
        let x = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
        let index = Tensor::new(&[[2i64, 5]], &Device::Cpu)?;
        assert!(
            message(scatter_add(&x, 1, &index, &x)).contains("scatter_add: index 5 (element 1)")
        );
        let narrow = x.narrow(1, 0, 1)?;
        assert!(message(scatter_add(&x, 1, &index, &narrow)).contains("source [2, 1]"));
        assert!(message(scatter_add(&narrow, 0, &index, &x)).contains("x [2, 1]"));
        let index = index.narrow(1, 0, 1)?;
        let double = x.to_dtype(DType::F64)?;
        assert!(message(scatter_add(&x, 1, &index, &double)).contains("scatter_add: dtype F64"));
        Ok(())
    }
}
