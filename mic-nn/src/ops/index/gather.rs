//! Elements picked along a dimension.

use candle_core::shape::Dim;
use candle_core::{Result, Tensor};

use super::grid::{Direction, Grid, check_fits, exchange, read};
use super::read_places;
use crate::ops::attach::attach;
use crate::ops::cast::in_single;
use crate::ops::cpu::{Elem, Shared, dispatch, fresh, storage, tensor, view};

const OP: &str = "gather";

/// Picks elements of `x` along `dim`: for `dim` 1 of three, `out[i, j, k] = x[i, index[i, j, k], k]`.
///
/// `index` is of U8, U32 or I64 and has as many dimensions as `x`; none but `dim` may be larger
/// than that of `x`. The result has the shape of `index`, as in PyTorch. The gradient of an element
/// that was picked several times is the sum of those, added in the order of `index`.
///
/// # Errors
/// When `x` is not floating-point, the shapes do not fit, or an index lies outside.
pub fn gather<D: Dim>(x: &Tensor, dim: D, index: &Tensor) -> Result<Tensor> {
    in_single!([x] => gather(x, dim, index));
    let dim = dim.to_index(x.shape(), OP)?;
    check_fits(OP, "x", x.dims(), index.dims(), Some(dim))?;
    let places = read_places(OP, index, x.dims()[dim])?;
    let x = x.contiguous()?;
    dispatch!(OP, x.dtype(), T => gather_cpu::<T>(&x, dim, index.dims(), places))
}

fn gather_cpu<T: Elem>(
    x: &Tensor,
    dim: usize,
    shape: &[usize],
    places: Vec<usize>,
) -> Result<Tensor> {
    let grid = Grid::new(x.dims(), shape, dim);
    let mut output = fresh::<T>(places.len());
    read(&view::<T>(OP, x)?, &grid, &places, &mut output);
    let own = Grid::new(shape, shape, dim);
    let input = x.shape().clone();
    attach(OP, [x], storage(output), shape, move |grad| {
        let mut dx = vec![T::zero(); input.elem_count()];
        let add = Direction::Add(&view::<T>(OP, grad)?, Shared::new(&mut dx));
        exchange(&own, &grid, &places, &add);
        Ok([Some(tensor(dx, &input))])
    })
}

#[cfg(test)]
mod tests {
    use super::super::reference::{indices, plain, random};
    use super::*;
    use crate::gradcheck::max_relative_error;
    use candle_core::{D, DType, Device};
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn matches_plain_loops_on_random_shapes_and_views() -> Result<()> {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        for _ in 0..60 {
            let case = random(&mut rng);
            let (dim, x) = (case.dim, case.x()?);
            let mut dims = case.smaller(&mut rng);
            dims[dim] = rng.random_range(0..7);
            let ids = indices(&mut rng, &dims, case.dims[dim]);
            let index = Tensor::from_vec(ids.clone(), dims.as_slice(), &Device::Cpu)?;
            let mut expected = Vec::new();
            plain(&dims, |at| {
                let mut place = at.to_vec();
                place[dim] = ids[expected.len()] as usize;
                expected.push(case.value(&place));
            });
            let y = gather(&x, dim, &index)?;
            assert_eq!(y.dims(), dims);
            assert_eq!(y.flatten_all()?.to_vec1::<f64>()?, expected);
            let error = max_relative_error(&[x], 30, |x| gather(&x[0], dim, &index))?;
            assert!(error < 1e-7, "{dims:?}: {error}");
        }
        Ok(())
    }

    #[test]
    fn misuse_is_named() -> Result<()> {
        let message = |r: Result<Tensor>| r.err().map(|e| e.to_string()).unwrap_or_default();
        let x = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
        let index = |v: &[i64]| Tensor::new(v, &Device::Cpu)?.unsqueeze(1);
        assert!(message(gather(&x, 1, &index(&[3])?)).contains("index 3 (element 0), expected 0"));
        assert!(message(gather(&x, D::Minus1, &index(&[-1])?)).contains("gather: index -1"));
        assert!(message(gather(&x, 1, &index(&[0, 0, 0])?)).contains("except in dimension 1"));
        assert!(message(gather(&x, 2, &index(&[0])?)).contains("gather"));
        assert!(message(gather(&x, 1, &x)).contains("index is F32"));
        let bytes = x.to_dtype(DType::U8)?;
        assert!(message(gather(&bytes, 1, &index(&[0])?)).contains("gather: dtype U8"));
        Ok(())
    }
}
