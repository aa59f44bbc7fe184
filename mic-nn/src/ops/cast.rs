//! Changing the precision of floating-point tensors.

use candle_core::{CpuStorage, DType, Result, Storage, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;

use super::attach::attach;

const OP: &str = "cast";
/// Elements a task handles.
const CHUNK: usize = 1 << 14;

/// `x` with the floating-point dtype `dtype`, rounded to nearest even. The gradient is cast back.
///
/// # Errors
/// When one of the two dtypes is not BF16, F16, F32 or F64.
pub fn cast(x: &Tensor, dtype: DType) -> Result<Tensor> {
    let from = x.dtype();
    for dtype in [from, dtype] {
        if !matches!(dtype, DType::BF16 | DType::F16 | DType::F32 | DType::F64) {
            candle_core::bail!("{OP}: {dtype:?} is not one of BF16, F16, F32 and F64")
        }
    }
    if from == dtype {
        return Ok(x.clone());
    }
    let x = x.contiguous()?;
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return crate::cuda::cast(&x, dtype);
    }
    let storage = {
        let (guard, layout) = x.storage_and_layout();
        let Storage::Cpu(source) = &*guard else {
            candle_core::bail!("{OP}: a tensor on the CPU is needed")
        };
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("{OP}: a contiguous tensor is needed")
        };
        Storage::Cpu(converted(source, start..end, dtype)?)
    };
    attach(OP, [&x], storage, x.shape(), move |grad| {
        Ok([Some(cast(grad, from)?)])
    })
}

/// Makes an op of 16-bit numbers one of single precision, as the first line of its function:
/// `in_single!([x, gamma, beta] => layer_norm(x, gamma, beta, eps))`.
///
/// Where the first tensor has 16 bits, the call is made with all of the named tensors in single
/// precision (those after a semicolon are optional), and its result, rounded to the first one's
/// dtype, is returned. Sums and exponentials are thus computed as PyTorch's CPU kernels do, and
/// parameters may be in single precision.
macro_rules! in_single {
    ([$x:ident $(, $more:ident)* $(; $option:ident)?] => $call:expr) => {
        if $crate::ops::cast::is_half($x) {
            let dtype = $x.dtype();
            let $x = &$crate::ops::cast::single($x)?;
            $(let $more = &$crate::ops::cast::single($more)?;)*
            $(let $option = $option.map($crate::ops::cast::single).transpose()?;
            let $option = $option.as_ref();)?
            return $crate::ops::cast::cast(&$call?, dtype);
        }
    };
}
pub(crate) use in_single;

/// Whether `x` has 16 bits.
pub(crate) fn is_half(x: &Tensor) -> bool {
    matches!(x.dtype(), DType::BF16 | DType::F16)
}

/// `x` in single precision where it has 16 bits.
pub(crate) fn single(x: &Tensor) -> Result<Tensor> {
    match x.dtype() {
        DType::BF16 | DType::F16 => cast(x, DType::F32),
        _ => Ok(x.clone()),
    }
}

fn converted(
    source: &CpuStorage,
    range: std::ops::Range<usize>,
    dtype: DType,
) -> Result<CpuStorage> {
    fn map<S: Copy + Sync, T: Default + Copy + Send>(s: &[S], f: fn(S) -> T) -> Vec<T> {
        let mut out = vec![T::default(); s.len()];
        let pairs = out.par_chunks_mut(CHUNK).zip(s.par_chunks(CHUNK));
        pairs.for_each(|(out, s)| out.iter_mut().zip(s).for_each(|(o, &s)| *o = f(s)));
        out
    }
    use CpuStorage as C;
    Ok(match (source, dtype) {
        (C::BF16(s), DType::F32) => C::F32(map(&s[range], bf16::to_f32)),
        (C::F16(s), DType::F32) => C::F32(map(&s[range], f16::to_f32)),
        (C::F64(s), DType::F32) => C::F32(map(&s[range], |v| v as f32)),
        (C::BF16(s), DType::F64) => C::F64(map(&s[range], bf16::to_f64)),
        (C::F16(s), DType::F64) => C::F64(map(&s[range], f16::to_f64)),
        (C::F32(s), DType::F64) => C::F64(map(&s[range], f64::from)),
        (C::F32(s), DType::BF16) => C::BF16(map(&s[range], bf16::from_f32)),
        (C::F64(s), DType::BF16) => C::BF16(map(&s[range], bf16::from_f64)),
        (C::F16(s), DType::BF16) => C::BF16(map(&s[range], |v| bf16::from_f32(v.to_f32()))),
        (C::F32(s), DType::F16) => C::F16(map(&s[range], f16::from_f32)),
        (C::F64(s), DType::F16) => C::F16(map(&s[range], f16::from_f64)),
        (C::BF16(s), DType::F16) => C::F16(map(&s[range], |v| f16::from_f32(v.to_f32()))),
        _ => candle_core::bail!("{OP}: no conversion to {dtype:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autograd::backward;
    use crate::gradcheck::wave;
    use candle_core::{Device, Var};

    #[test]
    fn agrees_with_candle_for_every_pair() -> Result<()> {
        let all = [DType::BF16, DType::F16, DType::F32, DType::F64];
        let x = wave(&[3, 7], 100.0, 1.3, 0.2)?;
        for from in all {
            let x = x.to_dtype(from)?.t()?;
            for to in all {
                let (got, want) = (cast(&x, to)?, x.to_dtype(to)?);
                assert_eq!((got.dtype(), got.dims()), (to, want.dims()));
                let bits = |t: Tensor| t.to_dtype(DType::F64)?.to_vec2::<f64>();
                assert_eq!(bits(got)?, bits(want)?, "{from:?} to {to:?}");
            }
        }
        let index = Tensor::zeros(3, DType::U32, &Device::Cpu)?;
        assert!(
            cast(&index, DType::F32)
                .unwrap_err()
                .to_string()
                .contains("U32")
        );
        Ok(())
    }

    #[test]
    fn the_gradient_comes_back_in_the_variables_dtype() -> Result<()> {
        let x = Var::new(&[1f32, 2.0], &Device::Cpu)?;
        let y = cast(&x, DType::BF16)?;
        let grads = backward(&(y * 3.0)?.sum_all()?)?;
        assert_eq!(grads.get(&x).unwrap().to_vec1::<f32>()?, [3.0, 3.0]);
        Ok(())
    }
}
