//! Batch normalisation, alone and with the residual sum and the rectifier that follow it.

use candle_core::{Result, Tensor};

use super::gpu::{Floats, Gpu, THREADS};
use super::source::BATCH_NORM;
use super::value::Value;
use crate::ops::attach::{attach, attach_with_result};

/// Blocks that read the image of a channel together, at most.
const SPLITS: usize = 64;

/// Contiguous arguments.
pub(crate) struct BatchNorm {
    pub(crate) x: Tensor,
    pub(crate) gamma: Tensor,
    pub(crate) beta: Tensor,
    pub(crate) residual: Option<Tensor>,
    pub(crate) relu: bool,
}

#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    channels: usize,
    pixels: usize,
}

impl Sizes {
    /// Elements of a channel that a block reads, and the number of those blocks.
    fn split(&self) -> (usize, usize) {
        let count = self.batch * self.pixels;
        let each = count.div_ceil(SPLITS).max(8 * THREADS);
        (each, count.div_ceil(each))
    }

    fn planes(&self) -> usize {
        self.batch * self.channels
    }

    /// The arguments from the batch size on of the kernels that read channels.
    fn values(&self) -> [Value; 4] {
        let sizes = [self.batch, self.channels, self.pixels].map(Value::count);
        let [b, c, p] = sizes;
        [b, c, p, Value::long(self.split().0)]
    }
}

/// Mean, variance and reciprocal standard deviation of the batch's channels.
fn statistics(gpu: &Gpu, x: &Tensor, s: Sizes, eps: f64) -> Result<[Floats; 3]> {
    let (_, splits) = s.split();
    let partials = gpu.floats(s.channels * splits * 3)?;
    let mut arguments = vec![gpu.at(x)?];
    arguments.extend(s.values());
    arguments.push(partials.at());
    let grid = [s.channels, splits, 1];
    gpu.launch(
        BATCH_NORM,
        "batch_norm_moments",
        grid,
        [THREADS, 1],
        &arguments,
    )?;
    let found = [
        gpu.floats(s.channels)?,
        gpu.floats(s.channels)?,
        gpu.floats(s.channels)?,
    ];
    let [mean, var, rstd] = &found;
    let arguments = [
        partials.at(),
        Value::count(s.channels),
        Value::count(splits),
        Value::single(eps),
        mean.at(),
        var.at(),
        rstd.at(),
    ];
    gpu.over(BATCH_NORM, "batch_norm_statistics", s.channels, &arguments)?;
    Ok(found)
}

/// Normalises with the `given` mean and variance, or with those of the batch, and returns the
/// result, mean and variance.
pub(crate) fn batch_norm(
    op: &'static str,
    inputs: BatchNorm,
    given: Option<[Tensor; 2]>,
    eps: f64,
) -> Result<(Tensor, Tensor, Tensor)> {
    let gpu = Gpu::of(op, &inputs.x)?;
    let (batch, channels, h, w) = inputs.x.dims4()?;
    let s = Sizes {
        batch,
        channels,
        pixels: h * w,
    };
    let batch_statistics = given.is_none();
    let (mean, var, rstd) = match given {
        Some([mean, var]) => {
            let rstd = gpu.floats(channels)?;
            let arguments = [
                gpu.at(&var)?,
                Value::single(eps),
                rstd.at(),
                Value::count(channels),
            ];
            gpu.over(BATCH_NORM, "batch_norm_rstd", channels, &arguments)?;
            (mean.detach(), var.detach(), rstd)
        }
        None => {
            let [mean, var, rstd] = statistics(&gpu, &inputs.x, s, eps)?;
            (mean.tensor(channels), var.tensor(channels), rstd)
        }
    };
    let y = gpu.floats(inputs.x.elem_count())?;
    let arguments = [
        gpu.at(&inputs.x)?,
        gpu.optional(inputs.residual.as_ref())?,
        gpu.at(&inputs.gamma)?,
        gpu.at(&inputs.beta)?,
        gpu.at(&mean)?,
        rstd.at(),
        Value::count(channels),
        Value::count(s.pixels),
        Value::count(usize::from(inputs.relu)),
        y.at(),
    ];
    gpu.planes(
        BATCH_NORM,
        "batch_norm_apply",
        s.planes(),
        s.pixels,
        &arguments,
    )?;
    let saved = Saved {
        s,
        x: inputs.x.detach(),
        gamma: inputs.gamma.detach(),
        mean: mean.clone(),
        rstd,
        batch_statistics,
        with_residual: inputs.residual.is_some(),
        gpu,
    };
    let mut sources = vec![&inputs.x, &inputs.gamma, &inputs.beta];
    sources.extend(&inputs.residual);
    let shape = inputs.x.shape();
    let y = if inputs.relu {
        attach_with_result(op, sources, y.storage(), shape, move |y, g| {
            saved.gradients(Some(y), g)
        })
    } else {
        attach(op, sources, y.storage(), shape, move |g| {
            saved.gradients(None, g)
        })
    }?;
    Ok((y, mean, var))
}

