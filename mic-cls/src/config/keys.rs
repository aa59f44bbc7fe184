//! The keys that a configuration file may have.

use mic_run::RunOptions;
use mic_run::config::KnownKeys;

use super::raw::*;
use crate::Result;

/// All of them.
pub(super) fn known() -> Result<KnownKeys> {
    Ok(KnownKeys::of(&full(), &[])?)
}

/// A configuration in which every optional key is present. Structs with such keys are written out in
/// full, so that the compiler asks for new ones.
fn full() -> RawConfig {
    let set = RawSet {
        kind: String::new(),
        root: Some(String::new()),
        domains: Vec::new(),
        split: Some(String::new()),
        set: Some(String::new()),
        list: Some(String::new()),
        class_names: Vec::new(),
        images: Some(String::new()),
        labels: Some(String::new()),
        suffix: Some(String::new()),
    };
    let model = RawModel::default();
    let data = RawData::default();
    let method = RawMethod::default();
    RawConfig {
        seed: 0,
        model: RawModel {
            backbone: model.backbone,
            pool: Some(String::new()),
            bottleneck: model.bottleneck,
            pretrained: Some(String::new()),
            keep_fc: model.keep_fc,
            resnet: Some(RawResNet::default()),
            vit: Some(RawVit::default()),
        },
        data: RawData {
            source: set.clone(),
            target: Some(set.clone()),
            test: Some(set),
            ..data
        },
        method: RawMethod {
            randomized: Some(0),
            ..method
        },
        mask: Some(RawMask::default()),
        optimizer: RawOptimizer {
            backbone_lr_mult: Some(0.0),
            ..RawOptimizer::default()
        },
        train: RawTrain {
            init_from: Some(String::new()),
            ..RawTrain::default()
        },
        run: RunOptions::default(),
    }
}
