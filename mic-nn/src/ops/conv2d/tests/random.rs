//! Random sizes and options, in both precisions, against the definition.

use super::*;
use crate::gradcheck::wave;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The gradients of `sum(c * y)` by the definition: x, w.
fn naive_gradients(x: &Tensor, w: &Tensor, c: &Tensor, o: &Conv2dOptions) -> Result<[Tensor; 2]> {
    let (batch, _, h, width) = x.dims4()?;
    let (cout, cin, kh, kw) = w.dims4()?;
    let (_, _, oh, ow) = c.dims4()?;
    let flat = |t: &Tensor| t.flatten_all()?.to_vec1::<f64>();
    let (xs, ws, cs) = (flat(x)?, flat(w)?, flat(c)?);
    let (mut dx, mut dw) = (vec![0.0; xs.len()], vec![0.0; ws.len()]);
    for (n, co) in (0..batch).flat_map(|n| (0..cout).map(move |co| (n, co))) {
        let group = co / (cout / o.groups);
        for (oy, ox) in (0..oh).flat_map(|y| (0..ow).map(move |x| (y, x))) {
            let c = cs[((n * cout + co) * oh + oy) * ow + ox];
            for (ci, ky, kx) in
                (0..cin).flat_map(|c| (0..kh).flat_map(move |y| (0..kw).map(move |x| (c, y, x))))
            {
                let y = (oy * o.stride.0 + ky * o.dilation.0).wrapping_sub(o.padding.0);
                let x = (ox * o.stride.1 + kx * o.dilation.1).wrapping_sub(o.padding.1);
                if y < h && x < width {
                    let i = ((n * cin * o.groups + group * cin + ci) * h + y) * width + x;
                    let k = ((co * cin + ci) * kh + ky) * kw + kx;
                    dx[i] += c * ws[k];
                    dw[k] += c * xs[i];
                }
            }
        }
    }
    Ok([
        Tensor::from_vec(dx, x.shape(), &Device::Cpu)?,
        Tensor::from_vec(dw, w.shape(), &Device::Cpu)?,
    ])
}

fn check(x: &Tensor, w: &Tensor, b: &Tensor, o: &Conv2dOptions) -> Result<()> {
    let y = naive(x, w, b, o)?;
    let c = wave(y.dims(), 1.0, 0.77, 0.3)?;
    let want = naive_gradients(x, w, &c, o)?;
    // What rounding errors are relative to: the sums of the terms' absolute values.
    let sizes = naive_gradients(&x.abs()?, &w.abs()?, &c.abs()?, o)?;
    let y_size = naive(&x.abs()?, &w.abs()?, &b.abs()?, o)?;
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 5e-7)] {
        let var = |t: &Tensor| candle_core::Var::from_tensor(&t.to_dtype(dtype)?);
        let vars = [var(x)?, var(w)?, var(b)?];
        let got = conv2d(&vars[0], &vars[1], Some(&vars[2]), o)?;
        let grads = backward(&(&got * c.to_dtype(dtype)?)?.sum_all()?)?;
        let error = |got: &Tensor, want: &Tensor, size: &Tensor| -> Result<f64> {
            let size: f64 = size.flatten_all()?.max(D::Minus1)?.to_scalar()?;
            Ok(largest_difference(&got.to_dtype(DType::F64)?, want)? / size)
        };
        let what = format!("{dtype:?} {:?} {:?} {o:?}", x.dims(), w.dims());
        let worst = error(&got, &y, &y_size)?;
        assert!(worst < tolerance, "output: {what}: {worst}");
        for ((var, want), size) in vars.iter().zip(&want).zip(&sizes) {
            let error = error(grads.get(var).unwrap(), want, size)?;
            assert!(error < tolerance, "gradient: {what}: {error}");
        }
    }
    Ok(())
}

#[test]
fn random_shapes_and_options() -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut done = 0;
    while done < 120 {
        let pair =
            |rng: &mut ChaCha8Rng, most| (rng.random_range(0..most), rng.random_range(0..most));
        let plus = |(a, b): (usize, usize)| (a + 1, b + 1);
        let groups = [1, 1, 1, 2, 3][rng.random_range(0..5)];
        let o = options(
            plus(pair(&mut rng, 3)),
            pair(&mut rng, 4),
            plus(pair(&mut rng, 3)),
            groups,
        );
        let kernel = plus(pair(&mut rng, 4));
        let size = plus(pair(&mut rng, 24));
        let (cin, cout) = plus(pair(&mut rng, 20));
        let batch = rng.random_range(1..4);
        let x = wave(&[batch, cin * groups, size.0, size.1], 1.0, 1.1, 0.4)?;
        let w = wave(&[cout * groups, cin, kernel.0, kernel.1], 0.5, 0.9, 0.1)?;
        let b = wave(&[cout * groups], 0.3, 2.0, 0.0)?;
        if Geometry::new(x.dims4()?, w.dims4()?, &o).is_err() {
            continue;
        }
        check(&x, &w, &b, &o)?;
        done += 1;
    }
    Ok(())
}

#[test]
fn many_channels_and_terms() -> Result<()> {
    for (batch, cin, cout, side, kernel, stride) in [
        (3, 70, 150, 7, 3, 1),
        (2, 40, 70, 14, 3, 2),
        (2, 300, 33, 5, 1, 1),
        (1, 130, 17, 9, 1, 2),
        (1, 3, 50, 37, 7, 2),
        (2, 3, 20, 40, 7, 4),
    ] {
        let o = options((stride, stride), (kernel / 2, kernel / 2), (1, 1), 1);
        let x = wave(&[batch, cin, side, side], 1.0, 1.1, 0.4)?;
        let w = wave(&[cout, cin, kernel, kernel], 0.5, 0.9, 0.1)?;
        check(&x, &w, &wave(&[cout], 0.3, 2.0, 0.0)?, &o)?;
    }
    Ok(())
}