/// What the backward pass needs.
struct Saved {
    gpu: Gpu,
    s: Sizes,
    x: Tensor,
    gamma: Tensor,
    mean: Tensor,
    rstd: Floats,
    /// Whether mean and variance depend on `x`.
    batch_statistics: bool,
    with_residual: bool,
}

impl Saved {
    /// The gradients of x, gamma, beta and the residual, if there is one; `y` is the result where a
    /// rectifier made it.
    fn gradients(&self, y: Option<&Tensor>, g: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (gpu, s) = (&self.gpu, self.s);
        let (_, splits) = s.split();
        let partials = gpu.floats(s.channels * splits * 2)?;
        let mut arguments = vec![
            gpu.at(&self.x)?,
            gpu.optional(y)?,
            gpu.at(g)?,
            gpu.at(&self.mean)?,
        ];
        arguments.extend(s.values());
        arguments.push(partials.at());
        let grid = [s.channels, splits, 1];
        gpu.launch(
            BATCH_NORM,
            "batch_norm_backward_sums",
            grid,
            [THREADS, 1],
            &arguments,
        )?;
        let (dgamma, dbeta) = (gpu.floats(s.channels)?, gpu.floats(s.channels)?);
        let arguments = [
            partials.at(),
            self.rstd.at(),
            Value::count(s.channels),
            Value::count(splits),
            dgamma.at(),
            dbeta.at(),
        ];
        gpu.over(
            BATCH_NORM,
            "batch_norm_backward_parameters",
            s.channels,
            &arguments,
        )?;
        let dx = gpu.floats(g.elem_count())?;
        let residual = match self.with_residual {
            true => Some(gpu.floats(g.elem_count())?),
            false => None,
        };
        let count = if self.batch_statistics {
            s.batch * s.pixels
        } else {
            0
        };
        let arguments = [
            gpu.at(&self.x)?,
            gpu.optional(y)?,
            gpu.at(g)?,
            gpu.at(&self.gamma)?,
            gpu.at(&self.mean)?,
            self.rstd.at(),
            dgamma.at(),
            dbeta.at(),
            Value::count(s.channels),
            Value::count(s.pixels),
            Value::single(count as f64),
            dx.at(),
            residual.as_ref().map_or_else(Value::null, Floats::at),
        ];
        gpu.planes(
            BATCH_NORM,
            "batch_norm_backward_input",
            s.planes(),
            s.pixels,
            &arguments,
        )?;
        let mut gradients = vec![
            Some(dx.tensor(g.shape())),
            Some(dgamma.tensor(s.channels)),
            Some(dbeta.tensor(s.channels)),
        ];
        if let Some(residual) = residual {
            gradients.push(Some(residual.tensor(g.shape())));
        }
        Ok(gradients)
    }
}
