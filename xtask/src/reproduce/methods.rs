//! The methods of the table, each a few overrides of one configuration file.

use super::benchmark::Benchmark;

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// The name on the command line.
    pub key: &'static str,
    /// The name in tables.
    pub label: &'static str,
    /// What it is.
    pub note: &'static str,
    /// Overrides of the configuration file, which is self-training with MIC.
    pub overrides: Vec<String>,
    /// Whether it is run with `--controls` only.
    pub control: bool,
}

/// What every method of a seed starts from.
pub fn warmup() -> Method {
    method(
        "warm-up",
        "warm-up",
        "training on the labelled source images from random weights",
        &[
            "method.kind=supervised",
            "mask=",
            "optimizer.lr=5e-3",
            "optimizer.warmup=100",
            "optimizer.final_ratio=0.2",
            "train.iterations=1000",
            "train.eval_every=0",
        ],
    )
}

/// Every method of a benchmark, controls last.
pub fn all(benchmark: &Benchmark) -> Vec<Method> {
    let ceiling = format!("data.source.domain={}", benchmark.target_domain());
    vec![
        method(
            "source-only",
            "source-only",
            "the same number of further iterations on the labelled source images",
            &["method.kind=supervised", "mask="],
        ),
        method(
            "self-training",
            "self-training",
            "DACS: pseudo-labels of a mean teacher on images mixed from source and target",
            &["mask="],
        ),
        method(
            "mic",
            "self-training + MIC",
            "masked image consistency besides self-training, as in the configuration file",
            &[],
        ),
        method(
            "target-supervised",
            "target-supervised (ceiling)",
            "training on the labels of the target training images: no adaptation method",
            &["method.kind=supervised", "mask=", &ceiling],
        ),
        control(
            "ratio-0",
            "control: ratio 0",
            "the extra pass of MIC with nothing masked: what the pass does without the mask",
            "mask.ratio=0",
        ),
        control(
            "mic-target",
            "MIC, target only",
            "the form of the paper's GTA runs: the masked batch is the target batch",
            "mask.mode=separatetrgaug",
        ),
        control(
            "mic-mixed",
            "MIC, mixed",
            "the masked batch is one source and one target image",
            "mask.mode=separateaug",
        ),
        control(
            "mic-source",
            "MIC, source only",
            "the masked batch is the source batch with its ground truth: no consistency on the target",
            "mask.mode=separatesrcaug",
        ),
    ]
}

fn method(
    key: &'static str,
    label: &'static str,
    note: &'static str,
    overrides: &[&str],
) -> Method {
    Method {
        key,
        label,
        note,
        overrides: overrides.iter().map(|set| (*set).to_owned()).collect(),
        control: false,
    }
}

fn control(
    key: &'static str,
    label: &'static str,
    note: &'static str,
    set: &'static str,
) -> Method {
    Method {
        control: true,
        ..method(key, label, note, &[set])
    }
}

/// The methods that are run: those named, in the order of the table, or all without the controls
/// or with them. Of the mask modes among the controls, `mode` (the configuration file's) is left
/// out, being the method `mic` itself.
///
/// # Errors
///
/// An unknown name, with the known ones.
pub fn select(
    benchmark: &Benchmark,
    named: &[String],
    controls: bool,
    mode: &str,
) -> Result<Vec<Method>, String> {
    let all = all(benchmark);
    if let Some(unknown) = named
        .iter()
        .find(|name| !all.iter().any(|m| m.key == **name))
    {
        let known: Vec<&str> = all.iter().map(|method| method.key).collect();
        return Err(format!(
            "--methods {unknown}: expected some of {}",
            known.join(", ")
        ));
    }
    let same = format!("mask.mode={mode}");
    let chosen = |method: &Method| match named {
        [] => !method.control || (controls && !method.overrides.contains(&same)),
        names => names.iter().any(|name| name == method.key),
    };
    Ok(all.into_iter().filter(chosen).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(named: &[&str], controls: bool) -> Result<Vec<&'static str>, String> {
        let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
        let chosen = select(&Benchmark::Scenes, &named, controls, "separateaug")?;
        Ok(chosen.iter().map(|method| method.key).collect())
    }

    #[test]
    fn controls_come_when_asked_for() {
        let four = ["source-only", "self-training", "mic", "target-supervised"];
        assert_eq!(keys(&[], false).unwrap(), four);
        let rest = ["ratio-0", "mic-target", "mic-source"];
        assert_eq!(keys(&[], true).unwrap(), [&four[..], &rest].concat());
    }

    #[test]
    fn named_methods_keep_the_order_of_the_table() {
        assert_eq!(
            keys(&["ratio-0", "mic"], false).unwrap(),
            ["mic", "ratio-0"]
        );
        let error = keys(&["mik"], false).unwrap_err();
        assert!(
            error.contains("mik") && error.contains("self-training"),
            "{error}"
        );
    }
}
