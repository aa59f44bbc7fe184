//! Compares an op's gradient with central differences, in double precision.

use crate::autograd::backward;
use candle_core::{DType, Device, Result, Tensor, Var};

/// Deterministic test values of a shape: `scale * sin(frequency * i + phase)`, F64.
pub fn wave(shape: &[usize], scale: f64, frequency: f64, phase: f64) -> Result<Tensor> {
    let count: usize = shape.iter().product();
    let values: Vec<f64> = (0..count)
        .map(|i| scale * (frequency * i as f64 + phase).sin())
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// The largest difference between the gradient of `<f(inputs), cotangent>` and central
/// differences, relative to the largest gradient magnitude of the input concerned.
///
/// `inputs` are F64 tensors; every one of them must get a gradient. At most `probes` elements of
/// each input are perturbed, spread evenly.
///
/// # Errors
/// When an input gets no gradient at all, or a gradient of another shape.
pub fn max_relative_error(
    inputs: &[Tensor],
    probes: usize,
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<f64> {
    let vars = inputs
        .iter()
        .map(|t| Var::from_tensor(&t.to_dtype(DType::F64)?))
        .collect::<Result<Vec<_>>>()?;
    let tracked: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let output = f(&tracked)?;
    let cotangent = wave(output.dims(), 1.0, 0.7, 0.3)?;
    let objective = |out: &Tensor| (out * &cotangent)?.sum_all();
    let grads = backward(&objective(&output)?)?;
    let mut worst = 0f64;
    for (index, var) in vars.iter().enumerate() {
        let Some(grad) = grads.get(var) else {
            candle_core::bail!("input {index} got no gradient")
        };
        if grad.dims() != var.dims() {
            candle_core::bail!(
                "input {index} has shape {:?}, its gradient {:?}",
                var.dims(),
                grad.dims()
            )
        }
        let analytic = grad.flatten_all()?.to_vec1::<f64>()?;
        let base = var.flatten_all()?.to_vec1::<f64>()?;
        let scale = analytic.iter().fold(1e-6f64, |m, g| m.max(g.abs()));
        let stride = (base.len() / probes.max(1)).max(1);
        for i in (0..base.len()).step_by(stride) {
            let step = 1e-5 * base[i].abs().max(1.0);
            let value = |delta: f64| -> Result<f64> {
                let mut moved = base.clone();
                moved[i] += delta;
                let mut all: Vec<Tensor> = tracked.iter().map(Tensor::detach).collect();
                all[index] = Tensor::from_vec(moved, var.dims(), &Device::Cpu)?;
                objective(&f(&all)?)?.to_scalar::<f64>()
            };
            let numeric = (value(step)? - value(-step)?) / (2.0 * step);
            worst = worst.max((numeric - analytic[i]).abs() / scale);
        }
    }
    Ok(worst)
}
