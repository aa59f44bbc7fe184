use super::*;
use crate::autograd::backward;
use crate::gradcheck::{max_relative_error, wave};
use crate::ops::{add, relu};
use candle_core::{D, DType, Device, Var};

fn naive(x: &Tensor, mean: &Tensor, var: &Tensor, gamma: &Tensor, beta: &Tensor) -> Result<Tensor> {
    let flat = |t: &Tensor| t.reshape((1, t.elem_count(), 1, 1));
    let rstd = (flat(var)? + 1e-5)?.sqrt()?.recip()?;
    x.broadcast_sub(&flat(mean)?)?
        .broadcast_mul(&rstd)?
        .broadcast_mul(&flat(gamma)?)?
        .broadcast_add(&flat(beta)?)
}

fn difference(a: &Tensor, b: &Tensor) -> Result<f64> {
    let d = (a.to_dtype(DType::F64)? - b)?.abs()?.flatten_all()?;
    d.max(D::Minus1)?.to_scalar()
}

#[test]
fn matches_its_definition_and_differences() -> Result<()> {
    for shape in [[2, 5, 3, 7], [1, 3, 40, 37], [3, 2, 1, 1]] {
        let channels = shape[1];
        let x = wave(&shape, 1.5, 1.3, 0.2)?;
        let gamma = (wave(&[channels], 0.5, 1.0, 0.0)? + 1.0)?;
        let beta = wave(&[channels], 0.5, 2.0, 0.0)?;
        let mean = x.mean((0, 2, 3))?;
        let centered = x.broadcast_sub(&mean.reshape((1, channels, 1, 1))?)?;
        let var = centered.sqr()?.mean((0, 2, 3))?;
        let (y, m, v) = batch_norm(&x, &gamma, &beta, 1e-5)?;
        assert!(difference(&m, &mean)? < 1e-13 && difference(&v, &var)? < 1e-13);
        assert!(difference(&y, &naive(&x, &mean, &var, &gamma, &beta)?)? < 1e-12);
        let inputs = [x, gamma, beta];
        let error =
            max_relative_error(
                &inputs,
                40,
                |t| Ok(batch_norm(&t[0], &t[1], &t[2], 1e-5)?.0),
            )?;
        assert!(error < 1e-6, "{shape:?}: {error}");
        let (mean, var) = ((mean + 0.1)?, (var + 0.2)?);
        let [x, gamma, beta] = &inputs;
        let y = batch_norm_eval(x, gamma, beta, &mean, &var, 1e-5)?;
        assert!(difference(&y, &naive(x, &mean, &var, gamma, beta)?)? < 1e-12);
        let error = max_relative_error(&inputs, 40, |t| {
            batch_norm_eval(&t[0], &t[1], &t[2], &mean, &var, 1e-5)
        })?;
        assert!(error < 1e-6, "{shape:?}: {error}");
    }
    Ok(())
}

#[test]
fn statistics_are_accurate_far_from_zero() -> Result<()> {
    let x = (wave(&[2, 1, 300, 400], 1.0, 0.37, 0.0)? + 1000.0)?.to_dtype(DType::F32)?;
    let ones = Tensor::ones(1, DType::F32, &Device::Cpu)?;
    let (_, mean, var) = batch_norm(&x, &ones, &ones, 1e-5)?;
    let exact = x.to_dtype(DType::F64)?;
    let expected = exact.mean_all()?.to_scalar::<f64>()?;
    let variance = (exact - expected)?.sqr()?.mean_all()?.to_scalar::<f64>()?;
    assert!((f64::from(mean.to_vec1::<f32>()?[0]) - expected).abs() < 1e-4);
    assert!((f64::from(var.to_vec1::<f32>()?[0]) - variance).abs() < 1e-6);
    Ok(())
}

