//! The way to the kernels for single precision and AVX-512, where they can be used.

use super::geometry::Geometry;
use crate::ops::cpu::Elem;

#[cfg(target_arch = "x86_64")]
mod wide {
    use super::super::direct::{self, Direct};
    use super::super::kernel_gradient;
    use super::{Elem, Geometry};
    use crate::ops::cpu::fresh;
    use crate::ops::product::{available, generic, single};

    pub(in super::super) fn forward<T: Elem>(
        g: &Geometry,
        x: &[T],
        weight: &[T],
        bias: Option<&[T]>,
    ) -> Option<Vec<T>> {
        if !available::<T>() {
            return None;
        }
        let bias = match bias {
            Some(bias) => Some(single(bias)?),
            None => None,
        };
        let mut output = fresh(g.out_len());
        let direct = Direct::forward(g);
        direct::run(&direct, single(x)?, single(weight)?, bias, &mut output);
        generic(output)
    }

    pub(in super::super) fn input_gradient<T: Elem>(
        g: &Geometry,
        grad: &[T],
        weight: &[T],
    ) -> Option<Vec<T>> {
        if !available::<T>() {
            return None;
        }
        let mut dx = fresh(g.in_len());
        direct::input_gradient(g, single(grad)?, single(weight)?, &mut dx);
        generic(dx)
    }

    pub(in super::super) fn weight_gradient<T: Elem>(
        g: &Geometry,
        x: &[T],
        grad: &[T],
    ) -> Option<Vec<T>> {
        if !available::<T>() {
            return None;
        }
        generic(kernel_gradient::run(g, single(x)?, single(grad)?))
    }
}
#[cfg(target_arch = "x86_64")]
pub(super) use wide::{forward, input_gradient, weight_gradient};

#[cfg(not(target_arch = "x86_64"))]
mod none {
    use super::{Elem, Geometry};

    pub(in super::super) fn forward<T: Elem>(
        _: &Geometry,
        _: &[T],
        _: &[T],
        _: Option<&[T]>,
    ) -> Option<Vec<T>> {
        None
    }

    pub(in super::super) fn input_gradient<T: Elem>(
        _: &Geometry,
        _: &[T],
        _: &[T],
    ) -> Option<Vec<T>> {
        None
    }

    pub(in super::super) fn weight_gradient<T: Elem>(
        _: &Geometry,
        _: &[T],
        _: &[T],
    ) -> Option<Vec<T>> {
        None
    }
}
#[cfg(not(target_arch = "x86_64"))]
pub(super) use none::{forward, input_gradient, weight_gradient};
