//! Typed access to tensors in main memory, and the matrix product on raw slices.

use std::marker::PhantomData;
use std::ops::{AddAssign, Deref, MulAssign, Range, SubAssign};

use candle_core::op::BackpropOp;
use candle_core::{Result, Shape, Storage, Tensor, WithDType};
use parking_lot::RwLockReadGuard;

/// An element type that the kernels are written for: `f32`, and `f64` for gradient checks. Nothing
/// but plain floats may implement it: [`fresh`] relies on that.
pub(crate) trait Elem:
    WithDType
    + num_traits::Float
    + AddAssign
    + SubAssign
    + MulAssign
    + std::iter::Sum
    + Send
    + Sync
    + Default
    + 'static
{
    /// Rounds a double to this type.
    fn of(value: f64) -> Self;
}

impl Elem for f32 {
    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }
}

impl Elem for f64 {
    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }
}

/// Runs a generic body with `$T` bound to the element type of `$dtype`.
macro_rules! dispatch {
    ($op:expr, $dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $T = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $T = f64;
                $body
            }
            other => candle_core::bail!(
                "{}: dtype {:?} is not supported on the CPU, expected F32 or F64",
                $op,
                other
            ),
        }
    };
}
pub(crate) use dispatch;

/// Takes the CUDA path where the tensor is on a GPU: `on_gpu!(x => gelu(&x))`, with a function of
/// `crate::cuda`. Without the feature `cuda` there are no such tensors, and nothing is done.
macro_rules! on_gpu {
    ($x:expr => $function:ident($($argument:expr),* $(,)?)) => {
        #[cfg(feature = "cuda")]
        if $x.device().is_cuda() {
            return crate::cuda::$function($($argument),*);
        }
    };
}
pub(crate) use on_gpu;

/// A contiguous tensor's elements, borrowed for as long as the view lives.
pub(crate) struct View<'a, T> {
    guard: RwLockReadGuard<'a, Storage>,
    range: Range<usize>,
    element: PhantomData<T>,
}

impl<T: Elem> Deref for View<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        match &*self.guard {
            Storage::Cpu(storage) => match T::cpu_storage_as_slice(storage) {
                Ok(slice) => &slice[self.range.clone()],
                // `view` has checked the dtype.
                Err(_) => &[],
            },
            _ => &[],
        }
    }
}

/// The elements of a contiguous CPU tensor of dtype `T`.
pub(crate) fn view<'a, T: Elem>(op: &str, tensor: &'a Tensor) -> Result<View<'a, T>> {
    if tensor.dtype() != T::DTYPE {
        candle_core::bail!("{op}: dtype {:?}, expected {:?}", tensor.dtype(), T::DTYPE)
    }
    let (guard, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!(
            "{op}: a contiguous tensor is needed, got strides {:?}",
            layout.stride()
        )
    };
    if !matches!(&*guard, Storage::Cpu(_)) {
        candle_core::bail!("{op}: a tensor on the CPU is needed")
    }
    Ok(View {
        guard,
        range: start..end,
        element: PhantomData,
    })
}

/// The storage of a freshly computed vector.
pub(crate) fn storage<T: Elem>(data: Vec<T>) -> Storage {
    Storage::Cpu(T::to_cpu_storage_owned(data))
}

/// A tensor without a graph over a freshly computed vector.
pub(crate) fn tensor<T: Elem>(data: Vec<T>, shape: impl Into<Shape>) -> Tensor {
    Tensor::from_storage(storage(data), shape, BackpropOp::none(), false)
}

/// A vector of `n` elements for a result that is written in full, without the pass that zeroes it.
///
/// Write every element before anything reads it: what it holds until then is arbitrary (left over
/// from freed memory). In this crate's unit tests it is NaN, so that a gap shows.
pub(crate) fn fresh<T: Elem>(n: usize) -> Vec<T> {
    if cfg!(test) {
        return vec![T::nan(); n];
    }
    // Interpreters have no assembly, other processors have not been tried.
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    return vec![T::zero(); n];
    #[cfg(not(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64")))))]
    {
        let mut data = Vec::<T>::with_capacity(n);
        // SAFETY: the capacity is at least `n`. Uninitialised memory may not be read as a number;
        // the assembly, which to the compiler may write whatever its pointer reaches, turns it
        // into memory of unknown content. `Elem` is implemented for `f32` and `f64` alone, of
        // which every bit pattern is a value, so that a kernel that broke the rule above would
        // compute wrong numbers but would not be undefined.
        unsafe {
            std::arch::asm!(
                "/* {0} */",
                in(reg) data.as_mut_ptr(),
                options(nostack, preserves_flags)
            );
            data.set_len(n);
        }
        data
    }
}

/// A matrix in a slice: `rows` x `cols` elements, `row_stride` and `col_stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct Mat<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) row_stride: usize,
    pub(crate) col_stride: usize,
}

impl<'a, T> Mat<'a, T> {
    /// A dense row-major matrix.
    pub(crate) fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self {
            data,
            rows,
            cols,
            row_stride: cols,
            col_stride: 1,
        }
    }

    /// A matrix whose rows are `row_stride` elements apart.
    pub(crate) fn strided(data: &'a [T], rows: usize, cols: usize, row_stride: usize) -> Self {
        Self {
            data,
            rows,
            cols,
            row_stride,
            col_stride: 1,
        }
    }

    /// The transposed matrix over the same elements.
    pub(crate) fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    pub(crate) fn fits(&self) -> bool {
        self.rows == 0
            || self.cols == 0
            || (self.rows - 1) * self.row_stride + (self.cols - 1) * self.col_stride
                < self.data.len()
    }
}

/// `out = beta * out + alpha * a * b`, with `out` of `a.rows` x `b.cols` elements in rows that are
/// `out_stride` elements apart. `parallel` uses the thread pool; the result does not depend on it.
pub(crate) fn gemm<T: Elem>(
    out: &mut [T],
    out_stride: usize,
    beta: T,
    alpha: T,
    a: Mat<'_, T>,
    b: Mat<'_, T>,
    parallel: bool,
) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    assert_eq!(k, b.rows, "inner sizes of a matrix product");
    assert!(a.fits() && b.fits(), "matrix larger than its slice");
    if m == 0 || n == 0 {
        return;
    }
    assert!((m - 1) * out_stride + n <= out.len() && n <= out_stride.max(n));
    let parallelism = if parallel && m * n * k > 48 * 48 * 256 {
        gemm::Parallelism::Rayon(0)
    } else {
        gemm::Parallelism::None
    };
    // SAFETY: all three matrices have just been checked to lie inside their slices, and `out`
    // is borrowed exclusively, so it cannot alias `a` or `b`.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            out_stride as isize,
            beta != T::zero(),
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            beta,
            alpha,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// A mutable slice that several tasks write at disjoint places.
///
/// Rows of one output often belong to different tasks without being contiguous (a head's columns
/// in a token matrix), which safe splitting cannot express.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a, T> {
    pointer: *mut T,
    len: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: access goes through the unsafe `slice`, whose caller promises disjointness.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self {
            pointer: slice.as_mut_ptr(),
            len: slice.len(),
            lifetime: PhantomData,
        }
    }

    /// The elements of `range`.
    ///
    /// # Safety
    /// No two tasks may touch the same element at the same time. Overlapping ranges are allowed
    /// only where the elements that are read or written are disjoint (strided rows).
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn slice(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: in bounds by the assertion; disjoint by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.add(range.start), range.len()) }
    }
}
