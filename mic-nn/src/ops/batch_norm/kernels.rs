//! Both passes, a channel at a time: what is read twice is still in the cache.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::{After, Normalized, Planes};
use crate::ops::attach::{attach, attach_with_result};
use crate::ops::cpu::{Elem, Shared, View, fresh, storage, tensor, view};
use crate::ops::math::map;
use crate::ops::relu::{masked, positive};
use crate::ops::simd::vectorized;
use crate::ops::sums::{Moments, sum_and_moment, total};

/// Contiguous inputs.
pub(super) struct Inputs {
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    residual: Option<Tensor>,
    relu: bool,
}

impl Inputs {
    #[cfg(feature = "cuda")]
    pub(super) fn on_gpu(self) -> crate::cuda::BatchNorm {
        crate::cuda::BatchNorm {
            x: self.x,
            gamma: self.gamma,
            beta: self.beta,
            residual: self.residual,
            relu: self.relu,
        }
    }

    pub(super) fn new(op: &str, [x, gamma, beta]: [&Tensor; 3], after: After<'_>) -> Result<Self> {
        let residual = match after {
            After::AddRelu(residual) => {
                if residual.dims() != x.dims() || residual.dtype() != x.dtype() {
                    candle_core::bail!(
                        "{op}: residual is {:?} {:?}, expected it like x, {:?} {:?}",
                        residual.dims(),
                        residual.dtype(),
                        x.dims(),
                        x.dtype()
                    )
                }
                Some(residual.contiguous()?)
            }
            _ => None,
        };
        Ok(Self {
            x: x.contiguous()?,
            gamma: gamma.contiguous()?,
            beta: beta.contiguous()?,
            residual,
            relu: !matches!(after, After::Nothing),
        })
    }
}

/// `y = (x - center) scale + shift` of one channel.
#[derive(Clone, Copy)]
struct Affine<T> {
    center: T,
    scale: T,
    shift: T,
}

impl<T: Elem> Affine<T> {
    #[inline(always)]
    fn at(self, x: T) -> T {
        (x - self.center).mul_add(self.scale, self.shift)
    }

    /// One plane with what follows.
    #[inline(always)]
    fn apply(self, y: &mut [T], x: &[T], residual: Option<&[T]>, relu: bool) {
        match residual {
            Some(residual) => map(
                y,
                [x, residual],
                #[inline(always)]
                |[x, r]| positive(self.at(x) + r),
            ),
            None if relu => map(
                y,
                [x],
                #[inline(always)]
                |[x]| positive(self.at(x)),
            ),
            None => map(
                y,
                [x],
                #[inline(always)]
                |[x]| self.at(x),
            ),
        }
    }
}

/// Mean and variance of one channel, and the reciprocal standard deviation.
struct Statistics<T> {
    mean: T,
    var: T,
    rstd: T,
}

impl<T: Elem> Statistics<T> {
    #[inline(always)]
    fn new(mean: f64, var: f64, eps: f64) -> Self {
        Self {
            mean: T::of(mean),
            var: T::of(var),
            rstd: T::of(1.0 / (var + eps).sqrt()),
        }
    }

    #[inline(always)]
    fn of(x: &[T], p: Planes, channel: usize, eps: f64) -> Self {
        let mut moments = Moments::default();
        for image in 0..p.batch {
            moments.add(p.plane(x, image, channel));
        }
        Self::new(moments.mean(), moments.variance(), eps)
    }
}

fn optional<'a, T: Elem>(op: &str, t: Option<&'a Tensor>) -> Result<Option<View<'a, T>>> {
    t.map(|t| view::<T>(op, t)).transpose()
}

/// The operands of the forward pass.
struct Forward<'a, T> {
    p: Planes,
    x: &'a [T],
    gamma: &'a [T],
    beta: &'a [T],
    residual: Option<&'a [T]>,
    relu: bool,
    given: Option<(&'a [T], &'a [T])>,
    eps: f64,
}

impl<T: Elem> Forward<'_, T> {
    /// Writes a channel of the result; each is one task's.
    #[inline(always)]
    fn channel(&self, c: usize, out: Shared<'_, T>) -> Statistics<T> {
        let p = self.p;
        let statistics = match self.given {
            Some((mean, var)) => Statistics::new(mean[c].to_f64(), var[c].to_f64(), self.eps),
            None => Statistics::of(self.x, p, c, self.eps),
        };
        let affine = Affine {
            center: statistics.mean,
            scale: self.gamma[c] * statistics.rstd,
            shift: self.beta[c],
        };
        for image in 0..p.batch {
            // SAFETY: one task a channel.
            let y = unsafe { p.shared_plane(out, image, c) };
            let residual = self.residual.map(|r| p.plane(r, image, c));
            affine.apply(y, p.plane(self.x, image, c), residual, self.relu);
        }
        statistics
    }
}

