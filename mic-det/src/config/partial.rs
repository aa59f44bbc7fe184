//! Tables in which keys may be missing whose defaults depend on where the table stands.

use serde::de::{DeserializeOwned, Deserializer, Error};
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::matcher::Matcher;
use crate::roi::RoiConfig;
use crate::rpn::{Limits, RpnConfig};
use crate::sampler::BalancedSampler;

/// The table, with the values of `own` for missing keys.
fn over<'de, T, D>(own: &T, table: D) -> Result<T, D::Error>
where
    T: Serialize + DeserializeOwned,
    D: Deserializer<'de>,
{
    let mut whole = Table::try_from(own).map_err(D::Error::custom)?;
    whole.extend(Table::deserialize(table)?);
    whole.try_into().map_err(D::Error::custom)
}

pub(crate) fn train_limits<'de, D: Deserializer<'de>>(table: D) -> Result<Limits, D::Error> {
    over(&RpnConfig::default().train, table)
}

pub(crate) fn test_limits<'de, D: Deserializer<'de>>(table: D) -> Result<Limits, D::Error> {
    over(&RpnConfig::default().test, table)
}

pub(crate) fn anchor_matcher<'de, D: Deserializer<'de>>(table: D) -> Result<Matcher, D::Error> {
    over(&RpnConfig::default().matcher, table)
}

pub(crate) fn anchor_sampler<'de, D>(table: D) -> Result<BalancedSampler, D::Error>
where
    D: Deserializer<'de>,
{
    over(&RpnConfig::default().sampler, table)
}

pub(crate) fn region_matcher<'de, D: Deserializer<'de>>(table: D) -> Result<Matcher, D::Error> {
    over(&RoiConfig::default().matcher, table)
}

pub(crate) fn region_sampler<'de, D>(table: D) -> Result<BalancedSampler, D::Error>
where
    D: Deserializer<'de>,
{
    over(&RoiConfig::default().sampler, table)
}
