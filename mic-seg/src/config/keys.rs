//! The keys that a configuration file may have.

use std::collections::BTreeMap;

use mic_data::LoadingOptions;
use mic_run::RunOptions;
use mic_run::config::KnownKeys;

use super::raw::*;
use crate::Result;

/// All of them; the keys of a label map are the user's own.
pub(super) fn known() -> Result<KnownKeys> {
    Ok(KnownKeys::of(&full(), &["label_map"])?)
}

/// A configuration in which every optional key is present. The structs are written out in full,
/// so that the compiler asks for new keys.
fn full() -> RawConfig {
    let set = RawSet {
        kind: String::new(),
        root: Some(String::new()),
        domain: Some(String::new()),
        split: Some(String::new()),
        count: Some(0),
        size: Some([0; 2]),
        scene_seed: 0,
        images: Some(String::new()),
        labels: Some(String::new()),
        image_suffix: Some(String::new()),
        label_suffix: Some(String::new()),
        label_map: Some(RawLabelMap::Table(BTreeMap::new())),
        resize: Some([0; 2]),
        condition: Some(String::new()),
        list: Some(String::new()),
        image_glob: Some(String::new()),
        label_glob: Some(String::new()),
        crop_pseudo_margins: Some([0; 4]),
    };
    let data = RawData::default();
    let model = RawModel::default();
    let mask = RawMask::default();
    RawConfig {
        seed: 0,
        model: RawModel {
            backbone: model.backbone,
            mit: Some(RawMit {
                embed_dims: Vec::new(),
                depths: Vec::new(),
                num_heads: Vec::new(),
                sr_ratios: Vec::new(),
                stem: String::new(),
            }),
            resnet: Some(RawResnet::default()),
            vit: Some(RawVit::default()),
            head: model.head,
            head_channels: model.head_channels,
            embedding: layer(),
            last_embedding: Some(layer()),
            fusion: layer(),
            adapter: Some(0),
            dilations: Some(Vec::new()),
            dropout: model.dropout,
            drop_path: model.drop_path,
            recompute: model.recompute,
            hrda: Some(RawHrda {
                attention_channels: Some(0),
                fixed_attention: Some(0.0),
                ..RawHrda::default()
            }),
            pretrained: Some(String::new()),
        },
        data: RawData {
            classes: data.classes,
            class_names: data.class_names,
            palette: data.palette,
            source: set.clone(),
            target: Some(set.clone()),
            test: Some(set),
            crop: Some([0; 2]),
            cat_max_ratio: data.cat_max_ratio,
            flip: data.flip,
            mean: data.mean,
            std: data.std,
            photometric_distortion: data.photometric_distortion,
            rare_class_sampling: Some(RawRcs::default()),
            stats_cache: Some(String::new()),
            loading: LoadingOptions {
                cache: Some(String::new()),
                ..data.loading
            },
        },
        method: RawMethod::default(),
        mask: Some(RawMask {
            mode: mask.mode,
            block: mask.block,
            ratio: mask.ratio,
            lambda: mask.lambda,
            alpha: Some(0.0),
            pseudo_threshold: Some(RawThreshold::Value(0.0)),
        }),
        optimizer: RawOptimizer::default(),
        inference: RawInference {
            window: Some([0; 2]),
            stride: Some([0; 2]),
            ..RawInference::default()
        },
        train: RawTrain {
            init_from: Some(String::new()),
            ..RawTrain::default()
        },
        run: RunOptions::default(),
    }
}

fn layer() -> RawLayer {
    RawLayer::Table(RawLayerTable {
        channels: Some(0),
        dilations: Some(Vec::new()),
        ..RawLayerTable::default()
    })
}