/// Normalises with the `given` mean and variance, or with those of the batch.
pub(super) fn forward<T: Elem>(
    op: &'static str,
    inputs: Inputs,
    given: Option<[Tensor; 2]>,
    eps: f64,
    p: Planes,
) -> Result<Normalized> {
    let mut output = fresh::<T>(inputs.x.elem_count());
    let statistics: Vec<Statistics<T>> = {
        let x = view::<T>(op, &inputs.x)?;
        let (gamma, beta) = (view::<T>(op, &inputs.gamma)?, view::<T>(op, &inputs.beta)?);
        let residual = optional::<T>(op, inputs.residual.as_ref())?;
        let [mean, var] = match &given {
            Some([mean, var]) => [Some(view::<T>(op, mean)?), Some(view::<T>(op, var)?)],
            None => [None, None],
        };
        let (x, gamma, beta): (&[T], &[T], &[T]) = (&x, &gamma, &beta);
        let residual = residual.as_deref();
        let given = mean.as_deref().zip(var.as_deref());
        let shared = Shared::new(&mut output);
        let pass = Forward {
            p,
            x,
            gamma,
            beta,
            residual,
            relu: inputs.relu,
            given,
            eps,
        };
        (0..p.channels)
            .into_par_iter()
            .map(|c| {
                vectorized(
                    #[inline(always)]
                    || pass.channel(c, shared),
                )
            })
            .collect()
    };
    let column = |pick: fn(&Statistics<T>) -> T| statistics.iter().map(pick).collect::<Vec<T>>();
    let (mean, var) = (column(|s| s.mean), column(|s| s.var));
    let needs = [&inputs.x, &inputs.gamma, &inputs.beta].map(Tensor::track_op);
    let saved = Saved {
        op,
        p,
        x: (given.is_none() || needs[1]).then(|| inputs.x.detach()),
        gamma: inputs.gamma.detach(),
        needs,
        needs_residual: inputs.residual.as_ref().map(Tensor::track_op),
        mean: mean.clone(),
        rstd: column(|s| s.rstd),
        batch_statistics: given.is_none(),
    };
    let mut sources = vec![&inputs.x, &inputs.gamma, &inputs.beta];
    sources.extend(&inputs.residual);
    let (output, shape) = (storage(output), inputs.x.shape());
    let y = if inputs.relu {
        attach_with_result(op, sources, output, shape, move |y, grad| {
            saved.gradients(Some(y), grad)
        })
    } else {
        attach(op, sources, output, shape, move |grad| {
            saved.gradients(None, grad)
        })
    }?;
    Ok((y, tensor(mean, p.channels), tensor(var, p.channels)))
}

/// What the backward pass needs.
struct Saved<T> {
    op: &'static str,
    p: Planes,
    /// Kept where the statistics depend on it or gamma has a gradient.
    x: Option<Tensor>,
    gamma: Tensor,
    needs: [bool; 3],
    /// Whether the residual, if there is one, needs a gradient.
    needs_residual: Option<bool>,
    mean: Vec<T>,
    rstd: Vec<T>,
    /// Whether mean and variance depend on `x`.
    batch_statistics: bool,
}

/// `dx = g scale + (x - mean) slope + shift` of one channel; the last two terms only where the
/// statistics depend on `x`.
#[derive(Clone, Copy)]
struct Slopes<T> {
    mean: T,
    scale: T,
    along: Option<(T, T)>,
}

impl<T: Elem> Slopes<T> {
    #[inline(always)]
    fn at(self, g: T, x: T, (slope, shift): (T, T)) -> T {
        g.mul_add(self.scale, (x - self.mean).mul_add(slope, shift))
    }

    #[inline(always)]
    fn apply(self, dx: &mut [T], g: &[T], x: &[T], y: Option<&[T]>) {
        let scale = self.scale;
        match (self.along, y) {
            (Some(a), Some(y)) => map(
                dx,
                [g, x, y],
                #[inline(always)]
                |[g, x, y]| self.at(masked(g, y), x, a),
            ),
            (Some(a), None) => map(
                dx,
                [g, x],
                #[inline(always)]
                |[g, x]| self.at(g, x, a),
            ),
            (None, Some(y)) => map(
                dx,
                [g, y],
                #[inline(always)]
                |[g, y]| masked(g, y) * scale,
            ),
            (None, None) => map(
                dx,
                [g],
                #[inline(always)]
                |[g]| g * scale,
            ),
        }
    }
}

