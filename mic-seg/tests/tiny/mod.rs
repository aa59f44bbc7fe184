//! A network that takes no time.

/// The tables `[model]` and `[model.mit]` of a configuration, for images from 32 x 32 pixels on.
pub(crate) const NETWORK: &str = r#"
[model]
backbone = "custom"
head_channels = 8
dilations = [1, 2]
[model.mit]
embed_dims = [12, 16]
depths = [1, 1]
num_heads = [1, 2]
sr_ratios = [2, 1]
stem = "conv"
"#;
