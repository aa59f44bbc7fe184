//! Which proposals learn, and what.

use super::RoiConfig;
use crate::Result;
use crate::batch::{Known, Pass};
use crate::box_coder::BoxCoder;
use crate::boxes::Corners;
use crate::conventions::Conventions;
use crate::matcher::Match;
use crate::rpn::Proposals;
use crate::sampler::Picks;
use crate::tap::{Tap, labels_tensor};

/// The sampled regions of one image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Regions {
    /// Boxes in pixels of the network's input.
    pub boxes: Vec<Corners>,
    /// Class of each, 0 for background; all 0 where nothing is known of the image.
    pub labels: Vec<u32>,
    /// Offsets to its object; those of background do not count.
    pub offsets: Vec<[f32; 4]>,
    /// Whether they train the detector, not only the domain heads.
    pub labelled: bool,
}

/// Samples proposals of every image of `pass`, in the order of the proposals. `name` is that of the
/// pass.
///
/// # Errors
/// When a tap's tensor cannot be made.
pub fn sample_regions(
    config: &RoiConfig,
    conventions: Conventions,
    proposals: &[Proposals],
    pass: &Pass,
    name: &str,
    picks: &dyn Picks,
    tap: &mut Tap,
) -> Result<Vec<Regions>> {
    let coder = BoxCoder::detections(conventions);
    let mut sampled = Vec::with_capacity(proposals.len());
    for (image, (proposals, known)) in proposals.iter().zip(&pass.known).enumerate() {
        let boxes = &proposals.boxes;
        let (labels, offsets) = match known {
            Known::Objects(truth) => {
                let overlaps = conventions.iou_matrix(&truth.boxes, boxes);
                let matches = config.matcher.matches(&overlaps, boxes.len());
                let target = |(found, &from): (&Match, &Corners)| match *found {
                    Match::Object(i) => {
                        let label = i64::from(truth.labels[i]);
                        (label, coder.encode(truth.boxes[i], from))
                    }
                    Match::Background => (0, [0.0; 4]),
                    Match::Between => (-1, [0.0; 4]),
                };
                matches.iter().zip(boxes).map(target).unzip()
            }
            Known::Domain(_) => (vec![0i64; boxes.len()], vec![[0f32; 4]; boxes.len()]),
        };
        let site = format!("{name}.box_sampler.img{image}");
        tap.show(&format!("{site}.labels"), || labels_tensor(&labels))?;
        let chosen = config.sampler.sample(&labels, &site, picks);
        tap.show_sampled(&site, &chosen)?;
        let all = chosen.all();
        sampled.push(Regions {
            boxes: all.iter().map(|&i| boxes[i]).collect(),
            labels: all.iter().map(|&i| labels[i] as u32).collect(),
            offsets: all.iter().map(|&i| offsets[i]).collect(),
            labelled: known.is_labelled(),
        });
    }
    Ok(sampled)
}
