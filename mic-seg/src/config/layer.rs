//! The layers of a DAFormer head.

use super::raw::{RawLayer, RawLayerTable};
use crate::Result;
use crate::model::{AsppConfig, IsaConfig, LayerConfig};
use mic_run::config::check::{at_least_one, one_of, refuse};

/// What a layer inherits from the head.
pub(super) struct Inherited<'a> {
    pub(super) dilations: &'a [usize],
    pub(super) channels: usize,
}

#[derive(Clone, Copy)]
enum Kind {
    Identity,
    Mlp,
    Conv,
    SepConv,
    Aspp,
    ConvAspp,
    Isa,
}

const KINDS: [(&str, Kind); 7] = [
    ("id", Kind::Identity),
    ("mlp", Kind::Mlp),
    ("conv", Kind::Conv),
    ("sep_conv", Kind::SepConv),
    ("aspp", Kind::Aspp),
    ("rawconv_and_aspp", Kind::ConvAspp),
    ("isa", Kind::Isa),
];

/// What a name stands for: kind, kernel, and whether an ASPP is separable.
const NAMES: [(&str, (&str, usize, bool)); 8] = [
    ("id", ("id", 1, false)),
    ("mlp", ("mlp", 1, false)),
    ("conv1", ("conv", 1, false)),
    ("conv3", ("conv", 3, false)),
    ("sep_conv", ("sep_conv", 3, false)),
    ("aspp", ("aspp", 1, false)),
    ("sepaspp", ("aspp", 1, true)),
    ("isa", ("isa", 1, false)),
];

/// The layer at `key`.
pub(super) fn check(key: &str, raw: &RawLayer, inherited: &Inherited) -> Result<LayerConfig> {
    let table = match raw {
        RawLayer::Table(table) => table.clone(),
        RawLayer::Name(name) => {
            let (kind, kernel, separable) = one_of(key, name, &NAMES)?;
            RawLayerTable {
                kind: kind.into(),
                kernel,
                separable,
                ..RawLayerTable::default()
            }
        }
    };
    let kernel = table.kernel;
    if kernel.is_multiple_of(2) {
        return refuse(&format!("{key}.kernel"), kernel, "an odd number");
    }
    let aspp = || -> Result<AsppConfig> {
        let own = table.dilations.as_deref();
        let dilations = own.unwrap_or(inherited.dilations);
        if dilations.is_empty() || dilations.contains(&0) {
            let expected = "at least one dilation, each at least 1";
            let found = format!("{dilations:?}");
            return refuse(&format!("{key}.dilations"), found, expected);
        }
        Ok(AsppConfig {
            dilations: dilations.to_vec(),
            separable: table.separable,
            pool: table.pool,
        })
    };
    Ok(match one_of(&format!("{key}.kind"), &table.kind, &KINDS)? {
        Kind::Identity => LayerConfig::Identity,
        Kind::Mlp => LayerConfig::Mlp,
        Kind::Conv => LayerConfig::Conv { kernel },
        Kind::SepConv => LayerConfig::SeparableConv { kernel },
        Kind::Aspp => LayerConfig::Aspp(aspp()?),
        Kind::ConvAspp => LayerConfig::ConvAspp {
            kernel,
            aspp: aspp()?,
        },
        Kind::Isa => {
            let channels = table.channels.unwrap_or(inherited.channels);
            let channels = at_least_one(&format!("{key}.channels"), channels as u64)?;
            let cell = at_least_one(&format!("{key}.cell"), table.cell as u64)? as usize;
            LayerConfig::Isa(IsaConfig {
                channels: channels as usize,
                cell: (cell, cell),
            })
        }
    })
}