#[test]
fn views_work_untracked_inputs_get_nothing_and_errors_are_clear() -> Result<()> {
    let x = wave(&[3, 4, 2, 5], 1.0, 1.3, 0.2)?;
    let one = Tensor::ones(5, DType::F64, &Device::Cpu)?;
    let error = max_relative_error(&[x.clone(), one.clone()], 30, |t| {
        Ok(batch_norm(&t[0].permute((0, 3, 1, 2))?, &t[1], &t[1], 1e-5)?.0)
    })?;
    assert!(error < 1e-6);
    let gamma = Var::from_tensor(&one)?;
    let (y, mean, _) = batch_norm(&x.permute((0, 3, 1, 2))?, &gamma, &one, 1e-5)?;
    assert!(!mean.track_op());
    let grads = backward(&y.sqr()?.sum_all()?)?;
    assert!(grads.get(&gamma).is_some() && grads.get(&x).is_none());
    let single = Tensor::zeros((1, 5, 1, 1), DType::F64, &Device::Cpu)?;
    let message = batch_norm(&single, &one, &one, 1e-5)
        .unwrap_err()
        .to_string();
    assert!(message.contains("at least two"));
    let message = batch_norm(&x, &one, &one, 1e-5).unwrap_err().to_string();
    assert!(message.contains("gamma is [5], expected [4]"));
    Ok(())
}

/// The variants with a rectifier; with a residual where there is a fourth input.
fn fused(t: &[Tensor], given: Option<(&Tensor, &Tensor)>) -> Result<Tensor> {
    let (x, gamma, beta) = (&t[0], &t[1], &t[2]);
    match (t.get(3), given) {
        (None, None) => Ok(batch_norm_relu(x, gamma, beta, 1e-5)?.0),
        (None, Some((m, v))) => batch_norm_relu_eval(x, gamma, beta, m, v, 1e-5),
        (Some(r), None) => Ok(batch_norm_add_relu(x, r, gamma, beta, 1e-5)?.0),
        (Some(r), Some((m, v))) => batch_norm_add_relu_eval(x, r, gamma, beta, m, v, 1e-5),
    }
}

fn apart(t: &[Tensor], given: Option<(&Tensor, &Tensor)>) -> Result<Tensor> {
    let normalized = match given {
        None => batch_norm(&t[0], &t[1], &t[2], 1e-5)?.0,
        Some((m, v)) => batch_norm_eval(&t[0], &t[1], &t[2], m, v, 1e-5)?,
    };
    match t.get(3) {
        Some(residual) => relu(&add(&normalized, residual)?),
        None => relu(&normalized),
    }
}

