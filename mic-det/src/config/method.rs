//! How the network is trained.

use mic_run::config::check::{at_least, below_one, not_negative, one_of, share};

use super::raw::RawMethod;
use crate::Result;
use crate::sada::SadaConfig;

/// The training method; masked image consistency comes on top of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Supervised on the source.
    SourceOnly,
    /// The same, and domain heads on source and target.
    Sada,
    /// Supervised on the annotations of the target: what adaptation could reach at best.
    Oracle,
}

const KINDS: [(&str, Method); 3] = [
    ("source_only", Method::SourceOnly),
    ("sada", Method::Sada),
    ("oracle", Method::Oracle),
];

impl Method {
    pub(super) fn check(raw: &RawMethod) -> Result<Self> {
        Ok(one_of("method.kind", &raw.kind, &KINDS)?)
    }

    /// Whether there is no training without images of the target.
    pub fn needs_target(self) -> bool {
        self != Self::SourceOnly
    }
}

/// Checks the table `[sada]`.
pub(super) fn check_sada(sada: &SadaConfig) -> Result<SadaConfig> {
    at_least("sada.image_hidden", sada.image_hidden, 1)?;
    at_least("sada.instance_hidden", sada.instance_hidden, 1)?;
    below_one("sada.dropout", sada.dropout)?;
    share("sada.consistency_weight", sada.consistency_weight)?;
    not_negative("sada.image_weight", sada.image_weight)?;
    not_negative("sada.instance_weight", sada.instance_weight)?;
    Ok(sada.clone())
}
