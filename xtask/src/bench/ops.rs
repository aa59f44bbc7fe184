//! The table of single ops.

use std::time::Instant;

use anyhow::{anyhow, bail};
use mic_nn::autograd::{backward, backward_with};

use super::cases::{Case, Prepared, fill};
use super::peer::{Answer, Peer};
use super::report::Report;
use super::timing::{Times, alternate};

/// Relative difference of a loss or a gradient's projection above which the sides disagree.
const TOLERANCE: f64 = 2e-3;

/// The first turns warm caches and allocators.
const WARM: usize = 3;

/// Least seconds of a turn: fast ops run several times in one.
const TURN: f64 = 0.02;

/// Measures the ops and writes a line for each.
///
/// # Errors
/// When an op fails or the report cannot be written.
pub(super) fn table(
    cases: &[Case],
    mut peer: Option<&mut Peer>,
    threads: usize,
    repetitions: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    report.line("## Single ops\n")?;
    report.line(format_args!(
        "Milliseconds, forward + backward pass, f32, median of {repetitions}.\n"
    ))?;
    report.line("| op | mic ms | PyTorch ms | ratio (quartiles) |")?;
    report.line("| --- | --- | --- | --- |")?;
    for case in cases {
        let able = |peer: &&mut Peer| peer.missing(case.needs()).is_empty();
        let peer = peer.as_deref_mut().filter(able);
        let measured =
            mic_nn::threads::train_in_pool(Some(threads), || measure(case, peer, repetitions))??;
        let milliseconds = |seconds: f64| format!("{:.2}", seconds * 1e3);
        let Measured { times, trouble } = measured;
        report.line(format_args!(
            "| {} | {} | {} | {} |",
            case.name,
            milliseconds(times.ours()),
            times.theirs().map(milliseconds).unwrap_or_default(),
            times.ratio(),
        ))?;
        trouble
            .into_iter()
            .for_each(|trouble| report.failed(trouble));
    }
    Ok(())
}

struct Measured {
    times: Times,
    /// Why PyTorch was not measured.
    trouble: Option<String>,
}

fn measure(
    case: &Case,
    mut peer: Option<&mut Peer>,
    repetitions: usize,
) -> anyhow::Result<Measured> {
    let prepared = case.prepare()?;
    let ours = ours(case, &prepared)?;
    let mut trouble = None;
    if let Some(asked) = &mut peer {
        let agreement = asked
            .op(case)?
            .map_err(|reason| anyhow!("{}: {reason}", case.name));
        let agreement = agreement.and_then(|theirs| agree(case, &ours, &theirs));
        trouble = agreement.err().map(|reason| reason.to_string());
    }
    // Made beforehand on both sides.
    let ones = prepared.apply()?.detach().ones_like()?;
    let once = || -> anyhow::Result<f64> {
        let start = Instant::now();
        let gradients = backward_with(&prepared.apply()?, &ones)?;
        let seconds = start.elapsed().as_secs_f64();
        drop(gradients);
        Ok(seconds)
    };
    let times = (TURN / once()?.max(1e-6)).ceil().clamp(1.0, 20.0) as usize;
    let theirs = peer.filter(|_| trouble.is_none()).map(|peer| (peer, false));
    let times = alternate(WARM, repetitions, times, once, theirs)?;
    Ok(Measured { times, trouble })
}

/// A weighted sum of the output, and a projection of every gradient.
fn ours(case: &Case, prepared: &Prepared) -> anyhow::Result<Answer> {
    let y = prepared.apply()?;
    let loss = (&y * fill("loss", y.dims())?)?.sum_all()?;
    let store = backward(&loss)?;
    let mut gradients = Vec::new();
    for (var, (name, _)) in prepared.inputs.iter().zip(&case.tensors) {
        let gradient = store
            .get(var)
            .ok_or_else(|| anyhow!("{}: no gradient of {name}", case.name))?;
        let direction = fill("gradient", gradient.dims())?;
        let projection = (gradient * direction)?.sum_all()?;
        gradients.push(f64::from(projection.to_scalar::<f32>()?));
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
    let gradients = ours.gradients.iter().zip(&theirs.gradients);
    let sides = std::iter::once((&ours.loss, &theirs.loss)).chain(gradients);
    for (index, (a, b)) in sides.enumerate() {
        // Projections are sums of terms of both signs: small ones carry large relative errors.
        let allowed = TOLERANCE * a.abs().max(b.abs()).max(1e-2);
        if (a - b).is_nan() || (a - b).abs() > allowed {
            let what = match index {
                0 => "the loss".to_string(),
                i => format!("the gradient of {}", case.tensors[i - 1].0),
            };
            bail!("{}: {what} differs: mic {a}, PyTorch {b}", case.name)
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::cases;
    use super::*;

    #[test]
    fn every_case_runs_and_has_its_gradients() -> anyhow::Result<()> {
        for case in cases::all() {
            let small = case.tiny();
            let answer = ours(&small, &small.prepare()?)?;
            assert!(answer.loss.is_finite(), "{}", case.name);
            assert!(answer.gradients.iter().all(|g| g.is_finite()));
            assert!(answer.gradients.iter().any(|g| *g != 0.0), "{}", case.name);
        }
        Ok(())
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<String> = cases::all().into_iter().map(|c| c.name).collect();
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
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
}
