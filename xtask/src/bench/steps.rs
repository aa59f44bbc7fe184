//! The table of training steps.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::bail;

use super::Options;
use super::networks::{Network, Training};
use super::peer::{Peer, Trained};
use super::report::Report;
use super::timing::{Times, alternate};

/// Relative difference of losses above which the sides disagree.
const TOLERANCE: f64 = 1e-3;

/// Losses that are compared: the first one and those after each of two steps.
const LOSSES: usize = 3;

/// Turns before those that count; the compared steps have gone before them.
const WARM: usize = 1;

/// Layouts of images that PyTorch has chosen, by the network's name.
pub(super) type Layouts = HashMap<&'static str, String>;

/// Measures the networks, plain and recomputed, and writes a line for each.
///
/// # Errors
/// When a network fails on our side or the report cannot be written.
pub(super) fn table(
    networks: &[Network],
    mut peer: Option<&mut Peer>,
    options: &Options,
    repetitions: usize,
    report: &mut Report,
) -> anyhow::Result<Layouts> {
    report.line("\n## Training steps\n")?;
    report.line(format_args!(
        "Seconds of a step (forward pass, loss, backward pass, optimiser), f32, median of \
         {repetitions}. Recomputed: every block runs again in the backward pass instead of keeping \
         its activations, on PyTorch's side by `torch.utils.checkpoint`; the last column compares \
         with the row above.\n"
    ))?;
    report.line(
        "| network | mic s | PyTorch s | ratio (quartiles) | recomputation, mic / PyTorch |",
    )?;
    report.line("| --- | --- | --- | --- | --- |")?;
    let (mut layouts, mut extras) = (Layouts::new(), Vec::new());
    for network in networks {
        let able = |peer: &&mut Peer| peer.missing(network.needs).is_empty();
        let peer = peer.as_deref_mut().filter(able);
        let measured = mic_nn::threads::train_in_pool(Some(options.threads), || {
            measure(network, peer, repetitions)
        })??;
        let Measured {
            plain,
            recomputed,
            layout,
            trouble,
        } = measured;
        layouts.extend(layout.map(|layout| (network.name, layout)));
        report.line(row(&network.row(false), &plain, None))?;
        report.line(row(&network.row(true), &recomputed, Some(&plain)))?;
        extras.extend(share_of_extras(network, &plain, options.threads)?);
        trouble
            .into_iter()
            .for_each(|trouble| report.failed(trouble));
    }
    for line in extras {
        report.line(line)?;
    }
    Ok(layouts)
}

/// What of a whole iteration is not spent in networks and the optimiser.
fn share_of_extras(
    network: &Network,
    plain: &Times,
    threads: usize,
) -> anyhow::Result<Option<String>> {
    let extras = mic_nn::threads::train_in_pool(Some(threads), || network.extras())??;
    if extras.is_empty() {
        return Ok(None);
    }
    let sum: f64 = extras.iter().map(|(_, seconds)| seconds).sum();
    let parts = extras
        .iter()
        .map(|(what, s)| format!("{what} {:.1}", 1e3 * s));
    Ok(Some(format!(
        "\n{}: {:.1} % of mic's time is spent outside of networks and optimiser (ms: {}).",
        network.title,
        100.0 * sum / plain.ours(),
        parts.collect::<Vec<_>>().join(", ")
    )))
}

struct Measured {
    plain: Times,
    recomputed: Times,
    layout: Option<String>,
    /// Why PyTorch was not measured.
    trouble: Option<String>,
}

