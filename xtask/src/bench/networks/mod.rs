//! Training steps of whole networks.

mod classifier;
mod detector;
mod iteration;
mod training;

use mic_nn::models::mit::MitConfig;
use mic_nn::models::resnet::{NormKind, ResNetConfig};
use mic_nn::models::vit::{VitConfig, VitSize};
use serde::Serialize;

use classifier::{Backbone, Classifier};
use detector::Detector;
use iteration::Iteration;
pub(super) use training::Training;

/// A network with everything that both sides need to train it alike.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Network {
    /// What the command line calls it.
    pub(super) name: &'static str,
    /// What tables call it.
    pub(super) title: &'static str,
    /// Python packages besides torch that PyTorch's side is made of.
    pub(super) needs: &'static [&'static str],
    pub(super) architecture: Architecture,
    /// (B, 3, H, W).
    pub(super) image: [usize; 4],
    pub(super) classes: usize,
    optimizer: OptimizerRule,
}

/// What the network consists of.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Architecture {
    /// MiT and the DAFormer head, logits upsampled to the image, cross-entropy.
    Segmentor {
        backbone: MitConfig,
        channels: usize,
        dilations: Vec<usize>,
    },
    /// A ResNet with classifier, cross-entropy.
    Resnet(ResNetConfig),
    /// A vision transformer with classifier, cross-entropy.
    Vit(VitConfig),
    /// The feature pyramid on a ResNet with frozen batch norm, the sum of its levels' means.
    Pyramid(ResNetConfig),
    /// A whole iteration of self-training with masked consistency.
    Iteration(Iteration),
    /// A whole iteration of SDAT with masked consistency.
    Classifier(Classifier),
    /// A whole iteration of SADA with masked consistency.
    Detector(Detector),
}

/// The optimiser; all parameters have the same settings.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum OptimizerRule {
    AdamW {
        lr: f64,
        weight_decay: f64,
    },
    Sgd {
        lr: f64,
        momentum: f64,
        weight_decay: f64,
    },
}

/// All networks.
pub(super) fn all() -> candle_core::Result<Vec<Network>> {
    Ok(vec![
        resnet()?,
        vit(),
        segmentor("mit-b0", "MiT-B0, DAFormer head, 1x3x512x512", 0)?,
        segmentor("mit-b5", "MiT-B5, DAFormer head, 1x3x512x512", 5)?,
        pyramid()?,
        iteration(
            "mic-daformer-b2",
            "MIC(DAFormer) iteration, MiT-B2, 2x3x256x256",
            (2, 256, false),
        )?,
        iteration(
            "mic-hrda-b2",
            "MIC(HRDA) iteration, MiT-B2, 2x3x256x256",
            (2, 256, true),
        )?,
        iteration(
            "mic-daformer-b5",
            "MIC(DAFormer) iteration, MiT-B5, 2x3x128x128",
            (5, 128, false),
        )?,
        iteration(
            "mic-hrda-b5",
            "MIC(HRDA) iteration, MiT-B5, 2x3x128x128",
            (5, 128, true),
        )?,
        classifier(
            "mic(sdat)-vit-b16",
            "MIC(SDAT) iteration, ViT-B/16, 4x3x224x224",
            Backbone::Vit(VitConfig::variant(VitSize::Base)),
            &["timm"],
        ),
        classifier(
            "mic(sdat)-resnet-101",
            "MIC(SDAT) iteration, ResNet-101, 4x3x224x224",
            Backbone::Resnet(ResNetConfig::torchvision(101)?),
            &["torchvision"],
        ),
        detector(
            "mic(sada)-resnet-50-fpn",
            "MIC(SADA) iteration, ResNet-50-FPN, 1x3x600x1200",
            [600, 1200],
        )?,
    ])
}

fn resnet() -> candle_core::Result<Network> {
    let classes = 1000;
    Ok(Network {
        name: "resnet-50",
        title: "ResNet-50, 8x3x224x224",
        needs: &["torchvision"],
        architecture: Architecture::Resnet(ResNetConfig {
            classes: Some(classes),
            ..ResNetConfig::torchvision(50)?
        }),
        image: [8, 3, 224, 224],
        classes,
        optimizer: OptimizerRule::Sgd {
            lr: 2e-4,
            momentum: 0.9,
            weight_decay: 1e-4,
        },
    })
}

fn vit() -> Network {
    let classes = 1000;
    Network {
        name: "vit-b16",
        title: "ViT-B/16, 8x3x224x224",
        needs: &["timm"],
        architecture: Architecture::Vit(VitConfig {
            classes,
            ..VitConfig::variant(VitSize::Base)
        }),
        image: [8, 3, 224, 224],
        classes,
        optimizer: OptimizerRule::AdamW {
            lr: 1e-4,
            weight_decay: 0.05,
        },
    }
}

