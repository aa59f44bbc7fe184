use super::*;
use crate::gradcheck::{max_relative_error, wave};
use candle_core::{D, DType, Device};

fn row(values: &[f32], to: usize, align: bool) -> Result<Vec<f32>> {
    let x = Tensor::new(values, &Device::Cpu)?.reshape((1, 1, 1, values.len()))?;
    resize_bilinear(&x, (1, to), align)?
        .flatten_all()?
        .to_vec1()
}

#[test]
fn known_rows() -> Result<()> {
    assert_eq!(row(&[0., 1.], 4, false)?, [0., 0.25, 0.75, 1.]);
    assert_eq!(row(&[0., 1., 5., 9.], 2, false)?, [0.5, 7.]);
    let expected = [0., 0.1428571, 0.5714286, 1., 1.4285715, 1.8571429, 2.];
    for (a, b) in row(&[0., 1., 2.], 7, false)?.iter().zip(expected) {
        assert!((a - b).abs() < 2e-7, "{a} {b}");
    }
    assert_eq!(row(&[0., 1., 2.], 5, true)?, [0., 0.5, 1., 1.5, 2.]);
    assert_eq!(row(&[3., 1., 2.], 1, true)?, [3.]);
    assert_eq!(
        row(&[0., 0., 0.5, 0.5, 0., 0.], 12, false)?,
        [0., 0., 0., 0.125, 0.375, 0.5, 0.5, 0.375, 0.125, 0., 0., 0.]
    );
    Ok(())
}

fn naive(x: &Tensor, (oh, ow): (usize, usize), align: bool) -> Result<Tensor> {
    let (b, c, h, w) = x.dims4()?;
    let values = x.flatten_all()?.to_vec1::<f64>()?;
    let place = |o: usize, n: usize, m: usize| {
        let source = match (align, m) {
            (true, 1) => 0.0,
            (true, _) => o as f64 * (n - 1) as f64 / (m - 1) as f64,
            _ => ((o as f64 + 0.5) * n as f64 / m as f64 - 0.5).max(0.0),
        };
        let i = (source + 1e-12).floor();
        (i as usize, (i as usize + 1).min(n - 1), source - i)
    };
    let mut out = Vec::new();
    for plane in values.chunks(h * w) {
        for oy in 0..oh {
            let (y0, y1, wy) = place(oy, h, oh);
            for ox in 0..ow {
                let (x0, x1, wx) = place(ox, w, ow);
                let top = plane[y0 * w + x0] * (1. - wx) + plane[y0 * w + x1] * wx;
                let bottom = plane[y1 * w + x0] * (1. - wx) + plane[y1 * w + x1] * wx;
                out.push(top * (1. - wy) + bottom * wy);
            }
        }
    }
    Tensor::from_vec(out, (b, c, oh, ow), &Device::Cpu)
}

#[test]
fn bilinear_matches_its_definition_and_differences() -> Result<()> {
    for (h, w, size) in [
        (3, 5, (12, 20)),
        (4, 6, (2, 3)),
        (7, 5, (3, 9)),
        (5, 9, (2, 2)),
        (1, 1, (4, 3)),
        (30, 4, (150, 7)),
        (200, 3, (100, 1)),
        (6, 6, (6, 13)),
        (16, 9, (1, 1)),
    ] {
        for align in [false, true] {
            let x = wave(&[2, 3, h, w], 1.0, 1.3, 0.2)?;
            let y = resize_bilinear(&x, size, align)?;
            let d = |y: &Tensor| -> Result<f64> {
                let d = (y - naive(&x, size, align)?)?.abs()?.flatten_all()?;
                d.max(D::Minus1)?.to_scalar()
            };
            assert!(d(&y)? < 1e-12, "{size:?}");
            let single = resize_bilinear(&x.to_dtype(DType::F32)?, size, align)?;
            // Positions up to 200 in single precision, times the slope of the wave.
            assert!(d(&single.to_dtype(DType::F64)?)? < 1e-4, "{size:?}");
            let error = max_relative_error(&[x], 60, |t| resize_bilinear(&t[0], size, align))?;
            assert!(error < 1e-6, "{size:?}: {error}");
        }
    }
    Ok(())
}

#[test]
fn nearest_takes_the_floor() -> Result<()> {
    let x = Tensor::arange(0f64, 5., &Device::Cpu)?.reshape((1, 1, 1, 5))?;
    let y = resize_nearest(&x, (2, 8))?
        .flatten_all()?
        .to_vec1::<f64>()?;
    assert_eq!(
        y,
        [
            0., 0., 1., 1., 2., 3., 3., 4., 0., 0., 1., 1., 2., 3., 3., 4.
        ]
    );
    let y = resize_nearest(&x, (1, 2))?
        .flatten_all()?
        .to_vec1::<f64>()?;
    assert_eq!(y, [0., 2.]);
    for size in [(3, 11), (9, 2), (14, 14)] {
        let x = wave(&[1, 2, 7, 6], 1.0, 1.3, 0.2)?;
        assert!(max_relative_error(&[x], 84, |t| resize_nearest(&t[0], size))? < 1e-6);
    }
    Ok(())
}

#[test]
fn same_size_views_and_errors() -> Result<()> {
    let x = wave(&[2, 4, 3, 5], 1.0, 1.3, 0.2)?;
    assert_eq!(resize_bilinear(&x, (3, 5), true)?.id(), x.id());
    assert_eq!(resize_nearest(&x, (3, 5))?.id(), x.id());
    for nearest in [false, true] {
        let error = max_relative_error(std::slice::from_ref(&x), 120, |t| {
            let view = t[0].permute((0, 3, 1, 2))?.narrow(1, 1, 3)?;
            match nearest {
                true => resize_nearest(&view, (9, 4)),
                false => resize_bilinear(&view, (9, 4), false),
            }
        })?;
        assert!(error < 1e-6);
    }
    let message = resize_bilinear(&x, (0, 4), false).unwrap_err().to_string();
    assert!(message.contains("non-empty"));
    assert!(resize_nearest(&x.flatten_all()?, (2, 2)).is_err());
    Ok(())
}
