//! Unknown keys, reported with the known key that was probably meant.

use mic_run::RunOptions;
use toml::{Table, Value};

use super::distance::nearest;
use super::raw::*;
use crate::{Error, Result};

/// Refuses the first key of `table` that no table of [`RawConfig`] has.
pub(super) fn check(table: &Table, origin: &str) -> Result<()> {
    let known = Table::try_from(full())
        .map_err(|error| Error::Config(format!("cannot list the known keys: {error}")))?;
    compare(table, &known, "", origin)
}

fn compare(table: &Table, known: &Table, path: &str, origin: &str) -> Result<()> {
    for (key, value) in table {
        match known.get(key) {
            None => return Err(unknown(key, known, path, origin)),
            Some(Value::Table(inner)) => {
                if let Value::Table(value) = value {
                    compare(value, inner, &format!("{path}{key}."), origin)?;
                }
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn unknown(key: &str, known: &Table, path: &str, origin: &str) -> Error {
    let names = || known.keys().map(String::as_str);
    let help = match nearest(key, names()) {
        Some(near) => format!("did you mean {path}{near}?"),
        None => {
            let listed: Vec<&str> = names().collect();
            let table = path.trim_end_matches('.');
            let place = if table.is_empty() {
                "the top level".to_owned()
            } else {
                format!("[{table}]")
            };
            format!("{place} has {}", listed.join(", "))
        }
    };
    Error::Config(format!("{origin}: unknown key {path}{key}; {help}"))
}

/// A configuration in which every optional key is present. Structs with such keys are written out in
/// full, so that the compiler asks for new ones.
fn full() -> RawConfig {
    let set = RawSet {
        kind: String::new(),
        root: Some(String::new()),
        domains: Vec::new(),
        split: Some(String::new()),
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
