//! Sixteen-bit numbers: every op computes from the rounded inputs in single precision and rounds
//! its result.

use candle_core::{DType, Result, Tensor, Var};
use mic_nn::autograd::backward;
use mic_nn::gradcheck::wave;

use crate::array::Array;
use crate::table::{Op, ops};

/// An op's result, and the gradient of each argument, for arguments of these dtypes.
fn run(op: &Op, rounding: DType, dtypes: &[DType]) -> Result<Vec<Tensor>> {
    let arguments = op.arguments.iter().zip(dtypes).enumerate();
    let vars = arguments
        .map(|(i, (argument, dtype))| {
            let values = wave(&argument.shape(), 1.0, 1.3, 0.2 + i as f64)?;
            Var::from_tensor(&values.to_dtype(rounding)?.to_dtype(*dtype)?)
        })
        .collect::<Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let result = (op.call)(&tensors)?;
    let cotangent = wave(result.dims(), 1.0, 0.7, 0.3)?.to_dtype(rounding)?;
    let product = (&result * cotangent.to_dtype(result.dtype())?)?;
    let grads = backward(&product.sum_all()?)?;
    let gradients = vars.iter().map(|var| match grads.get(var) {
        Some(gradient) => Ok(gradient.clone()),
        // The statistics of a normalisation are constants.
        None => var.zeros_like(),
    });
    std::iter::once(Ok(result)).chain(gradients).collect()
}

/// What differs between a 16-bit run and the rounded results of one in single precision.
fn complaint(op: &Op, half: DType, dtypes: &[DType]) -> Result<Option<String>> {
    let single = run(op, half, &vec![DType::F32; dtypes.len()])?;
    let found = run(op, half, dtypes)?;
    let expected_dtypes = [&dtypes[..1], dtypes].concat();
    for (i, ((found, single), dtype)) in found.iter().zip(&single).zip(expected_dtypes).enumerate()
    {
        let what = match i {
            0 => "result",
            _ => op.arguments[i - 1].name,
        };
        if found.dtype() != dtype {
            return Ok(Some(format!(
                "{what} is {:?}, not {dtype:?}",
                found.dtype()
            )));
        }
        let expected = Array::of(&single.to_dtype(dtype)?)?;
        if Array::of(found)?.data != expected.data {
            return Ok(Some(format!(
                "{what} differs from that in single precision"
            )));
        }
    }
    Ok(None)
}

fn sweep(dtypes: impl Fn(DType, usize) -> Vec<DType>) {
    let mut complaints = Vec::new();
    for op in &ops() {
        for half in [DType::BF16, DType::F16] {
            let dtypes = dtypes(half, op.arguments.len());
            match complaint(op, half, &dtypes) {
                Ok(None) => {}
                Ok(Some(text)) => complaints.push(format!("{} {dtypes:?}: {text}", op.name)),
                Err(error) => complaints.push(format!("{} {dtypes:?}: {error}", op.name)),
            }
        }
    }
    assert!(
        complaints.is_empty(),
        "{}:\n{}",
        complaints.len(),
        complaints.join("\n")
    );
}

#[test]
fn results_and_gradients_are_those_of_single_precision_rounded() {
    sweep(|half, count| vec![half; count]);
}

#[test]
fn parameters_may_be_in_single_precision() {
    sweep(|half, count| {
        let mut dtypes = vec![DType::F32; count];
        dtypes[0] = half;
        dtypes
    });
}
