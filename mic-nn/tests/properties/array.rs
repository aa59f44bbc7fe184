//! The references' tensors: dense, row-major, double precision.

use candle_core::{DType, Result, Tensor};

#[derive(Clone, Debug)]
pub(crate) struct Array {
    pub(crate) dims: Vec<usize>,
    pub(crate) data: Vec<f64>,
}

impl Array {
    /// The elements of a tensor of any floating-point dtype and layout.
    pub(crate) fn of(tensor: &Tensor) -> Result<Self> {
        Ok(Self {
            dims: tensor.dims().to_vec(),
            data: tensor
                .to_dtype(DType::F64)?
                .flatten_all()?
                .to_vec1::<f64>()?,
        })
    }

    /// The array whose element at `index` is `f(index)`.
    pub(crate) fn build<const N: usize>(dims: [usize; N], f: impl Fn([usize; N]) -> f64) -> Self {
        let count: usize = dims.iter().product();
        let element = |flat: usize| {
            let (mut index, mut rest) = ([0; N], flat);
            for (i, d) in index.iter_mut().zip(dims).rev() {
                (*i, rest) = (rest % d, rest / d);
            }
            f(index)
        };
        Self {
            dims: dims.to_vec(),
            data: (0..count).map(element).collect(),
        }
    }

    /// The element at `index`.
    pub(crate) fn at<const N: usize>(&self, index: [usize; N]) -> f64 {
        assert_eq!(N, self.dims.len());
        let flat = index.iter().zip(&self.dims).fold(0, |flat, (i, d)| {
            assert!(i < d, "{index:?} in {:?}", self.dims);
            flat * d + i
        });
        self.data[flat]
    }

    /// The sizes of an array of `N` dimensions.
    pub(crate) fn sizes<const N: usize>(&self) -> [usize; N] {
        self.dims.as_slice().try_into().unwrap()
    }

    /// The same elements in another shape.
    pub(crate) fn reshaped(&self, dims: &[usize]) -> Self {
        assert_eq!(dims.iter().product::<usize>(), self.data.len());
        Self {
            dims: dims.to_vec(),
            data: self.data.clone(),
        }
    }

    /// `f` of every element.
    pub(crate) fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self {
            dims: self.dims.clone(),
            data: self.data.iter().map(|&v| f(v)).collect(),
        }
    }

    /// `f` of the elements of two arrays of one shape.
    pub(crate) fn zip(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        assert_eq!(self.dims, other.dims);
        let pairs = self.data.iter().zip(&other.data);
        Self {
            dims: self.dims.clone(),
            data: pairs.map(|(&a, &b)| f(a, b)).collect(),
        }
    }

    /// The largest magnitude.
    pub(crate) fn scale(&self) -> f64 {
        self.data.iter().fold(0.0, |m, v| m.max(v.abs()))
    }
}