impl<T: Elem> Saved<T> {
    /// The gradients of x, gamma, beta and the residual; `y` is the result of the rectifier.
    fn gradients(&self, y: Option<&Tensor>, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (op, p, [needs_x, needs_gamma, needs_beta]) = (self.op, self.p, self.needs);
        let shape = grad.shape();
        // Where x is not kept it is not needed: any values of its size will do.
        let x = view::<T>(op, self.x.as_ref().unwrap_or(grad))?;
        let grad = view::<T>(op, grad)?;
        let y = optional::<T>(op, y)?;
        let (x, grad, y) = (&*x, &*grad, y.as_deref());
        let mut dx = fresh::<T>(if needs_x { x.len() } else { 0 });
        let with_residual = self.needs_residual == Some(true);
        let mut dr = fresh::<T>(if with_residual { x.len() } else { 0 });
        let (dx_shared, dr_shared) = (Shared::new(&mut dx), Shared::new(&mut dr));
        let needs_sums = (self.batch_statistics && needs_x) || needs_gamma || needs_beta;
        let gamma = view::<T>(op, &self.gamma)?.to_vec();
        let pass = Backward {
            saved: self,
            x,
            gamma: &gamma,
            grad,
            y,
            dx: needs_x.then_some(dx_shared),
            dr: with_residual.then_some(dr_shared),
            needs_sums,
        };
        let sums: Vec<(T, T)> = (0..p.channels)
            .into_par_iter()
            .map(|c| {
                vectorized(
                    #[inline(always)]
                    || pass.channel(c),
                )
            })
            .collect();
        let (dgamma, dbeta): (Vec<T>, Vec<T>) = sums.into_iter().unzip();
        let mut gradients = vec![
            needs_x.then(|| tensor(dx, shape)),
            needs_gamma.then(|| tensor(dgamma, p.channels)),
            needs_beta.then(|| tensor(dbeta, p.channels)),
        ];
        if self.needs_residual.is_some() {
            gradients.push(with_residual.then(|| tensor(dr, shape)));
        }
        Ok(gradients)
    }

    /// How x follows from the sums of the gradient, and of that times `x - mean`.
    #[inline(always)]
    fn slopes(&self, gamma: T, channel: usize, [sum, moment]: [f64; 2]) -> Slopes<T> {
        let count = (self.p.batch * self.p.pixels) as f64;
        let scale = gamma * self.rstd[channel];
        let (s, r) = (scale.to_f64(), self.rstd[channel].to_f64());
        Slopes {
            mean: self.mean[channel],
            scale,
            along: self
                .batch_statistics
                .then(|| (T::of(-s * moment * r * r / count), T::of(-s * sum / count))),
        }
    }
}

/// The operands of the backward pass.
struct Backward<'a, T> {
    saved: &'a Saved<T>,
    x: &'a [T],
    gamma: &'a [T],
    grad: &'a [T],
    y: Option<&'a [T]>,
    dx: Option<Shared<'a, T>>,
    dr: Option<Shared<'a, T>>,
    needs_sums: bool,
}

impl<T: Elem> Backward<'_, T> {
    /// The gradients of one channel's gamma and beta; writes those of x and the residual. Each
    /// channel is one task's.
    #[inline(always)]
    fn channel(&self, c: usize) -> (T, T) {
        let (p, mean) = (self.saved.p, self.saved.mean[c]);
        let mut sums = [0f64; 2];
        for image in 0..p.batch {
            self.write_residual(image, c);
            if self.needs_sums {
                let ([g, x], y) = self.planes(image, c);
                let part = match y {
                    Some(y) => total(
                        [g, x, y],
                        #[inline(always)]
                        |[g, x, y]| [masked(g, y), masked(g, y) * (x - mean)],
                    ),
                    None => sum_and_moment(g, x, mean),
                };
                sums = [sums[0] + part[0], sums[1] + part[1]];
            }
        }
        if let Some(dx) = self.dx {
            let slopes = self.saved.slopes(self.gamma[c], c, sums);
            for image in 0..p.batch {
                let ([g, x], y) = self.planes(image, c);
                // SAFETY: one task a channel, and nothing else refers to `dx`.
                let dx = unsafe { p.shared_plane(dx, image, c) };
                slopes.apply(dx, g, x, y);
            }
        }
        (T::of(sums[1] * self.saved.rstd[c].to_f64()), T::of(sums[0]))
    }

    /// The gradient of the residual: that of the rectifier's input.
    #[inline(always)]
    fn write_residual(&self, image: usize, c: usize) {
        if let (Some(dr), Some(y)) = (self.dr, self.y) {
            let (g, y) = (
                self.saved.p.plane(self.grad, image, c),
                self.saved.p.plane(y, image, c),
            );
            // SAFETY: one task a channel; this reference ends here.
            let dr = unsafe { self.saved.p.shared_plane(dr, image, c) };
            map(
                dr,
                [g, y],
                #[inline(always)]
                |[g, y]| masked(g, y),
            );
        }
    }

    /// The planes of the gradient and x, and that of the result where the gradient has yet to pass
    /// the rectifier.
    #[inline(always)]
    fn planes(&self, image: usize, c: usize) -> ([&[T]; 2], Option<&[T]>) {
        let p = self.saved.p;
        let x = p.plane(self.x, image, c);
        match self.dr {
            // SAFETY: one task a channel; `write_residual` has written the plane and is done.
            Some(dr) => ([&*unsafe { p.shared_plane(dr, image, c) }, x], None),
            None => {
                let y = self.y.map(|y| p.plane(y, image, c));
                ([p.plane(self.grad, image, c), x], y)
            }
        }
    }
}
