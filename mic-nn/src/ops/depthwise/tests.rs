use super::*;
use crate::gradcheck::{max_relative_error, wave};
use crate::ops::conv2d;
use candle_core::{D, DType, Device};

fn options(
    stride: (usize, usize),
    padding: (usize, usize),
    dilation: (usize, usize),
) -> Conv2dOptions {
    Conv2dOptions {
        stride,
        padding,
        dilation,
        groups: 1,
    }
}

#[test]
fn equals_the_grouped_convolution() -> Result<()> {
    for (c, h, w, kh, kw, o) in [
        (5, 4, 6, 3, 3, options((1, 1), (1, 1), (1, 1))),
        (64, 3, 3, 3, 3, options((1, 1), (1, 1), (1, 1))),
        (83, 5, 7, 3, 3, options((2, 2), (1, 1), (1, 1))),
        (300, 6, 9, 3, 2, options((1, 2), (2, 1), (2, 3))),
        (1, 9, 9, 7, 7, options((1, 1), (3, 3), (1, 1))),
        (17, 1, 1, 3, 3, options((1, 1), (1, 1), (1, 1))),
    ] {
        let x = wave(&[2, h, w, c], 1.0, 1.1, 0.4)?;
        let k = wave(&[c, 1, kh, kw], 0.5, 0.9, 0.1)?;
        let b = wave(&[c], 0.3, 2.0, 0.0)?;
        let grouped = Conv2dOptions { groups: c, ..o };
        let run = |x: &Tensor, k: &Tensor, b: &Tensor| depthwise_conv2d_nhwc(x, k, Some(b), &o);
        let expected = conv2d(&x.permute((0, 3, 1, 2))?, &k, Some(&b), &grouped)?;
        let expected = expected.permute((0, 2, 3, 1))?;
        let y = run(&x, &k, &b)?;
        let difference = |a: &Tensor| -> Result<f64> {
            let d = (a - &expected)?.abs()?.flatten_all()?;
            d.max(D::Minus1)?.to_scalar()
        };
        assert!(difference(&y)? < 1e-12);
        let f32s = [&x, &k, &b].map(|t| t.to_dtype(DType::F32).unwrap());
        let single = run(&f32s[0], &f32s[1], &f32s[2])?.to_dtype(DType::F64)?;
        assert!(difference(&single)? < 1e-5);
        let error = max_relative_error(&[x, k, b], 40, |t| run(&t[0], &t[1], &t[2]))?;
        assert!(error < 1e-6, "{o:?}: {error}");
    }
    Ok(())
}

#[test]
fn views_work_and_errors_are_clear() -> Result<()> {
    let o = options((1, 1), (1, 1), (1, 1));
    let x = wave(&[2, 4, 3, 5], 1.0, 1.1, 0.4)?;
    let k = wave(&[4, 1, 3, 3], 1.0, 0.9, 0.1)?;
    let error = max_relative_error(&[x.clone(), k.clone()], 20, |t| {
        depthwise_conv2d_nhwc(&t[0].permute((0, 2, 3, 1))?, &t[1], None, &o)
    })?;
    assert!(error < 1e-6);
    let wrong = depthwise_conv2d_nhwc(&x, &k, None, &o).unwrap_err();
    assert!(wrong.to_string().contains("(5, 1, kh, kw)"), "{wrong}");
    let empty = Tensor::zeros((0, 4, 4, 4), DType::F64, &Device::Cpu)?;
    assert!(depthwise_conv2d_nhwc(&empty, &k, None, &o).is_err());
    Ok(())
}
