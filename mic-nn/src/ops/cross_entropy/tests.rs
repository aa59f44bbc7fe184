use super::*;
use crate::autograd::backward;
use crate::gradcheck::{max_relative_error, wave};
use candle_core::{Device, Var};

fn labels(dims: &[usize], classes: u32) -> Result<Tensor> {
    let count: usize = dims.iter().product();
    let values = (0..count as u32).map(|i| {
        if i % 5 == 3 {
            255
        } else {
            (i * 7 / 3 % classes) as u8
        }
    });
    Tensor::from_vec(values.collect::<Vec<u8>>(), dims, &Device::Cpu)
}

#[test]
fn worked_example() -> Result<()> {
    let logits = Tensor::new(&[[2f64, 0.0], [0.0, 1.0]], &Device::Cpu)?;
    let loss = |label: [u8; 2], options: CrossEntropyOptions| -> Result<f64> {
        cross_entropy(&logits, &Tensor::new(&label, &Device::Cpu)?, &options)?.to_scalar()
    };
    let plain = CrossEntropyOptions::default();
    let first = (1.0 + (-2f64).exp()).ln();
    assert!((loss([0, 255], plain.clone())? - first / 2.0).abs() < 1e-12);
    let weight = Some(Tensor::new(&[0.5f64, 1.0], &Device::Cpu)?);
    let weighted = loss(
        [0, 255],
        CrossEntropyOptions {
            weight,
            ..plain.clone()
        },
    )?;
    assert!((weighted - first / 4.0).abs() < 1e-12);
    let class_weight = Some(vec![2.0, 3.0]);
    let balanced = loss(
        [0, 1],
        CrossEntropyOptions {
            class_weight,
            ..plain
        },
    )?;
    let second = (1.0 + (-1f64).exp()).ln();
    assert!((balanced - (2.0 * first + 3.0 * second) / 2.0).abs() < 1e-12);
    Ok(())
}

#[test]
fn gradient_matches_differences() -> Result<()> {
    let label = labels(&[2, 3, 5], 4)?;
    let options = CrossEntropyOptions {
        weight: Some(wave(&[2, 3, 5], 1.0, 0.9, 0.4)?.sqr()?),
        class_weight: Some(vec![0.5, 1.0, 2.0, 1.5]),
        ..Default::default()
    };
    let logits = wave(&[2, 4, 3, 5], 3.0, 1.37, 0.2)?;
    let f = |z: &[Tensor]| cross_entropy(&z[0], &label, &options);
    assert!(max_relative_error(&[logits], 120, f)? < 1e-7);
    let (label, logits) = (labels(&[6], 4)?, wave(&[6, 4], 3.0, 1.37, 0.2)?);
    let f = |z: &[Tensor]| cross_entropy(&z[0], &label, &CrossEntropyOptions::default());
    assert!(max_relative_error(&[logits], 24, f)? < 1e-7);
    Ok(())
}

#[test]
fn single_precision_agrees_across_blocks_and_views() -> Result<()> {
    let logits = wave(&[2, 30, 40, 7], 8.0, 1.37, 0.2)?.permute((0, 3, 1, 2))?;
    let label = labels(&[2, 30, 40], 7)?;
    let options = CrossEntropyOptions::default();
    let grads = |dtype| -> Result<(f64, Tensor)> {
        let z = Var::from_tensor(&logits.to_dtype(dtype)?)?;
        let loss = cross_entropy(&z, &label.to_dtype(DType::U32)?, &options)?;
        let grads = backward(&loss)?;
        let grad = grads.get(&z).unwrap().to_dtype(DType::F64)?;
        Ok((loss.to_dtype(DType::F64)?.to_scalar()?, grad))
    };
    let ((single, d_single), (double, d_double)) = (grads(DType::F32)?, grads(DType::F64)?);
    assert!((single - double).abs() < 1e-5 * double);
    let error = (d_single - d_double)?
        .abs()?
        .max_all()?
        .to_scalar::<f64>()?;
    assert!(error < 1e-9, "{error}");
    Ok(())
}

#[test]
fn nan_is_returned_and_ignored_pixels_are_not_looked_at() -> Result<()> {
    let logits = Var::new(&[[f32::NAN, 0.0], [0.0, 1.0]], &Device::Cpu)?;
    let loss = |label: [u8; 2]| {
        let label = Tensor::new(&label, &Device::Cpu)?;
        cross_entropy(&logits, &label, &CrossEntropyOptions::default())
    };
    assert!(loss([0, 1])?.to_scalar::<f32>()?.is_nan());
    let ignored = loss([255, 1])?;
    assert!(ignored.to_scalar::<f32>()?.is_finite());
    let grads = backward(&ignored)?;
    assert_eq!(grads.get(&logits).unwrap().to_vec2::<f32>()?[0], [0.0, 0.0]);
    Ok(())
}

#[test]
fn misuse_is_named() -> Result<()> {
    let logits = wave(&[2, 4, 3, 5], 3.0, 1.37, 0.2)?;
    let options = CrossEntropyOptions::default();
    let message = |r: Result<Tensor>| r.err().map(|e| e.to_string()).unwrap_or_default();
    let mut label = labels(&[2, 3, 5], 4)?.flatten_all()?.to_vec1::<u8>()?;
    label[15 + 5 + 2] = 9;
    let label = Tensor::from_vec(label, (2, 3, 5), &Device::Cpu)?;
    let text = message(cross_entropy(&logits, &label, &options));
    assert!(text.contains("label 9 at [1, 1, 2]"), "{text}");
    let text = message(cross_entropy(&logits, &label.narrow(0, 0, 1)?, &options));
    assert!(text.contains("need labels [2, 3, 5]"), "{text}");
    let float = label.to_dtype(DType::F32)?;
    assert!(message(cross_entropy(&logits, &float, &options)).contains("U8 or U32"));
    Ok(())
}

#[test]
fn accuracy_counts_ignored_pixels_as_wrong() -> Result<()> {
    let logits = Tensor::new(
        &[[1f32, 0.0], [2.0, 3.0], [0.0, 0.0], [5.0, 1.0]],
        &Device::Cpu,
    )?;
    let label = Tensor::new(&[0u8, 1, 0, 255], &Device::Cpu)?;
    assert_eq!(pixel_accuracy(&logits, &label)?, 75.0);
    Ok(())
}
