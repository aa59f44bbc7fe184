//! Runs an op and its reference on the same arguments.

use std::panic::{AssertUnwindSafe, catch_unwind};

use candle_core::{DType, Result, Tensor};
use mic_nn::autograd::backward;
use mic_nn::gradcheck::wave;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::array::Array;
use crate::inputs::Input;

/// Elements of each argument that are moved for central differences.
const PROBES: usize = 3;

/// An op under test.
type Computes<'a> = Box<dyn Fn(&[Tensor]) -> Result<Tensor> + 'a>;
/// What it should compute.
type Expects<'a> = Box<dyn Fn(&[Array]) -> Array + 'a>;

/// An op with its arguments, and the formula it must agree with.
pub(crate) struct Case<'a> {
    /// Options, for messages.
    pub(crate) options: String,
    pub(crate) inputs: Vec<Input>,
    pub(crate) op: Computes<'a>,
    pub(crate) reference: Expects<'a>,
    /// Whether NaN may also appear where it meets a factor of 0 that the reference leaves out.
    nan_spreads: bool,
}

impl<'a> Case<'a> {
    pub(crate) fn new(
        options: impl Into<String>,
        inputs: Vec<Input>,
        op: impl Fn(&[Tensor]) -> Result<Tensor> + 'a,
        reference: impl Fn(&[Array]) -> Array + 'a,
    ) -> Self {
        Self {
            options: options.into(),
            inputs,
            op: Box::new(op),
            reference: Box::new(reference),
            nan_spreads: false,
        }
    }

    /// Allows products of 0 and NaN either way: padding and weights of 0 may be left out.
    pub(crate) fn nan_spreads(self) -> Self {
        Self {
            nan_spreads: true,
            ..self
        }
    }
}

/// How far results may lie from the reference, relative to the largest magnitude.
#[derive(Clone, Copy)]
pub(crate) struct Tolerance {
    pub(crate) single: f64,
    pub(crate) double: f64,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self {
            single: 1e-5,
            double: 1e-12,
        }
    }
}

