use super::*;

fn numbers(len: usize, scale: f32) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * scale).sin()).collect()
}

#[test]
fn products_of_all_sizes_and_orders() {
    if !available::<f32>() {
        return;
    }
    for (m, n, k) in [
        (1, 1, 1),
        (13, 33, 5),
        (12, 32, 256),
        (25, 47, 300),
        (40, 16, 513),
        (3, 70, 17),
    ] {
        let (a, b) = (numbers(m * k, 0.37), numbers(k * n, 0.73));
        let bias = numbers(n, 0.11);
        let mut buffer = Vec::new();
        for transposed in [(false, false), (false, true), (true, false), (true, true)] {
            let a = match transposed.0 {
                false => Mat::new(&a, m, k),
                true => Mat::new(&a, k, m).t(),
            };
            let b = match transposed.1 {
                false => Mat::new(&b, k, n),
                true => Mat::new(&b, n, k).t(),
            };
            let panels = Panels::pack(b, &mut buffer);
            let mut out = vec![f32::NAN; m * n];
            multiply(&mut out, n, Onto::Columns(&bias), a, &panels);
            multiply(&mut out, n, Onto::Output, a, &panels);
            for i in 0..m {
                for j in 0..n {
                    let at = |m: &Mat<'_, f32>, r: usize, c: usize| {
                        f64::from(m.data[r * m.row_stride + c * m.col_stride])
                    };
                    let sum: f64 = (0..k).map(|l| at(&a, i, l) * at(&b, l, j)).sum();
                    let want = 2.0 * sum + f64::from(bias[j]);
                    let got = f64::from(out[i * n + j]);
                    assert!((got - want).abs() < 1e-4, "{m} {n} {k}: {got} {want}");
                }
            }
        }
    }
}
