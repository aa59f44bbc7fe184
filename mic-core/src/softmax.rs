//! The largest softmax probability of every position, in one pass over the logits.

/// Positions handled together: few enough that all their logits stay in the first-level cache.
const BLOCK: usize = 256;

/// For logits (`batch`, `classes`, `per_image`): the class with the largest logit, the first one on
/// ties, and its softmax probability `1 / sum(exp(logit - largest))`, both (`batch`, `per_image`).
pub(crate) fn max_probability(
    logits: &[f32],
    batch: usize,
    classes: usize,
    per_image: usize,
) -> (Vec<u32>, Vec<f32>) {
    let mut label = vec![0u32; batch * per_image];
    let mut probability = vec![0f32; batch * per_image];
    if per_image == 1 {
        // Classification: the classes of a sample lie side by side.
        for ((row, label), probability) in logits
            .chunks_exact(classes)
            .zip(&mut label)
            .zip(&mut probability)
        {
            let mut largest = row[0];
            for (class, &logit) in row.iter().enumerate().skip(1) {
                if logit > largest {
                    (largest, *label) = (logit, class as u32);
                }
            }
            *probability = 1.0
                / row
                    .iter()
                    .map(|&logit| (logit - largest).exp())
                    .sum::<f32>();
        }
        return (label, probability);
    }
    for (image, logits) in logits.chunks_exact(classes * per_image).enumerate() {
        let out = image * per_image..(image + 1) * per_image;
        let blocks = label[out.clone()]
            .chunks_mut(BLOCK)
            .zip(probability[out].chunks_mut(BLOCK));
        for (block, (label, probability)) in blocks.enumerate() {
            let plane = |class: usize| {
                &logits[class * per_image + block * BLOCK..][..label_len(per_image, block)]
            };
            one_block(plane, classes, label, probability);
        }
    }
    (label, probability)
}

fn label_len(per_image: usize, block: usize) -> usize {
    BLOCK.min(per_image - block * BLOCK)
}

fn one_block<'a>(
    plane: impl Fn(usize) -> &'a [f32],
    classes: usize,
    label: &mut [u32],
    probability: &mut [f32],
) {
    let mut largest = [0f32; BLOCK];
    let largest = &mut largest[..label.len()];
    largest.copy_from_slice(plane(0));
    for class in 1..classes {
        for ((logit, largest), label) in plane(class)
            .iter()
            .zip(largest.iter_mut())
            .zip(label.iter_mut())
        {
            let better = logit > largest;
            *label = if better { class as u32 } else { *label };
            *largest = if better { *logit } else { *largest };
        }
    }
    for class in 0..classes {
        for ((logit, largest), sum) in plane(class)
            .iter()
            .zip(&*largest)
            .zip(probability.iter_mut())
        {
            *sum += exp_of_negative(logit - largest);
        }
    }
    for sum in probability {
        *sum = 1.0 / *sum;
    }
}

/// `exp(x)` for x <= 0 (and NaN), to about 2 units in the last place; 0 below -87. Branch-free, so
/// that the loop around it compiles to vector instructions, which a call of the library's does not.
#[inline(always)]
fn exp_of_negative(x: f32) -> f32 {
    // Adding and subtracting 1.5 * 2^23 rounds to an integer, which then sits in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // `x < -87.0` and not `max`, so that NaN stays NaN.
    let tiny = x < -87.0;
    let x = if tiny { -87.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    // The Taylor series to the seventh power; |r| <= ln(2) / 2, so the rest is below 6e-9.
    let mut p = 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    if tiny { 0.0 } else { p * power }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate_over_its_range() {
        for step in 0..870_000 {
            let x = -(step as f32) * 1e-4;
            let exact = f64::from(x).exp();
            let relative = ((f64::from(exp_of_negative(x)) - exact) / exact).abs();
            assert!(relative < 2.5e-7, "exp({x}) is off by {relative:e}");
        }
        assert_eq!(exp_of_negative(0.0), 1.0);
        assert_eq!(exp_of_negative(f32::NEG_INFINITY), 0.0);
        assert!(exp_of_negative(f32::NAN).is_nan());
    }

    #[test]
    fn both_layouts_agree_and_ties_take_the_first_class() {
        let (classes, places) = (5, 601);
        let logit = |c: usize, p: usize| ((c * 7 + p * 13) % 11) as f32 * 0.7 - 3.0;
        let planes: Vec<f32> = (0..classes)
            .flat_map(|c| (0..places).map(move |p| logit(c, p)))
            .collect();
        let rows: Vec<f32> = (0..places)
            .flat_map(|p| (0..classes).map(move |c| logit(c, p)))
            .collect();
        let (label, probability) = max_probability(&planes, 1, classes, places);
        let (row_label, row_probability) = max_probability(&rows, places, classes, 1);
        assert_eq!(label, row_label);
        for (a, b) in probability.iter().zip(&row_probability) {
            assert!((a - b).abs() < 1e-6);
        }
        assert_eq!(max_probability(&[1.0; 8], 2, 4, 1).0, [0, 0]);
        assert_eq!(max_probability(&[1.0; 8], 1, 4, 2).0, [0, 0]);
    }
}