fn segmentor(
    name: &'static str,
    title: &'static str,
    number: usize,
) -> candle_core::Result<Network> {
    Ok(Network {
        name,
        title,
        needs: &[],
        architecture: Architecture::Segmentor {
            backbone: MitConfig::variant(number)?,
            channels: 256,
            dilations: vec![1, 6, 12, 18],
        },
        image: [1, 3, 512, 512],
        classes: 19,
        optimizer: OptimizerRule::AdamW {
            lr: 6e-5,
            weight_decay: 0.01,
        },
    })
}

fn pyramid() -> candle_core::Result<Network> {
    Ok(Network {
        name: "resnet-50-fpn",
        title: "ResNet-50-FPN, 1x3x600x1200",
        needs: &["torchvision"],
        architecture: Architecture::Pyramid(ResNetConfig {
            norm: NormKind::Frozen { eps: 1e-5 },
            ..ResNetConfig::torchvision(50)?
        }),
        image: [1, 3, 600, 1200],
        classes: 0,
        optimizer: OptimizerRule::Sgd {
            lr: 0.02,
            momentum: 0.9,
            weight_decay: 1e-4,
        },
    })
}

/// `(MiT's number, side of the images, HRDA)`.
fn iteration(
    name: &'static str,
    title: &'static str,
    (number, side, hrda): (usize, usize, bool),
) -> candle_core::Result<Network> {
    let backbone = MitConfig::variant(number)?;
    Ok(Network {
        name,
        title,
        needs: &[],
        architecture: Architecture::Iteration(Iteration::new(backbone, side, hrda)),
        image: [2, 3, side, side],
        classes: 19,
        optimizer: OptimizerRule::AdamW {
            lr: 6e-5,
            weight_decay: 0.01,
        },
    })
}

fn classifier(
    name: &'static str,
    title: &'static str,
    backbone: Backbone,
    needs: &'static [&'static str],
) -> Network {
    Network {
        name,
        title,
        needs,
        architecture: Architecture::Classifier(Classifier::new(backbone, 4)),
        image: [4, 3, 224, 224],
        classes: 12,
        optimizer: OptimizerRule::Sgd {
            lr: 0.002,
            momentum: 0.9,
            weight_decay: 1e-3,
        },
    }
}

/// Images of this height and width, one of each domain.
fn detector(
    name: &'static str,
    title: &'static str,
    size: [usize; 2],
) -> candle_core::Result<Network> {
    let detector = Detector::new(ResNetConfig::torchvision(50)?.depths, size);
    Ok(Network {
        name,
        title,
        needs: &["torchvision"],
        image: detector.image(1),
        architecture: Architecture::Detector(detector),
        classes: 9,
        optimizer: OptimizerRule::Sgd {
            lr: 0.0025,
            momentum: 0.9,
            weight_decay: 1e-4,
        },
    })
}

impl Network {
    /// Of a whole iteration what it does besides passes through networks, with the seconds.
    pub(super) fn extras(&self) -> candle_core::Result<Vec<(&'static str, f64)>> {
        match &self.architecture {
            Architecture::Iteration(iteration) => iteration::extras(iteration, self),
            _ => Ok(Vec::new()),
        }
    }

    /// The title of a row.
    pub(super) fn row(&self, recompute: bool) -> String {
        let mode = if recompute { ", recomputed" } else { "" };
        format!("{}{mode}", self.title)
    }

    /// One block a stage and small images: the same code in no time.
    pub(super) fn tiny(self) -> Self {
        let image = [2, 3, 64, 64];
        let shallow = |config: ResNetConfig| ResNetConfig {
            depths: vec![1; config.depths.len()],
            ..config
        };
        let narrow = |backbone: MitConfig| MitConfig {
            embed_dims: backbone.num_heads.iter().map(|heads| 8 * heads).collect(),
            depths: vec![1; backbone.depths.len()],
            ..backbone
        };
        let architecture = match self.architecture {
            Architecture::Segmentor {
                backbone,
                dilations,
                ..
            } => Architecture::Segmentor {
                backbone: narrow(backbone),
                channels: 16,
                dilations,
            },
            Architecture::Iteration(iteration) => {
                let backbone = narrow(iteration.backbone.clone());
                Architecture::Iteration(iteration.resized(backbone, image[2], 16))
            }
            Architecture::Classifier(classifier) => {
                Architecture::Classifier(classifier.tiny(image[0], image[2]))
            }
            Architecture::Detector(detector) => Architecture::Detector(detector.tiny(image[2])),
            Architecture::Resnet(config) => Architecture::Resnet(shallow(config)),
            Architecture::Pyramid(config) => Architecture::Pyramid(shallow(config)),
            Architecture::Vit(config) => Architecture::Vit(VitConfig {
                image_size: (64, 64),
                dim: 48,
                depth: 2,
                heads: 3,
                ..config
            }),
        };
        Self {
            architecture,
            image,
            ..self
        }
    }
}
