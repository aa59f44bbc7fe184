use super::*;
use crate::autograd::backward;
use crate::gradcheck::{max_relative_error, wave};
use candle_core::{D, DType, Device};

/// (batch, cin, h, w, cout, kh, kw, options)
type Case = (
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    Conv2dOptions,
);

fn options(
    stride: (usize, usize),
    padding: (usize, usize),
    dilation: (usize, usize),
    groups: usize,
) -> Conv2dOptions {
    Conv2dOptions {
        stride,
        padding,
        dilation,
        groups,
    }
}

fn cases() -> Vec<Case> {
    vec![
        (2, 3, 6, 5, 4, 1, 1, Conv2dOptions::default()),
        (1, 2, 20, 31, 3, 1, 1, Conv2dOptions::default()),
        (2, 4, 7, 8, 6, 3, 3, options((1, 1), (1, 1), (1, 1), 1)),
        (2, 3, 8, 7, 4, 3, 3, options((2, 2), (1, 1), (1, 1), 1)),
        (1, 3, 23, 19, 5, 7, 7, options((4, 4), (3, 3), (1, 1), 1)),
        (2, 4, 9, 10, 6, 3, 2, options((1, 2), (2, 0), (2, 3), 2)),
        (1, 2, 8, 12, 3, 4, 4, options((4, 4), (0, 0), (1, 1), 1)),
        (2, 3, 5, 6, 3, 3, 3, options((1, 1), (3, 3), (1, 1), 1)),
        (3, 2, 24, 24, 2, 3, 3, options((1, 1), (6, 6), (6, 6), 1)),
        (2, 5, 6, 9, 5, 3, 3, options((1, 1), (1, 1), (1, 1), 5)),
        (2, 3, 9, 40, 3, 3, 3, options((1, 1), (2, 2), (2, 2), 3)),
        (1, 3, 9, 8, 3, 5, 3, options((2, 3), (2, 1), (1, 2), 3)),
        (1, 3, 4, 4, 6, 3, 3, options((2, 1), (1, 1), (1, 1), 3)),
        (2, 2, 3, 3, 2, 1, 1, options((2, 2), (1, 1), (1, 1), 1)),
    ]
}

fn naive(x: &Tensor, w: &Tensor, b: &Tensor, o: &Conv2dOptions) -> Result<Tensor> {
    let (batch, _, h, width) = x.dims4()?;
    let (cout, cin, kh, kw) = w.dims4()?;
    let oh = (h + 2 * o.padding.0 - o.dilation.0 * (kh - 1) - 1) / o.stride.0 + 1;
    let ow = (width + 2 * o.padding.1 - o.dilation.1 * (kw - 1) - 1) / o.stride.1 + 1;
    let (xs, ws) = (
        x.flatten_all()?.to_vec1::<f64>()?,
        w.flatten_all()?.to_vec1::<f64>()?,
    );
    let bs = b.to_vec1::<f64>()?;
    let mut out = Vec::new();
    for n in 0..batch {
        for co in 0..cout {
            let group = co / (cout / o.groups);
            for (oy, ox) in (0..oh).flat_map(|y| (0..ow).map(move |x| (y, x))) {
                let mut sum = bs[co];
                for (ci, ky, kx) in (0..cin)
                    .flat_map(|c| (0..kh).flat_map(move |y| (0..kw).map(move |x| (c, y, x))))
                {
                    let y = (oy * o.stride.0 + ky * o.dilation.0).wrapping_sub(o.padding.0);
                    let x = (ox * o.stride.1 + kx * o.dilation.1).wrapping_sub(o.padding.1);
                    if y < h && x < width {
                        let plane = n * cin * o.groups + group * cin + ci;
                        sum += xs[(plane * h + y) * width + x]
                            * ws[((co * cin + ci) * kh + ky) * kw + kx];
                    }
                }
                out.push(sum);
            }
        }
    }
    Tensor::from_vec(out, (batch, cout, oh, ow), &Device::Cpu)
}

fn largest_difference(a: &Tensor, b: &Tensor) -> Result<f64> {
    assert_eq!(a.dims(), b.dims());
    (a - b)?.abs()?.flatten_all()?.max(D::Minus1)?.to_scalar()
}

#[test]
fn forward_and_gradients_of_all_cases() -> Result<()> {
    for (batch, cin, h, w, cout, kh, kw, o) in cases() {
        let x = wave(&[batch, cin, h, w], 1.0, 1.1, 0.4)?;
        let k = wave(&[cout, cin / o.groups, kh, kw], 0.5, 0.9, 0.1)?;
        let b = wave(&[cout], 0.3, 2.0, 0.0)?;
        let y = conv2d(&x, &k, Some(&b), &o)?;
        let expected = naive(&x, &k, &b, &o)?;
        assert!(largest_difference(&y, &expected)? < 1e-12, "{o:?}");
        let single = conv2d(&x.to_dtype(DType::F32)?, &k.to_dtype(DType::F32)?, None, &o)?;
        let expected = expected.broadcast_sub(&b.reshape((1, cout, 1, 1))?)?;
        assert!(
            largest_difference(&single.to_dtype(DType::F64)?, &expected)? < 1e-5,
            "{o:?}"
        );
        let error = max_relative_error(&[x, k, b], 40, |t| conv2d(&t[0], &t[1], Some(&t[2]), &o))?;
        assert!(error < 1e-6, "{o:?}: {error}");
    }
    Ok(())
}

