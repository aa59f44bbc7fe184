//! Layer, batch and group normalisation.

use candle_core::Tensor;
use mic_nn::ops;

use super::emulator::{Emulator, emulators};
use super::memory::{Argument, Buffer};
use super::reference::{
    Expected, close, close_single, expected, flat, floats, rng, tensor, tolerance, values,
};

const EPS: f64 = 1e-5;

#[test]
fn layer_norm_agrees() {
    for emulator in emulators() {
        for (case, (rows, c)) in [(1, 2), (3, 5), (9, 32), (70, 33), (17, 257)]
            .into_iter()
            .enumerate()
        {
            let rng = &mut rng(case as u64);
            let x = values(rng, emulator.storage, rows * c);
            let (gamma, beta) = (floats(rng, c), floats(rng, c));
            let inputs = [(&x[..], &[rows, c][..]), (&gamma, &[c]), (&beta, &[c])];
            let op = |t: &[Tensor]| ops::layer_norm(&t[0], &t[1], &t[2], EPS);
            let want = expected(rng, emulator.storage, &inputs, op);
            layer_norm(emulator, [&x, &gamma, &beta], (rows, c), &want);
        }
    }
}

fn layer_norm(
    e: &Emulator,
    [x, gamma, beta]: [&[f32]; 3],
    (rows, c): (usize, usize),
    want: &Expected,
) {
    let (x, g) = (e.put(x), e.put(&want.g));
    let (gamma, beta) = (Buffer::floats(gamma), Buffer::floats(beta));
    let (y, dx) = (e.room(rows * c), e.room(rows * c));
    let (mean, rstd) = (Buffer::room(rows), Buffer::room(rows));
    let (count, channels, eps) = (rows as i64, c as i32, EPS as f32);
    let grid = [rows.div_ceil(8), 1, 1];
    let name = "layer_norm_forward";
    e.launch(
        name,
        grid,
        [256, 1],
        &[&x, &gamma, &beta, &eps, &count, &channels, &y, &mean, &rstd],
    );
    let name = "layer_norm_backward_input";
    e.launch(
        name,
        grid,
        [256, 1],
        &[&x, &gamma, &mean, &rstd, &g, &count, &channels, &dx],
    );
    let per_set = 20;
    let sets = rows.div_ceil(per_set);
    let (partials, sums) = (Buffer::room(sets * 2 * c), Buffer::room(2 * c));
    let name = "layer_norm_backward_parameters";
    let grid = [c.div_ceil(32), sets, 1];
    let set = per_set as i64;
    e.launch(
        name,
        grid,
        [32, 8],
        &[&x, &mean, &rstd, &g, &count, &channels, &set, &partials],
    );
    e.over(
        "sum_rows",
        2 * c,
        &[&partials, &sums, &(sets as i32), &(2 * c as i64)],
    );
    let within = tolerance(3e-6);
    close("layer_norm", e.storage, &e.get(&y), &want.y, within);
    // Two channels: the gradient is what rounding leaves of 1 - 1.
    if c > 2 {
        close(
            "layer_norm dx",
            e.storage,
            &e.get(&dx),
            &want.gradients[0],
            tolerance(1e-5),
        );
    }
    let sums = sums.read_floats();
    close_single("layer_norm dgamma", &sums[..c], &want.gradients[1], within);
    close_single("layer_norm dbeta", &sums[c..], &want.gradients[2], within);
}

/// A batch normalisation: sizes, and what follows it.
#[derive(Clone, Copy, Debug)]
struct Case {
    sizes: [usize; 3],
    relu: bool,
    residual: bool,
    batch_statistics: bool,
}

#[test]
fn batch_norm_agrees() {
    let sizes = [[1, 1, 7], [2, 3, 35], [3, 5, 129], [1, 4, 600]];
    for emulator in emulators() {
        for (case, sizes) in sizes.into_iter().enumerate() {
            for (relu, residual) in [(false, false), (true, false), (true, true)] {
                for batch_statistics in [true, false] {
                    batch_norm(
                        emulator,
                        case as u64,
                        Case {
                            sizes,
                            relu,
                            residual,
                            batch_statistics,
                        },
                    );
                }
            }
        }
    }
}

