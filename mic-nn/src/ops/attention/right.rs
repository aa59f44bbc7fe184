//! Products with a right operand that is used several times.

use crate::ops::cpu::{Elem, Mat, gemm};
#[cfg(target_arch = "x86_64")]
use crate::ops::product::{self, Onto, Panels};

/// A right operand, packed where that is of use.
pub(super) struct Right<'a, T> {
    mat: Mat<'a, T>,
    #[cfg(target_arch = "x86_64")]
    panels: Option<Panels<'a>>,
}

impl<'a, T: Elem> Right<'a, T> {
    /// Prepares `mat`, in `buffer`.
    pub(super) fn new(mat: Mat<'a, T>, buffer: &'a mut Vec<f32>) -> Self {
        #[cfg(not(target_arch = "x86_64"))]
        let _ = buffer;
        Self {
            mat,
            #[cfg(target_arch = "x86_64")]
            panels: match product::available::<T>() {
                true => product::single_mat(mat).map(|mat| Panels::pack(mat, buffer)),
                false => None,
            },
        }
    }

    /// `out = a * self`, or added to `out`, whose rows are `stride` elements apart.
    pub(super) fn times(&self, out: &mut [T], stride: usize, add: bool, a: Mat<'_, T>) {
        #[cfg(target_arch = "x86_64")]
        if let Some(panels) = &self.panels
            && let Some(a) = product::single_mat(a)
            && let Some(out) = product::single_mut(out)
        {
            let onto = match add {
                true => Onto::Output,
                false => Onto::Nothing,
            };
            return product::multiply(out, stride, onto, a, panels);
        }
        let beta = if add { T::one() } else { T::zero() };
        gemm(out, stride, beta, T::one(), a, self.mat, false);
    }
}