#[test]
fn fused_variants_are_their_parts() -> Result<()> {
    for shape in [[2, 5, 3, 7], [3, 2, 40, 37], [4, 3, 7, 7]] {
        let channels = shape[1];
        // Whole multiples of an odd step: no value comes close to the corner of the rectifier.
        let x = wave(&shape, 1.5, 1.3, 0.2)?;
        let gamma = (wave(&[channels], 0.5, 1.0, 0.0)? + 1.0)?;
        let beta = wave(&[channels], 0.5, 2.0, 0.0)?;
        let residual = wave(&shape, 1.0, 0.7, 0.5)?;
        let (mean, var) = (wave(&[channels], 0.3, 1.0, 0.4)?, (gamma.sqr()? + 0.1)?);
        for given in [None, Some((&mean, &var))] {
            for inputs in [
                vec![x.clone(), gamma.clone(), beta.clone()],
                vec![x.clone(), gamma.clone(), beta.clone(), residual.clone()],
            ] {
                let vars: Vec<Var> = inputs.iter().map(Var::from_tensor).collect::<Result<_>>()?;
                let tracked: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
                let (ours, parts) = (fused(&tracked, given)?, apart(&tracked, given)?);
                assert!(difference(&ours, &parts)? < 1e-13);
                let weights = wave(&shape, 1.0, 0.9, 0.7)?;
                let gradients = |y: Tensor| backward(&(y * &weights)?.sum_all()?);
                let (ours, parts) = (gradients(ours)?, gradients(parts)?);
                for var in &vars {
                    let [ours, parts] = [&ours, &parts].map(|g| g.get(var).unwrap());
                    assert!(difference(ours, parts)? < 1e-12);
                }
                // Each input alone.
                for (i, var) in vars.iter().enumerate() {
                    let mut one = inputs.clone();
                    one[i] = tracked[i].clone();
                    let alone = gradients(fused(&one, given)?)?;
                    assert_eq!(alone.len(), 1);
                    let expected = parts.get(var).unwrap();
                    assert!(difference(alone.get(var).unwrap(), expected)? < 1e-12);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn fused_gradients_match_differences() -> Result<()> {
    let shape = [2, 3, 4, 5];
    let gamma = (wave(&[3], 0.5, 1.0, 0.0)? + 1.0)?;
    let (x, beta) = (wave(&shape, 1.5, 1.3, 0.2)?, wave(&[3], 0.5, 2.0, 0.0)?);
    let residual = wave(&shape, 1.0, 0.7, 0.5)?;
    let (mean, var) = (wave(&[3], 0.3, 1.0, 0.4)?, (gamma.sqr()? + 0.1)?);
    for given in [None, Some((&mean, &var))] {
        for inputs in [
            vec![x.clone(), gamma.clone(), beta.clone()],
            vec![x.clone(), gamma.clone(), beta.clone(), residual.clone()],
        ] {
            // Differences would be wrong where a step crosses the corner of the rectifier.
            let before = match (inputs.get(3), given) {
                (r, None) => (batch_norm(&x, &gamma, &beta, 1e-5)?.0, r),
                (r, Some((m, v))) => (batch_norm_eval(&x, &gamma, &beta, m, v, 1e-5)?, r),
            };
            let before = before.1.map_or(Ok(before.0.clone()), |r| &before.0 + r)?;
            let closest = before.abs()?.flatten_all()?.min(0)?.to_scalar::<f64>()?;
            assert!(closest > 1e-3, "{closest}");
            let error = max_relative_error(&inputs, 60, |t| fused(t, given))?;
            assert!(error < 1e-6, "{error}");
        }
    }
    Ok(())
}

#[test]
fn a_residual_that_does_not_fit_is_named() -> Result<()> {
    let x = wave(&[3, 4, 2, 5], 1.0, 1.3, 0.2)?;
    let gamma = Tensor::ones(4, DType::F64, &Device::Cpu)?;
    let short = x.narrow(3, 0, 4)?;
    let result = batch_norm_add_relu(&x, &short, &gamma, &gamma, 1e-5);
    assert!(
        result
            .unwrap_err()
            .to_string()
            .contains("residual is [3, 4, 2, 4] F64")
    );
    let single = x.to_dtype(DType::F32)?;
    assert!(batch_norm_add_relu(&x, &single, &gamma, &gamma, 1e-5).is_err());
    Ok(())
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
    let x = wave(&[3, 5, 33, 31], 1.5, 1.3, 0.2)?.to_dtype(DType::F32)?;
    let ones = Tensor::ones(5, DType::F32, &Device::Cpu)?;
    let run = |threads: usize| -> Result<Vec<Vec<f32>>> {
        crate::threads::train_in_pool(Some(threads), || {
            let [x, gamma] = [Var::from_tensor(&x)?, Var::from_tensor(&ones)?];
            let y = batch_norm_relu(&x, &gamma, &ones, 1e-5)?.0;
            let grads = backward(&y.sqr()?.sum_all()?)?;
            let flat = |t: &Tensor| t.flatten_all()?.to_vec1::<f32>();
            [&y, grads.get(&x).unwrap(), grads.get(&gamma).unwrap()]
                .map(flat)
                .into_iter()
                .collect()
        })?
    };
    assert_eq!(run(1)?, run(3)?);
    Ok(())
}