fn batch_norm_op(
    case: Case,
    t: &[Tensor],
    mean: &Tensor,
    var: &Tensor,
) -> candle_core::Result<Tensor> {
    let (x, gamma, beta) = (&t[0], &t[1], &t[2]);
    if case.batch_statistics {
        return Ok(match (case.residual, case.relu) {
            (true, _) => ops::batch_norm_add_relu(x, &t[3], gamma, beta, EPS)?,
            (_, true) => ops::batch_norm_relu(x, gamma, beta, EPS)?,
            _ => ops::batch_norm(x, gamma, beta, EPS)?,
        }
        .0);
    }
    match (case.residual, case.relu) {
        (true, _) => ops::batch_norm_add_relu_eval(x, &t[3], gamma, beta, mean, var, EPS),
        (_, true) => ops::batch_norm_relu_eval(x, gamma, beta, mean, var, EPS),
        _ => ops::batch_norm_eval(x, gamma, beta, mean, var, EPS),
    }
}

fn batch_norm(e: &Emulator, seed: u64, case: Case) {
    let [batch, c, pixels] = case.sizes;
    let rng = &mut rng(seed);
    let count = batch * c * pixels;
    let x = values(rng, e.storage, count);
    let (gamma, beta) = (floats(rng, c), floats(rng, c));
    let given_mean = floats(rng, c);
    let given_var: Vec<f32> = floats(rng, c).iter().map(|v| v.abs() + 0.1).collect();
    let residual = values(rng, e.storage, count);
    let shape = [batch, c, 1, pixels];
    let (statistics_mean, statistics_var) =
        (tensor((&given_mean, &[c])), tensor((&given_var, &[c])));
    let per_channel = [c];
    let mut inputs = vec![
        (&x[..], &shape[..]),
        (&gamma, &per_channel),
        (&beta, &per_channel),
    ];
    if case.residual {
        inputs.push((&residual, &shape));
    }
    let op = |t: &[Tensor]| batch_norm_op(case, t, &statistics_mean, &statistics_var);
    let want = expected(rng, e.storage, &inputs, op);

    let (input, g) = (e.put(&x), e.put(&want.g));
    let (gamma, beta) = (Buffer::floats(&gamma), Buffer::floats(&beta));
    let residual = case.residual.then(|| e.put(&residual));
    let per_split = 100usize;
    let splits = (batch * pixels).div_ceil(per_split);
    let (b, channels, p, split) = (batch as i32, c as i32, pixels as i32, per_split as i64);
    let (parts, eps, grid) = (splits as i32, EPS as f32, [c, splits, 1]);
    let [mean, var, rstd] = [(); 3].map(|()| Buffer::room(c));
    let mean = if case.batch_statistics {
        let partials = Buffer::room(c * splits * 3);
        let arguments: [&dyn Argument; 6] = [&input, &b, &channels, &p, &split, &partials];
        e.launch("batch_norm_moments", grid, [256, 1], &arguments);
        let name = "batch_norm_statistics";
        e.over(
            name,
            c,
            &[&partials, &channels, &parts, &eps, &mean, &var, &rstd],
        );
        let (_, batch_mean, batch_var) = {
            let t: Vec<Tensor> = inputs.iter().map(|&i| tensor(i)).collect();
            ops::batch_norm(&t[0], &t[1], &t[2], EPS).unwrap()
        };
        close_single(
            "batch mean",
            &mean.read_floats(),
            &flat(&batch_mean),
            tolerance(2e-6),
        );
        close_single(
            "batch var",
            &var.read_floats(),
            &flat(&batch_var),
            tolerance(2e-6),
        );
        mean
    } else {
        let var = Buffer::floats(&given_var);
        e.over("batch_norm_rstd", c, &[&var, &eps, &rstd, &channels]);
        Buffer::floats(&given_mean)
    };
    let y = e.room(count);
    let relu = i32::from(case.relu);
    let arguments: [&dyn Argument; 10] = [
        &input,
        &residual.as_ref(),
        &gamma,
        &beta,
        &mean,
        &rstd,
        &channels,
        &p,
        &relu,
        &y,
    ];
    e.planes("batch_norm_apply", batch * c, pixels, &arguments);
    let what = format!("batch_norm {case:?}");
    close(&what, e.storage, &e.get(&y), &want.y, tolerance(2e-6));

    let kept = case.relu.then_some(&y);
    let partials = Buffer::room(c * splits * 2);
    let (dgamma, dbeta) = (Buffer::room(c), Buffer::room(c));
    let arguments: [&dyn Argument; 9] = [
        &input, &kept, &g, &mean, &b, &channels, &p, &split, &partials,
    ];
    e.launch("batch_norm_backward_sums", grid, [256, 1], &arguments);
    let name = "batch_norm_backward_parameters";
    e.over(
        name,
        c,
        &[&partials, &rstd, &channels, &parts, &dgamma, &dbeta],
    );
    let dx = e.room(count);
    let dresidual = case.residual.then(|| e.room(count));
    let n = if case.batch_statistics {
        (batch * pixels) as f32
    } else {
        0.0
    };
    let arguments: [&dyn Argument; 13] = [
        &input,
        &kept,
        &g,
        &gamma,
        &mean,
        &rstd,
        &dgamma,
        &dbeta,
        &channels,
        &p,
        &n,
        &dx,
        &dresidual.as_ref(),
    ];
    e.planes("batch_norm_backward_input", batch * c, pixels, &arguments);
    close(
        &what,
        e.storage,
        &e.get(&dx),
        &want.gradients[0],
        tolerance(1e-5),
    );
    close_single(
        &what,
        &dgamma.read_floats(),
        &want.gradients[1],
        tolerance(5e-6),
    );
    close_single(
        &what,
        &dbeta.read_floats(),
        &want.gradients[2],
        tolerance(5e-6),
    );
    if let Some(dresidual) = &dresidual {
        close(
            &what,
            e.storage,
            &e.get(dresidual),
            &want.gradients[3],
            tolerance(1e-6),
        );
    }
}

