//! Misuse of every op: an error that names the op, never a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};

use candle_core::{DType, Result, Tensor, Var};
use mic_nn::autograd::backward;
use mic_nn::gradcheck::wave;

use crate::table::{Argument, Op, ops};

/// What a call must do.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expected {
    Result,
    Error,
    /// Either, as long as it does not panic.
    Any,
}

fn tensors(shapes: &[Vec<usize>], dtypes: &[DType]) -> Result<Vec<Tensor>> {
    let pairs = shapes.iter().zip(dtypes).enumerate();
    let tensor = |(i, (shape, dtype)): (usize, (&Vec<usize>, &DType))| {
        let values = wave(shape, 1.0, 1.3, 0.2 + i as f64)?.to_dtype(*dtype)?;
        Ok(match dtype.is_float() {
            true => Var::from_tensor(&values)?.into_inner(),
            false => values,
        })
    };
    pairs.map(tensor).collect()
}

/// Calls an op forward and backward; what is wrong, if something is.
fn complaint(
    op: &Op,
    shapes: &[Vec<usize>],
    dtypes: &[DType],
    expected: Expected,
) -> Option<String> {
    let tensors = tensors(shapes, dtypes).unwrap();
    let run = || -> Result<()> {
        let result = (op.call)(&tensors)?;
        backward(&result.sum_all()?).map(|_| ())
    };
    let found = match catch_unwind(AssertUnwindSafe(run)) {
        Err(_) => "panicked".to_string(),
        Ok(Ok(())) if expected == Expected::Error => "gave a result".to_string(),
        Ok(Err(error)) if expected == Expected::Result => format!("failed: {error}"),
        // A backtrace may follow the first line.
        Ok(Err(error)) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            if first.contains(op.name) {
                return None;
            }
            format!("did not name itself: {first}")
        }
        _ => return None,
    };
    Some(format!("{} with {shapes:?} {dtypes:?} {found}", op.name))
}

/// Checks every op on what `variants` makes of its arguments.
fn sweep(variants: impl Fn(&Op) -> Vec<(Vec<Vec<usize>>, Vec<DType>, Expected)>) {
    let complaints: Vec<String> = ops()
        .iter()
        .flat_map(|op| {
            let all = variants(op).into_iter();
            all.filter_map(|(shapes, dtypes, expected)| complaint(op, &shapes, &dtypes, expected))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(
        complaints.is_empty(),
        "{}:\n{}",
        complaints.len(),
        complaints.join("\n")
    );
}

fn shapes(arguments: &[Argument]) -> Vec<Vec<usize>> {
    arguments.iter().map(Argument::shape).collect()
}

#[test]
fn every_op_takes_its_own_shapes() {
    sweep(|op| {
        [DType::F32, DType::F64]
            .map(|dtype| {
                let dtypes = vec![dtype; op.arguments.len()];
                (shapes(&op.arguments), dtypes, Expected::Result)
            })
            .to_vec()
    });
}

#[test]
fn a_size_that_does_not_fit_is_an_error() {
    sweep(|op| {
        let mut all = Vec::new();
        for (i, argument) in op.arguments.iter().enumerate() {
            for (d, (letter, _)) in argument.dims.iter().enumerate() {
                let mut shapes = shapes(&op.arguments);
                shapes[i][d] += 1;
                let others = op.arguments.iter().enumerate();
                let shared = others
                    .filter(|(j, _)| *j != i)
                    .any(|(_, other)| other.dims.iter().any(|(l, _)| l == letter));
                let expected = match shared || letter.is_ascii_uppercase() {
                    true => Expected::Error,
                    false => Expected::Result,
                };
                all.push((shapes, vec![DType::F32; op.arguments.len()], expected));
            }
        }
        all
    });
}

#[test]
fn another_number_of_dimensions_does_not_panic() {
    sweep(|op| {
        let mut all = Vec::new();
        for i in 0..op.arguments.len() {
            for change in [
                |s: &mut Vec<usize>| s.insert(0, 1),
                |s: &mut Vec<usize>| {
                    s.remove(0);
                },
                |s: &mut Vec<usize>| s.clear(),
            ] {
                let mut shapes = shapes(&op.arguments);
                change(&mut shapes[i]);
                all.push((shapes, vec![DType::F32; op.arguments.len()], Expected::Any));
            }
        }
        all
    });
}

#[test]
fn empty_tensors_do_not_panic() {
    sweep(|op| {
        let letters = op.arguments.iter().flat_map(|a| &a.dims);
        let empty = |(letter, _): &(char, usize)| {
            let mut arguments = op.arguments.clone();
            let dims = arguments.iter_mut().flat_map(|a| &mut a.dims);
            dims.filter(|(l, _)| l == letter)
                .for_each(|(_, size)| *size = 0);
            (
                shapes(&arguments),
                vec![DType::F32; arguments.len()],
                Expected::Any,
            )
        };
        letters.map(empty).collect()
    });
}

#[test]
fn other_and_differing_dtypes_are_errors() {
    sweep(|op| {
        let mut all = Vec::new();
        for i in 0..op.arguments.len() {
            for (own, others) in [
                (DType::U8, DType::F32),
                (DType::I64, DType::F64),
                (DType::F64, DType::F32),
                (DType::F32, DType::F64),
            ] {
                let mut dtypes = vec![others; op.arguments.len()];
                dtypes[i] = own;
                let single = own.is_float() && op.arguments.len() == 1;
                // It moves numbers of any kind.
                if op.name == "index_select" && !own.is_float() {
                    continue;
                }
                let expected = if single {
                    Expected::Result
                } else {
                    Expected::Error
                };
                all.push((shapes(&op.arguments), dtypes, expected));
            }
        }
        all
    });
}
