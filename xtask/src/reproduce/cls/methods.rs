//! The methods of classification's table.

use crate::reproduce::method::Method;

/// What every method of a seed starts from.
pub(super) fn warmup() -> Method {
    Method::new(
        "warm-up",
        "warm-up",
        "training on the labelled source images from random weights",
        &[
            "method.kind=source_only",
            "mask=",
            "train.iterations=300",
            "train.eval_every=0",
        ],
    )
}

/// Every method, controls last: overrides of the configuration file, which is SDAT with MIC.
pub(super) fn all() -> Vec<Method> {
    vec![
        Method::new(
            "source-only",
            "source-only",
            "the same number of further iterations on the labelled source images",
            &["method.kind=source_only", "mask="],
        ),
        Method::new(
            "cdan-mcc",
            "CDAN+MCC",
            "a conditional domain discriminator and minimum class confusion on the target",
            &["method.kind=cdan_mcc", "mask="],
        ),
        Method::new(
            "sdat",
            "SDAT",
            "CDAN+MCC with sharpness-aware minimisation of the task losses",
            &["mask="],
        ),
        Method::new(
            "mic",
            "SDAT + MIC",
            "masked image consistency besides SDAT, as in the configuration file",
            &[],
        ),
        Method::new(
            "cdan",
            "control: CDAN",
            "the conditional domain discriminator alone",
            &["method.kind=cdan", "mask="],
        )
        .as_control(),
        Method::new(
            "ratio-0",
            "control: ratio 0",
            "the extra passes of MIC with nothing masked: what they do without the mask",
            &["mask.ratio=0"],
        )
        .as_control(),
    ]
}
