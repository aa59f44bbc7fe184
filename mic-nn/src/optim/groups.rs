//! Learning rate and weight decay of every parameter.

use serde::{Deserialize, Serialize};

/// Settings for the parameters whose name contains `key`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A part of the full parameter name, e.g. `head` or `norm`.
    pub key: String,
    /// Factor on the base learning rate.
    #[serde(default = "one")]
    pub lr_mult: f64,
    /// Factor on the base weight decay.
    #[serde(default = "one")]
    pub decay_mult: f64,
}

fn one() -> f64 {
    1.0
}

/// How learning rates and weight decays follow from parameter names.
///
/// The rules are tried by descending length of their key, keys of one length in alphabetical
/// order; the first one whose key is part of the name decides, alone (mmcv's `custom_keys`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRules {
    /// Learning rate where no rule changes it.
    pub base_lr: f64,
    /// Weight decay where no rule changes it.
    #[serde(default)]
    pub base_weight_decay: f64,
    /// The exceptions.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// The settings of one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamGroup {
    /// The parameter's full name.
    pub name: String,
    /// Its base learning rate, which the schedule turns into that of an iteration.
    pub lr: f64,
    /// Its weight decay.
    pub weight_decay: f64,
}

impl GroupRules {
    /// One learning rate and weight decay for all parameters.
    pub fn uniform(base_lr: f64, base_weight_decay: f64) -> Self {
        Self {
            base_lr,
            base_weight_decay,
            rules: Vec::new(),
        }
    }

    /// The settings of the parameter `name`.
    pub fn group(&self, name: &str) -> ParamGroup {
        let rule = self
            .rules
            .iter()
            .filter(|rule| name.contains(&rule.key))
            .min_by(|a, b| (b.key.len().cmp(&a.key.len())).then_with(|| a.key.cmp(&b.key)));
        ParamGroup {
            name: name.to_string(),
            lr: self.base_lr * rule.map_or(1.0, |r| r.lr_mult),
            weight_decay: self.base_weight_decay * rule.map_or(1.0, |r| r.decay_mult),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_key_wins_then_the_alphabet() {
        let rule = |key: &str, lr_mult, decay_mult| Rule {
            key: key.to_string(),
            lr_mult,
            decay_mult,
        };
        let rules = GroupRules {
            base_lr: 2.0,
            base_weight_decay: 0.5,
            rules: vec![
                rule("norm", 1.0, 0.0),
                rule("head", 10.0, 1.0),
                rule("decode_head", 3.0, 2.0),
            ],
        };
        let group = |name: &str| {
            let group = rules.group(name);
            (group.lr, group.weight_decay)
        };
        assert_eq!(group("backbone.conv.weight"), (2.0, 0.5));
        assert_eq!(group("backbone.norm1.weight"), (2.0, 0.0));
        // "head" and "norm" are equally long: the alphabet decides.
        assert_eq!(group("head.norm.weight"), (20.0, 0.5));
        assert_eq!(group("decode_head.norm.weight"), (6.0, 1.0));
    }
}