#[test]
fn group_norm_agrees() {
    for e in emulators() {
        for (case, (batch, c, groups, pixels)) in
            [(1, 1, 1, 9), (2, 6, 3, 35), (3, 4, 1, 70), (1, 8, 8, 300)]
                .into_iter()
                .enumerate()
        {
            let rng = &mut rng(case as u64);
            let count = batch * c * pixels;
            let x = values(rng, e.storage, count);
            let (gamma, beta) = (floats(rng, c), floats(rng, c));
            let shape = [batch, c, 1, pixels];
            let inputs = [(&x[..], &shape[..]), (&gamma, &[c]), (&beta, &[c])];
            let op = |t: &[Tensor]| ops::group_norm(&t[0], groups, &t[1], &t[2], EPS);
            let want = expected(rng, e.storage, &inputs, op);
            let (x, g) = (e.put(&x), e.put(&want.g));
            let (gamma, beta) = (Buffer::floats(&gamma), Buffer::floats(&beta));
            let (y, dx) = (e.room(count), e.room(count));
            let (mean, rstd) = (Buffer::room(batch * groups), Buffer::room(batch * groups));
            let (channels, p, n, eps) = (c as i32, pixels as i32, groups as i32, EPS as f32);
            let grid = [batch * groups, 1, 1];
            let arguments: [&dyn Argument; 10] =
                [&x, &gamma, &beta, &eps, &channels, &p, &n, &y, &mean, &rstd];
            e.launch("group_norm_forward", grid, [256, 1], &arguments);
            let sums = Buffer::room(batch * c * 2);
            let arguments: [&dyn Argument; 10] =
                [&x, &gamma, &mean, &rstd, &g, &channels, &p, &n, &dx, &sums];
            e.launch("group_norm_backward_input", grid, [256, 1], &arguments);
            let (dgamma, dbeta) = (Buffer::room(c), Buffer::room(c));
            let name = "group_norm_backward_parameters";
            e.over(
                name,
                c,
                &[&sums, &(batch as i32), &channels, &dgamma, &dbeta],
            );
            close(
                "group_norm",
                e.storage,
                &e.get(&y),
                &want.y,
                tolerance(2e-6),
            );
            close(
                "group_norm dx",
                e.storage,
                &e.get(&dx),
                &want.gradients[0],
                tolerance(1e-5),
            );
            close_single(
                "dgamma",
                &dgamma.read_floats(),
                &want.gradients[1],
                tolerance(5e-6),
            );
            close_single(
                "dbeta",
                &dbeta.read_floats(),
                &want.gradients[2],
                tolerance(5e-6),
            );
        }
    }
}
