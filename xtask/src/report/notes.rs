//! What a reader must know besides the numbers.

use crate::reproduce::results::Results;
use crate::reproduce::statistics::critical_t;

/// What the numbers are and are not.
pub fn scope(results: &Results) -> String {
    format!(
        "This is the miniature, not the paper's experiment: a small network trained from random \
         weights on {}. Its numbers can be compared with each other and with nothing else.",
        results.data
    )
}

/// What the paper's own runs need.
pub fn paper_scale() -> String {
    "The paper's segmentation runs need data that must be requested from its owners (GTA5 or \
     SYNTHIA as the source, Cityscapes as the target; Cityscapes, ACDC and Dark Zurich for the \
     adverse-weather pairs), ImageNet weights of MiT-B5, and 40,000 iterations at batch size 2 for \
     each of three seeds. Known costs: DAFormer without MIC 16 h on one RTX 2080 Ti (9.7 GB), \
     HRDA without MIC 32 h on one Titan RTX (22.5 GB). MIC adds one more pass in every step; its \
     own hours were not published, only that MIC(DAFormer) fits one GPU of 11 GB and MIC(HRDA) one \
     of 24 GB. Published for GTA to Cityscapes: DAFormer 68.3 mIoU, with MIC 70.6; HRDA 73.8, with \
     MIC 75.9."
        .into()
}

/// How to read the rows of the table.
pub fn reading(results: &Results) -> Vec<String> {
    let mut lines = vec![format!(
        "All methods of a seed start from the same weights ({} iterations on the labelled source \
         images) and take {} iterations; the last iteration's student is evaluated, no checkpoint \
         is picked.",
        results.iterations.warmup, results.iterations.adaptation
    )];
    lines.push(
        "IoU and accuracies are percentages on held-out target images; a dash is a class in \
         neither labels nor predictions, or a method without a teacher. Teacher acc. is the \
         teacher's pseudo-labels against hidden labels of target training images, read for this \
         number alone."
            .into(),
    );
    lines.extend(mask(results));
    let seeds = results.seeds.len();
    match critical_t(seeds.saturating_sub(1)) {
        Some(critical) => lines.push(format!(
            "± is the sample standard deviation over {seeds} seeds. A paired difference with |t| \
             below {critical:.2} is within chance (two-sided, 5 %, for one comparison chosen \
             beforehand)."
        )),
        None if seeds < 2 => lines.push(
            "One seed says nothing about chance; give several, such as --seeds 0,1,2.".into(),
        ),
        None => lines.push(format!(
            "± is the sample standard deviation over {seeds} seeds."
        )),
    }
    lines
}

/// The masks of MIC, of which there are several forms.
fn mask(results: &Results) -> Option<String> {
    let method = results.methods.iter().find(|method| method.key == "mic")?;
    let mask = method.config.get("mask")?;
    Some(format!(
        "{}: mask.mode = {}, mask.block = {}, mask.ratio = {}; rows that name another form differ \
         in that alone.",
        method.label,
        mask.get("mode")?,
        mask.get("block")?,
        mask.get("ratio")?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn chance_is_explained_according_to_the_seeds() {
        let last = |seeds| reading(&sample::results(seeds)).pop().unwrap();
        assert!(last(1).contains("One seed"));
        assert!(last(3).contains("below 4.30"));
        assert!(scope(&sample::results(1)).contains("made-up"));
    }
}