/// Draws and checks `count` cases of the op called `name`.
pub(crate) fn check<'a>(
    name: &str,
    count: u64,
    tolerance: Tolerance,
    draw: impl Fn(&mut ChaCha8Rng) -> Case<'a>,
) {
    let mut failures = Vec::new();
    for seed in 0..count {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let case = draw(&mut rng);
        let run = || -> std::result::Result<(), String> {
            agrees(&case, tolerance, &mut rng)?;
            carries_nan(&case, &mut rng)
        };
        let outcome = catch_unwind(AssertUnwindSafe(run));
        let failure = match outcome {
            Ok(Ok(())) => continue,
            Ok(Err(message)) => message,
            Err(_) => "panicked (see above)".to_string(),
        };
        let inputs: Vec<String> = case.inputs.iter().map(Input::to_string).collect();
        failures.push(format!(
            "{name}, seed {seed}, {} ({}): {failure}",
            case.options,
            inputs.join("; ")
        ));
    }
    assert!(
        failures.is_empty(),
        "{} of {count} cases:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// The op's result and the gradients of `<result, cotangent>`, by argument.
struct Ran {
    result: Array,
    gradients: Vec<Option<Array>>,
}

fn run(case: &Case<'_>, dtype: DType) -> std::result::Result<Ran, String> {
    let go = || -> Result<Ran> {
        let pairs = case
            .inputs
            .iter()
            .map(|input| input.tensors(dtype))
            .collect::<Result<Vec<_>>>()?;
        let (dense, views): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let result = (case.op)(&views)?;
        if result.dtype() != dtype {
            candle_core::bail!("the result is {:?}", result.dtype())
        }
        let mut gradients = vec![None; case.inputs.len()];
        if case.inputs.iter().any(|input| input.tracked) {
            let cotangent = cotangent(result.dims())?.to_dtype(dtype)?;
            let grads = backward(&(&result * cotangent)?.sum_all()?)?;
            for ((input, dense), gradient) in case.inputs.iter().zip(&dense).zip(&mut gradients) {
                if !input.tracked {
                    continue;
                }
                let Some(found) = grads.get(dense) else {
                    candle_core::bail!("{} got no gradient", input.name)
                };
                if (found.dims(), found.dtype()) != (dense.dims(), dtype) {
                    candle_core::bail!(
                        "{}'s gradient is {:?} {:?}",
                        input.name,
                        found.dims(),
                        found.dtype()
                    )
                }
                *gradient = Some(Array::of(found)?);
            }
        }
        Ok(Ran {
            result: Array::of(&result)?,
            gradients,
        })
    };
    go().map_err(|error| format!("{dtype:?}: {error}"))
}

fn cotangent(dims: &[usize]) -> Result<Tensor> {
    // Rounded, so that both precisions see the same numbers.
    wave(dims, 1.0, 0.7, 0.3)?
        .to_dtype(DType::F32)?
        .to_dtype(DType::F64)
}

fn reference(case: &Case<'_>, inputs: &[Input]) -> Array {
    let arrays: Vec<Array> = inputs
        .iter()
        .map(|input| Array::of(&input.tensors(DType::F64).unwrap().1).unwrap())
        .collect();
    (case.reference)(&arrays)
}

/// Forward and gradients in both precisions.
fn agrees(
    case: &Case<'_>,
    tolerance: Tolerance,
    rng: &mut ChaCha8Rng,
) -> std::result::Result<(), String> {
    let expected = reference(case, &case.inputs);
    let double = run(case, DType::F64)?;
    close(
        "F64 result",
        &double.result,
        &expected,
        tolerance.double,
        1e-3,
    )?;
    let single = run(case, DType::F32)?;
    close(
        "F32 result",
        &single.result,
        &expected,
        tolerance.single,
        1e-3,
    )?;
    for (index, input) in case.inputs.iter().enumerate() {
        let (Some(double), Some(single)) = (&double.gradients[index], &single.gradients[index])
        else {
            continue;
        };
        for _ in 0..PROBES.min(input.values.len()) {
            let place = rng.random_range(0..input.values.len());
            differences(case, index, place, double)?;
        }
        let what = format!("F32 gradient of {}", input.name);
        // Small gradients are sums of terms of the order of 1, one for each view of an element.
        let floor = 0.2 * (input.len() / input.values.len()).max(1) as f64;
        close(&what, single, double, 4.0 * tolerance.single, floor)?;
    }
    Ok(())
}

fn close(
    what: &str,
    found: &Array,
    expected: &Array,
    tolerance: f64,
    floor: f64,
) -> std::result::Result<(), String> {
    if found.dims != expected.dims {
        return Err(format!("{what} {:?}, not {:?}", found.dims, expected.dims));
    }
    // Below the floor only absolute differences count.
    let limit = tolerance * expected.scale().max(floor);
    let pairs = found.data.iter().zip(&expected.data).enumerate();
    for (place, (found, expected)) in pairs {
        let equal = found == expected || (found - expected).abs() <= limit;
        if !equal {
            return Err(format!(
                "{what} at flat index {place} is {found}, expected {expected} to {limit:e}"
            ));
        }
    }
    Ok(())
}

/// One element of a gradient against central differences of the reference.
fn differences(
    case: &Case<'_>,
    index: usize,
    place: usize,
    gradient: &Array,
) -> std::result::Result<(), String> {
    let step = 1e-5;
    let objective = |delta: f64| {
        let mut inputs = case.inputs.clone();
        inputs[index].values[place] += delta;
        let result = reference(case, &inputs);
        let cotangent = Array::of(&cotangent(&result.dims).unwrap()).unwrap();
        let products = result.data.iter().zip(&cotangent.data).map(|(r, c)| r * c);
        products.sum::<f64>()
    };
    let expected = (objective(step) - objective(-step)) / (2.0 * step);
    let found = gradient.data[place];
    // Differences of sums of many elements carry their rounding.
    if (found - expected).abs() <= 1e-6 * gradient.scale().max(1.0) {
        return Ok(());
    }
    Err(format!(
        "gradient of {} at flat index {place} is {found}, differences give {expected}",
        case.inputs[index].name
    ))
}

/// With NaN in one place of one argument, the result is NaN exactly where the formula's is, or
/// the op refuses.
fn carries_nan(case: &Case<'_>, rng: &mut ChaCha8Rng) -> std::result::Result<(), String> {
    let mut inputs = case.inputs.clone();
    let index = rng.random_range(0..inputs.len());
    let place = rng.random_range(0..inputs[index].values.len());
    inputs[index].values[place] = f64::NAN;
    let expected = reference(case, &inputs);
    for dtype in [DType::F32, DType::F64] {
        let views = inputs.iter().map(|i| i.tensors(dtype).unwrap().1);
        let Ok(result) = (case.op)(&views.collect::<Vec<_>>()) else {
            continue;
        };
        let result = Array::of(&result).unwrap();
        let mut pairs = result.data.iter().zip(&expected.data);
        let wrong = |(r, e): (&f64, &f64)| match r.is_nan() {
            true => !e.is_nan() && !case.nan_spreads,
            false => e.is_nan(),
        };
        if let Some(wrong) = pairs.position(wrong) {
            return Err(format!(
                "NaN at {place} of {}: the {dtype:?} result at flat index {wrong} is {}, \
                 expected {}",
                inputs[index].name, result.data[wrong], expected.data[wrong]
            ));
        }
    }
    Ok(())
}
