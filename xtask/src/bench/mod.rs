//! `cargo xtask bench cpu`: our ops and PyTorch's, one after the other in one run.

mod cases;
mod peer;

use mic_nn::autograd::backward;
use std::io::Write;

use anyhow::{Context, anyhow, bail};
use candle_core::Var;

use cases::{Case, Kind};
use peer::{Answer, Peer};

/// What to measure.
#[derive(Debug)]
pub struct Options {
    /// Only cases whose name contains this.
    pub filter: Option<String>,
    /// Threads of both sides.
    pub threads: usize,
    /// Measured repetitions of every case on each side.
    pub repetitions: usize,
    /// The Python interpreter that has torch.
    pub python: String,
}

/// Relative difference of a loss or a gradient's projection above which the sides disagree.
const TOLERANCE: f64 = 2e-3;

/// Measures and prints a table.
///
/// # Errors
/// When the sides compute different numbers, or an op fails.
pub fn bench(options: &Options, out: &mut dyn Write) -> anyhow::Result<()> {
    let cases: Vec<Case> = cases::all()
        .into_iter()
        .filter(|c| {
            options
                .filter
                .as_ref()
                .is_none_or(|f| c.name.contains(f.as_str()))
        })
        .collect();
    if cases.is_empty() {
        let names: Vec<String> = cases::all().into_iter().map(|c| c.name).collect();
        bail!("no case has that name; the cases are: {}", names.join(", "))
    }
    let mut peer = match Peer::start(&options.python, options.threads) {
        Ok(peer) => Some(peer),
        Err(reason) => {
            writeln!(out, "PyTorch is not measured: {reason:#}")?;
            None
        }
    };
    if let Some(peer) = &peer {
        writeln!(out, "PyTorch {}, {} threads", peer.version, options.threads)?;
    }
    writeln!(
        out,
        "\nMilliseconds forward + backward, median of {} (f32).\n",
        options.repetitions
    )?;
    writeln!(out, "| op | mic | PyTorch | ratio (quartiles) |")?;
    writeln!(out, "| --- | --- | --- | --- |")?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .stack_size(64 << 20)
        .build()
        .context("the thread pool could not be started")?;
    for case in &cases {
        let row = pool.install(|| measure(case, peer.as_mut(), options.repetitions))?;
        writeln!(out, "{row}")?;
        out.flush()?;
    }
    Ok(())
}

/// One row of the table.
fn measure(case: &Case, mut peer: Option<&mut Peer>, repetitions: usize) -> anyhow::Result<String> {
    let inputs = case.inputs()?;
    if let Some(peer) = peer.as_deref_mut() {
        let theirs = peer.prepare(case)?;
        agree(case, &ours(case, &inputs)?, &theirs)?;
    }
    let (mut mine, mut others, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    // The first repetitions warm caches and allocators.
    let warm = 3;
    for repetition in 0..warm + repetitions {
        let own = case.time(&inputs)?;
        let other = peer.as_deref_mut().map(Peer::run).transpose()?;
        if repetition < warm {
            continue;
        }
        mine.push(own);
        if let Some(other) = other {
            others.push(other);
            ratios.push(own / other);
        }
    }
    let milliseconds = |v: &mut Vec<f64>| format!("{:.2}", quantile(v, 0.5) * 1e3);
    Ok(if others.is_empty() {
        format!("| {} | {} | | |", case.name, milliseconds(&mut mine))
    } else {
        format!(
            "| {} | {} | {} | {:.2} ({:.2} to {:.2}) |",
            case.name,
            milliseconds(&mut mine),
            milliseconds(&mut others),
            quantile(&mut ratios, 0.5),
            quantile(&mut ratios, 0.25),
            quantile(&mut ratios, 0.75),
        )
    })
}

fn ours(case: &Case, inputs: &[Var]) -> anyhow::Result<Answer> {
    let y = case.apply(inputs)?;
    let weights = cases::fill("loss", y.dims())?;
    let loss = (y * weights)?.sum_all()?;
    let store = backward(&loss)?;
    let mut gradients = Vec::new();
    for (var, (name, _)) in inputs.iter().zip(&case.tensors) {
        let gradient = store
            .get(var)
            .ok_or_else(|| anyhow!("{}: no gradient of {name}", case.name))?;
        let direction = cases::fill("gradient", gradient.dims())?;
        gradients.push(f64::from(
            (gradient * direction)?.sum_all()?.to_scalar::<f32>()?,
        ));
    }
    Ok(Answer {
        loss: f64::from(loss.to_scalar::<f32>()?),
        gradients,
    })
}

fn agree(case: &Case, ours: &Answer, theirs: &Answer) -> anyhow::Result<()> {
    if ours.gradients.len() != theirs.gradients.len() {
        bail!("{}: PyTorch has another number of gradients", case.name)
    }
    let sides = std::iter::once((ours.loss, theirs.loss)).chain(
        ours.gradients
            .iter()
            .copied()
            .zip(theirs.gradients.iter().copied()),
    );
    for (index, (a, b)) in sides.enumerate() {
        // Projections are sums of terms of both signs: small ones carry large relative errors.
        let allowed = TOLERANCE * a.abs().max(b.abs()).max(1e-2);
        if (a - b).abs().is_nan() || (a - b).abs() > allowed {
            let what = match index {
                0 => "the loss".to_string(),
                i => format!("the gradient of {}", case.tensors[i - 1].0),
            };
            bail!("{}: {what} differs: mic {a}, PyTorch {b}", case.name)
        }
    }
    Ok(())
}

/// Linear interpolation between the sorted values.
fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else {
        return f64::NAN;
    };
    let position = q * last as f64;
    let (low, high) = (position.floor() as usize, position.ceil() as usize);
    values[low] + (values[high] - values[low]) * (position - low as f64)
}

impl Kind {
    /// Whether the images of this op are channels-last on our side.
    fn channels_last(self) -> bool {
        matches!(self, Self::DepthwiseTokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_runs_and_has_its_gradients() -> anyhow::Result<()> {
        for case in cases::all() {
            let small = case.shrunk();
            let answer = ours(&small, &small.inputs()?)?;
            assert!(answer.loss.is_finite(), "{}", case.name);
            assert!(answer.gradients.iter().all(|g| g.is_finite()));
            assert!(answer.gradients.iter().any(|g| *g != 0.0), "{}", case.name);
        }
        Ok(())
    }

    #[test]
    fn disagreement_is_found() {
        let case = &cases::all()[0];
        let answer = |g: f64| Answer {
            loss: 1.0,
            gradients: vec![g, 1.0],
        };
        assert!(agree(case, &answer(2.0), &answer(2.0)).is_ok());
        assert!(agree(case, &answer(2.0), &answer(2.1)).is_err());
        assert!(agree(case, &answer(2.0), &answer(f64::NAN)).is_err());
    }

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&mut [3.0, 1.0, 2.0, 4.0], 0.5), 2.5);
        assert!(quantile(&mut [], 0.5).is_nan());
    }
}