#[test]
fn patches_of_many_channels_are_handled_in_parts() -> Result<()> {
    // 300 channels x 9 taps x 256 pixels exceed the patch buffer.
    let o = options((1, 1), (1, 1), (1, 1), 1);
    let x = wave(&[1, 300, 16, 16], 1.0, 1.1, 0.4)?;
    let k = wave(&[4, 300, 3, 3], 0.1, 0.9, 0.1)?;
    let b = wave(&[4], 0.3, 2.0, 0.0)?;
    let y = conv2d(&x, &k, Some(&b), &o)?;
    assert!(largest_difference(&y, &naive(&x, &k, &b, &o)?)? < 1e-10);
    let strided = options((2, 2), (1, 1), (1, 1), 1);
    for o in [o, strided] {
        let error = max_relative_error(&[x.clone(), k.clone()], 6, |t| {
            conv2d(&t[0], &t[1], None, &o)
        })?;
        assert!(error < 1e-6, "{o:?}: {error}");
    }
    Ok(())
}

#[test]
fn views_give_the_same_result() -> Result<()> {
    let x = wave(&[2, 6, 5, 3], 1.0, 1.1, 0.4)?;
    let k = wave(&[3, 3, 2, 4], 1.0, 0.9, 0.1)?;
    let o = options((1, 1), (1, 1), (1, 1), 1);
    let (xt, kt) = (x.transpose(1, 3)?, k.permute((3, 1, 2, 0))?);
    let y = conv2d(&xt, &kt, None, &o)?;
    let same = conv2d(&xt.contiguous()?, &kt.contiguous()?, None, &o)?;
    assert_eq!(largest_difference(&y, &same)?, 0.0);
    let error = max_relative_error(&[x, k], 20, |t| {
        conv2d(
            &t[0].transpose(1, 3)?,
            &t[1].permute((3, 1, 2, 0))?,
            None,
            &o,
        )
    })?;
    assert!(error < 1e-6);
    Ok(())
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
    let o = options((1, 1), (1, 1), (1, 1), 1);
    let x = wave(&[3, 3, 40, 33], 1.0, 1.1, 0.4)?.to_dtype(DType::F32)?;
    let k = wave(&[70, 3, 3, 3], 1.0, 0.9, 0.1)?.to_dtype(DType::F32)?;
    let run = |threads: usize| -> Result<Vec<f32>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.map_err(candle_core::Error::wrap)?.install(|| {
            let w = candle_core::Var::from_tensor(&k)?;
            let y = conv2d(&x, &w, None, &o)?;
            let grads = backward(&y.sqr()?.sum_all()?)?;
            let dw = grads.get(&w).unwrap().flatten_all()?;
            Tensor::cat(&[y.detach().flatten_all()?, dw], 0)?.to_vec1()
        })
    };
    assert_eq!(run(1)?, run(3)?);
    Ok(())
}

#[test]
fn errors_name_what_does_not_fit() -> Result<()> {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu);
    let o = Conv2dOptions::default();
    let message = |x: &[usize], w: &[usize], b: Option<&[usize]>, o: &Conv2dOptions| -> String {
        let b = b.map(|b| zeros(b).unwrap());
        conv2d(&zeros(x).unwrap(), &zeros(w).unwrap(), b.as_ref(), o)
            .unwrap_err()
            .to_string()
    };
    assert!(message(&[1, 3, 4], &[2, 3, 1, 1], None, &o).contains("4 dimensions"));
    assert!(message(&[1, 3, 4, 4], &[2, 4, 1, 1], None, &o).contains("3 channels"));
    assert!(message(&[1, 3, 4, 4], &[2, 3, 5, 5], None, &o).contains("5x5 kernel"));
    assert!(message(&[1, 3, 4, 4], &[2, 3, 1, 1], Some(&[3]), &o).contains("bias"));
    assert!(message(&[0, 3, 4, 4], &[2, 3, 1, 1], None, &o).contains("empty"));
    let stride = options((0, 1), (0, 0), (1, 1), 1);
    assert!(message(&[1, 3, 4, 4], &[2, 3, 1, 1], None, &stride).contains("stride"));
    let mixed = conv2d(
        &zeros(&[1, 1, 2, 2])?,
        &zeros(&[1, 1, 1, 1])?.to_dtype(DType::F64)?,
        None,
        &o,
    );
    assert!(mixed.is_err());
    Ok(())
}

mod random;
