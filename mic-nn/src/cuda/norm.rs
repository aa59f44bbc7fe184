//! Layer and group normalisation.

use candle_core::{Result, Tensor};

use super::gpu::{Gpu, THREADS};
use super::source::{GROUP_NORM, LAYER_NORM, SUM_ROWS};
use super::value::Value;
use crate::ops::attach::attach;

/// Sets of rows whose parameter gradients are summed separately.
const SETS: usize = 128;

/// Layer normalisation of a contiguous (..., C).
pub(crate) fn layer_norm(x: &Tensor, gamma: &Tensor, beta: &Tensor, eps: f64) -> Result<Tensor> {
    const OP: &str = "layer_norm";
    let gpu = Gpu::of(OP, x)?;
    let c = gamma.elem_count();
    let rows = x.elem_count() / c;
    let grid = [rows.div_ceil(THREADS / 32), 1, 1];
    let (y, mean, rstd) = (gpu.floats(rows * c)?, gpu.floats(rows)?, gpu.floats(rows)?);
    let arguments = [
        gpu.at(x)?,
        gpu.at(gamma)?,
        gpu.at(beta)?,
        Value::single(eps),
        Value::long(rows),
        Value::count(c),
        y.at(),
        mean.at(),
        rstd.at(),
    ];
    gpu.launch(
        LAYER_NORM,
        "layer_norm_forward",
        grid,
        [THREADS, 1],
        &arguments,
    )?;
    let (saved_x, saved_gamma) = (x.detach(), gamma.detach());
    let tracked = (x.track_op(), gamma.track_op() || beta.track_op());
    attach(OP, [x, gamma, beta], y.storage(), x.shape(), move |g| {
        let mut dx = None;
        if tracked.0 {
            let room = gpu.floats(rows * c)?;
            let arguments = [
                gpu.at(&saved_x)?,
                gpu.at(&saved_gamma)?,
                mean.at(),
                rstd.at(),
                gpu.at(g)?,
                Value::long(rows),
                Value::count(c),
                room.at(),
            ];
            gpu.launch(
                LAYER_NORM,
                "layer_norm_backward_input",
                grid,
                [THREADS, 1],
                &arguments,
            )?;
            dx = Some(room.tensor(g.shape()));
        }
        if !tracked.1 {
            return Ok([dx, None, None]);
        }
        let per_set = rows.div_ceil(SETS).max(8);
        let sets = rows.div_ceil(per_set);
        let (partials, sums) = (gpu.floats(sets * 2 * c)?, gpu.floats(2 * c)?);
        let arguments = [
            gpu.at(&saved_x)?,
            mean.at(),
            rstd.at(),
            gpu.at(g)?,
            Value::long(rows),
            Value::count(c),
            Value::long(per_set),
            partials.at(),
        ];
        let grid = [c.div_ceil(32), sets, 1];
        gpu.launch(
            LAYER_NORM,
            "layer_norm_backward_parameters",
            grid,
            [32, 8],
            &arguments,
        )?;
        let arguments = [
            partials.at(),
            sums.at(),
            Value::count(sets),
            Value::long(2 * c),
        ];
        gpu.over(SUM_ROWS, "sum_rows", 2 * c, &arguments)?;
        let sums = sums.tensor((2, c));
        Ok([dx, Some(sums.get(0)?), Some(sums.get(1)?)])
    })
}

/// Group normalisation of a contiguous (B, C, H, W).
pub(crate) fn group_norm(
    x: &Tensor,
    groups: usize,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
) -> Result<Tensor> {
    const OP: &str = "group_norm";
    let gpu = Gpu::of(OP, x)?;
    let (batch, channels) = (x.dim(0)?, gamma.elem_count());
    let pixels = x.elem_count() / (batch * channels).max(1);
    let grid = [batch * groups, 1, 1];
    let y = gpu.floats(x.elem_count())?;
    let (mean, rstd) = (gpu.floats(grid[0])?, gpu.floats(grid[0])?);
    let sizes = move || {
        [
            Value::count(channels),
            Value::count(pixels),
            Value::count(groups),
        ]
    };
    let [c, p, n] = sizes();
    let arguments = [
        gpu.at(x)?,
        gpu.at(gamma)?,
        gpu.at(beta)?,
        Value::single(eps),
        c,
        p,
        n,
        y.at(),
        mean.at(),
        rstd.at(),
    ];
    gpu.launch(
        GROUP_NORM,
        "group_norm_forward",
        grid,
        [THREADS, 1],
        &arguments,
    )?;
    let (saved_x, saved_gamma) = (x.detach(), gamma.detach());
    attach(OP, [x, gamma, beta], y.storage(), x.shape(), move |g| {
        let dx = gpu.floats(g.elem_count())?;
        let sums = gpu.floats(batch * channels * 2)?;
        let [c, p, n] = sizes();
        let arguments = [
            gpu.at(&saved_x)?,
            gpu.at(&saved_gamma)?,
            mean.at(),
            rstd.at(),
            gpu.at(g)?,
            c,
            p,
            n,
            dx.at(),
            sums.at(),
        ];
        gpu.launch(
            GROUP_NORM,
            "group_norm_backward_input",
            grid,
            [THREADS, 1],
            &arguments,
        )?;
        let (dgamma, dbeta) = (gpu.floats(channels)?, gpu.floats(channels)?);
        let arguments = [
            sums.at(),
            Value::count(batch),
            Value::count(channels),
            dgamma.at(),
            dbeta.at(),
        ];
        gpu.over(
            GROUP_NORM,
            "group_norm_backward_parameters",
            channels,
            &arguments,
        )?;
        let dx = dx.tensor(g.shape());
        Ok([
            Some(dx),
            Some(dgamma.tensor(channels)),
            Some(dbeta.tensor(channels)),
        ])
    })
}
