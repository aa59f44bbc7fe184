//! Larger comparisons than the usual one: networks and methods with and without MIC, and the
//! parameters of the masks.

use super::benchmark::Benchmark;
use crate::reproduce::method::Method;
use crate::reproduce::task::{Against, Pair};

/// What is varied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Study {
    /// The usual comparison: methods on one network.
    #[default]
    Methods,
    /// Source-only, DACS, DAFormer's and HRDA's training and the ceiling, each without and with MIC
    /// and with ratio 0: the shape of the paper's table 1, on scenes of 256x128 pixels.
    Networks,
    /// Block size, mask ratio and the parts of MIC: the shape of the paper's tables 7 and 8.
    Masks,
}

impl Study {
    /// A study that `benchmark` has what it needs for.
    ///
    /// # Errors
    ///
    /// Networks of two resolutions on other images than scenes.
    pub fn check(self, benchmark: &Benchmark) -> Result<Self, String> {
        match (self, benchmark) {
            (Self::Networks, Benchmark::CamVid { .. }) => Err(
                "--study networks: it needs the built-in scenes, which are drawn in two sizes; \
                 leave out --source, --target and --data-root"
                    .into(),
            ),
            _ => Ok(self),
        }
    }

    /// The pairs that all methods are run on.
    pub(super) fn pairs(self, benchmark: &Benchmark) -> Vec<Pair> {
        match self {
            Self::Networks => networks(),
            Self::Methods | Self::Masks => vec![Pair {
                overrides: benchmark.overrides(),
                ..Pair::default()
            }],
        }
    }

    /// The methods of a study of its own; `None`: the usual ones.
    pub(super) fn methods(self) -> Option<Vec<Method>> {
        match self {
            Self::Methods => None,
            Self::Networks => Some(with_and_without()),
            Self::Masks => Some(masks()),
        }
    }

    /// What is compared with what.
    pub(super) fn comparisons(self) -> &'static [Against] {
        match self {
            Self::Methods => &[
                Against {
                    method: None,
                    baseline: "self-training",
                },
                Against {
                    method: Some("mic"),
                    baseline: "ratio-0",
                },
            ],
            Self::Networks => &[
                Against {
                    method: None,
                    baseline: "without",
                },
                Against {
                    method: Some("mic"),
                    baseline: "ratio-0",
                },
            ],
            Self::Masks => &[Against {
                method: None,
                baseline: "ratio-0",
            }],
        }
    }
}

/// Scenes of 256x128 pixels. Networks of one resolution see half of it, as DAFormer sees half of
/// Cityscapes; HRDA sees crops of the whole.
fn networks() -> Vec<Pair> {
    let sets = ["source", "target", "test"];
    let sizes = sets.map(|set| format!("data.{set}.size=[256, 128]"));
    let low = sets.map(|set| format!("data.{set}.resize=[128, 64]"));
    let rare = |min_pixels: u32| {
        let sets = [
            format!("data.rare_class_sampling.min_pixels={min_pixels}"),
            "data.rare_class_sampling.temperature=0.01".into(),
            "data.rare_class_sampling.min_crop_ratio=0.5".into(),
        ];
        sets.to_vec()
    };
    // Masked images need labels or a teacher, and training on labels alone has no teacher.
    let labels = ["method.kind=supervised", "mask.mode=separatesrcaug"].map(String::from);
    let high = ["model.hrda.crop=[128, 64]", "mask.block=32"].map(String::from);
    let pair = |key: &str, label: &str, parts: &[&[String]]| Pair {
        key: key.into(),
        label: label.into(),
        overrides: [&sizes[..], &parts.concat()].concat(),
    };
    let ceiling = ["data.source.domain=target".to_owned()];
    vec![
        pair("source-only", "Source-only", &[&low, &labels]),
        pair("dacs", "DACS", &[&low]),
        pair(
            "daformer",
            "DACS with rare class sampling (DAFormer)",
            &[&low, &rare(30)],
        ),
        pair(
            "hrda",
            "HRDA with rare class sampling",
            &[&high, &rare(120)],
        ),
        pair(
            "ceiling",
            "Target-supervised (ceiling)",
            &[&low, &labels, &ceiling],
        ),
    ]
}

fn with_and_without() -> Vec<Method> {
    vec![
        Method::new("without", "without MIC", "as it is", &["mask="]),
        Method::new(
            "mic",
            "with MIC",
            "masked image consistency in the configuration's form, or masked source images where \
             there is no teacher",
            &[],
        ),
        Method::new(
            "ratio-0",
            "control: ratio 0",
            "the extra pass of MIC with nothing masked: what the pass does without the mask",
            &["mask.ratio=0"],
        ),
    ]
}

/// Blocks and ratios of the grid. In a scene of 128x64 pixels a block of 8 is in the proportion of the
/// paper's 64 in a crop of 1024x1024.
const GRID: [(&str, &str, &str, &str); 9] = [
    ("b8-r3", "block 8, ratio 0.3", "8", "0.3"),
    ("b8-r5", "block 8, ratio 0.5", "8", "0.5"),
    ("b8-r7", "block 8, ratio 0.7", "8", "0.7"),
    ("b16-r3", "block 16, ratio 0.3", "16", "0.3"),
    ("b16-r5", "block 16, ratio 0.5", "16", "0.5"),
    ("b16-r7", "block 16, ratio 0.7", "16", "0.7"),
    ("b32-r3", "block 32, ratio 0.3", "32", "0.3"),
    ("b32-r5", "block 32, ratio 0.5", "32", "0.5"),
    ("b32-r7", "block 32, ratio 0.7", "32", "0.7"),
];

fn masks() -> Vec<Method> {
    let mut all = vec![
        Method::new("without", "without MIC", "self-training alone", &["mask="]),
        Method::new(
            "ratio-0",
            "ratio 0",
            "the extra pass of MIC with nothing masked",
            &["mask.ratio=0"],
        ),
    ];
    for (key, label, block, ratio) in GRID {
        let block = format!("mask.block={block}");
        let ratio = format!("mask.ratio={ratio}");
        let note = "masked image consistency with masks of this size and ratio";
        all.push(Method::new(key, label, note, &[&block, &ratio]));
    }
    all.extend([
        Method::new(
            "no-colour",
            "no colour augmentation",
            "the file's masks on images without colour jitter and blur",
            &["mask.mode=separate"],
        ),
        Method::new(
            "no-ema",
            "no EMA teacher",
            "the masked pass's pseudo-labels are the student's own",
            &["mask.alpha=0.0"],
        ),
        Method::new(
            "no-weight",
            "no confidence weight",
            "every pseudo-label of the masked pass counts in full",
            &["mask.pseudo_threshold=\"none\""],
        ),
    ]);
    all
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn two_resolutions_need_scenes() {
        let root = PathBuf::from("camvid");
        let error = Study::Networks.check(&Benchmark::CamVid { root });
        assert!(error.unwrap_err().contains("--study networks"));
        assert!(Study::Networks.check(&Benchmark::Scenes).is_ok());
    }

    #[test]
    fn a_study_compares_with_methods_that_it_has() {
        for study in [Study::Networks, Study::Masks] {
            let methods = study.methods().unwrap();
            for against in study.comparisons() {
                let named = against.method.into_iter().chain([against.baseline]);
                for key in named {
                    assert!(methods.iter().any(|method| method.key == key), "{key}");
                }
            }
        }
    }
}
