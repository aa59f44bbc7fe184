//! The keys that a configuration file may have.

use mic_data::LoadingOptions;
use mic_run::RunOptions;
use mic_run::config::KnownKeys;

use super::raw::*;
use crate::Result;
use crate::sada::SadaConfig;

/// All of them.
pub(super) fn known() -> Result<KnownKeys> {
    Ok(KnownKeys::of(&full(), &[])?)
}

/// A configuration in which every optional key is present. Structs with such keys are written out in
/// full, so that the compiler asks for new ones.
fn full() -> RawConfig {
    let text = || Some(String::new());
    let set = RawSet {
        kind: String::new(),
        root: text(),
        split: text(),
        name: text(),
        images: text(),
        annotations: text(),
        difficult: text(),
        origin: Some(0),
        suffix: text(),
        count: Some(0),
        size: Some([0; 2]),
        scene_seed: 0,
        fog: Some(0.0),
        min_box: Some(0),
    };
    let model = RawModel::default();
    let roi = model.roi;
    RawConfig {
        seed: 0,
        model: RawModel {
            backbone: model.backbone,
            conventions: model.conventions,
            body: text(),
            norm: text(),
            norm_eps: Some(0.0),
            frozen: Some(0),
            pretrained: text(),
            channels: model.channels,
            anchor_sizes: model.anchor_sizes,
            anchor_ratios: model.anchor_ratios,
            rpn: model.rpn,
            roi: RawRoi {
                smooth_l1_beta: Some(0.0),
                ..roi
            },
            resnet: Some(RawResNet::default()),
        },
        data: RawData {
            source: set.clone(),
            target: Some(set.clone()),
            test: Some(set),
            loading: LoadingOptions {
                cache: text(),
                ..LoadingOptions::default()
            },
            ..RawData::default()
        },
        method: RawMethod::default(),
        sada: SadaConfig::default(),
        mask: Some(RawMask::default()),
        optimizer: RawOptimizer::default(),
        train: RawTrain {
            init_from: text(),
            ..RawTrain::default()
        },
        inference: RawInference::default(),
        run: RunOptions::default(),
    }
}
