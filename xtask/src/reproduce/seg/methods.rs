//! The methods of segmentation's table.

use super::benchmark::Benchmark;
use crate::reproduce::method::Method;

/// What every method of a seed starts from.
pub(super) fn warmup() -> Method {
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

/// Every method of a benchmark, controls last: overrides of the configuration file, which is
/// self-training with MIC. Of the mask modes among the controls, `mode` (the file's) is left out,
/// being the method `mic` itself.
pub(super) fn all(benchmark: &Benchmark, mode: &str) -> Vec<Method> {
    let ceiling = format!("data.source.domain={}", benchmark.target_domain());
    let mut all = vec![
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
    ];
    let same = format!("mask.mode={mode}");
    all.retain(|method| !method.control || !method.overrides.contains(&same));
    all
}

fn method(
    key: &'static str,
    label: &'static str,
    note: &'static str,
    overrides: &[&str],
) -> Method {
    Method::new(key, label, note, overrides)
}

fn control(
    key: &'static str,
    label: &'static str,
    note: &'static str,
    set: &'static str,
) -> Method {
    Method::new(key, label, note, &[set]).as_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_of_the_file_is_no_control() {
        let keys = |mode| -> Vec<&str> {
            let all = all(&Benchmark::Scenes, mode);
            all.iter().map(|method| method.key).collect()
        };
        let four = ["source-only", "self-training", "mic", "target-supervised"];
        let rest = ["ratio-0", "mic-target", "mic-source"];
        assert_eq!(keys("separateaug"), [&four[..], &rest].concat());
        assert_eq!(keys("none of them").len(), 8);
    }
}
