//! The methods of detection's table.

use crate::reproduce::method::Method;

/// What every method of a seed starts from.
pub(super) fn warmup() -> Method {
    Method::new(
        "warm-up",
        "warm-up",
        "training on the annotated source images from random weights, with batch norm",
        &[
            "method.kind=source_only",
            "mask=",
            "model.norm=batch",
            "train.batch=2",
            "optimizer.lr=0.02",
            "optimizer.warmup_iters=200",
            "optimizer.milestones=[1200]",
            "train.iterations=1500",
            "train.eval_every=0",
        ],
    )
}

/// Every method, controls last: overrides of the configuration file, which is SADA with MIC.
pub(super) fn all() -> Vec<Method> {
    vec![
        Method::new(
            "source-only",
            "source-only",
            "the same number of further iterations on the annotated source images",
            &["method.kind=source_only", "mask="],
        ),
        Method::new(
            "sada",
            "SADA",
            "adversarial domain heads on maps and regions, with their consistency",
            &["mask="],
        ),
        Method::new(
            "mic",
            "SADA + MIC",
            "masked image consistency besides SADA, as in the configuration file",
            &[],
        ),
        Method::new(
            "oracle",
            "oracle (ceiling)",
            "training on the annotations of the target training images: no adaptation method",
            &["method.kind=oracle", "mask="],
        ),
        Method::new(
            "ratio-0",
            "control: ratio 0",
            "the extra pass of MIC with nothing masked: what the pass does without the mask",
            &["mask.ratio=0"],
        )
        .as_control(),
    ]
}