fn measure(
    network: &Network,
    mut peer: Option<&mut Peer>,
    repetitions: usize,
) -> anyhow::Result<Measured> {
    let mut training = Training::new(network)?;
    let ours = (0..LOSSES).map(|_| training.step(false));
    let ours = ours.collect::<candle_core::Result<Vec<Vec<f64>>>>()?;
    let (mut layout, mut trouble) = (None, None);
    if let Some(asked) = &mut peer {
        match asked.network(network)? {
            Ok(Trained { losses, layout: l }) => {
                layout = Some(l);
                let agreement = agree(network.title, &ours, &losses);
                trouble = agreement.err().map(|reason| reason.to_string());
            }
            Err(reason) => trouble = Some(format!("{}: {reason}", network.title)),
        }
    }
    let mut peer = peer.filter(|_| trouble.is_none());
    let mut times = |recompute| {
        let once = || -> anyhow::Result<f64> {
            let start = Instant::now();
            training.step(recompute)?;
            Ok(start.elapsed().as_secs_f64())
        };
        let peer = peer.as_deref_mut().map(|peer| (peer, recompute));
        alternate(WARM, repetitions, 1, once, peer)
    };
    Ok(Measured {
        plain: times(false)?,
        recomputed: times(true)?,
        layout,
        trouble,
    })
}

fn agree(title: &str, ours: &[Vec<f64>], theirs: &[Vec<f64>]) -> anyhow::Result<()> {
    let counts = |losses: &[Vec<f64>]| losses.iter().map(Vec::len).collect::<Vec<_>>();
    if counts(ours) != counts(theirs) {
        bail!(
            "{title}: mic tells {:?} losses in its steps, PyTorch {:?}",
            counts(ours),
            counts(theirs)
        )
    }
    for (step, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        for (index, (a, b)) in ours.iter().zip(theirs).enumerate() {
            // Rounding grows from step to step, fast where batch norm sees few images.
            let allowed = TOLERANCE * 4f64.powi(step as i32) * a.abs().max(b.abs());
            if (a - b).is_nan() || (a - b).abs() > allowed {
                bail!(
                    "{title}: loss {index} after {step} steps differs: mic {a}, PyTorch {b} (all: \
                     {ours:?}, {theirs:?})"
                )
            }
        }
    }
    Ok(())
}

fn row(title: &str, times: &Times, plain: Option<&Times>) -> String {
    let seconds = |seconds: f64| format!("{seconds:.3}");
    let cost = plain.map(|plain| {
        let ours = format!("{:.2}", times.ours() / plain.ours());
        match times.theirs().zip(plain.theirs()) {
            Some((recomputed, plain)) => format!("{ours} / {:.2}", recomputed / plain),
            None => ours,
        }
    });
    format!(
        "| {title} | {} | {} | {} | {} |",
        seconds(times.ours()),
        times.theirs().map(seconds).unwrap_or_default(),
        times.ratio(),
        cost.unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::networks;
    use super::*;

    #[test]
    fn every_network_learns_and_recomputes_the_same() -> anyhow::Result<()> {
        for network in networks::all()? {
            let network = network.tiny();
            let run = |recompute| -> anyhow::Result<Vec<Vec<f64>>> {
                let mut training = Training::new(&network)?;
                let losses = (0..LOSSES).map(|_| training.step(recompute));
                Ok(losses.collect::<candle_core::Result<_>>()?)
            };
            let (plain, recomputed) = (run(false)?, run(true)?);
            // The comparison with PyTorch must notice steps in a wrong direction.
            let change = (plain[2][0] - plain[0][0]).abs();
            assert!(
                change > 2.0 * TOLERANCE * plain[0][0].abs(),
                "{}: {plain:?}",
                network.name
            );
            agree(network.title, &plain, &recomputed)?;
        }
        Ok(())
    }

    #[test]
    fn disagreement_is_found() {
        let agree = |ours: &[f64], theirs: &[f64]| {
            let steps = |losses: &[f64]| losses.iter().map(|&l| vec![3.0, l]).collect::<Vec<_>>();
            agree("net", &steps(ours), &steps(theirs))
        };
        assert!(agree(&[2.0, 1.0], &[2.001, 1.002]).is_ok());
        assert!(agree(&[2.0, 1.0], &[2.0, 1.006]).is_err());
        assert!(agree(&[2.0, 1.0], &[2.0, f64::NAN]).is_err());
        assert!(agree(&[2.0, 1.0], &[2.0]).is_err());
        assert!(super::agree("net", &[vec![1.0]], &[vec![1.0, 2.0]]).is_err());
    }
}
