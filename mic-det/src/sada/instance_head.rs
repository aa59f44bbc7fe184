//! The domain of every region.

use candle_core::{DType, Device, Tensor};
use mic_nn::forward::Forward;
use mic_nn::init::Init;
use mic_nn::layers::{Dropout, Linear};
use mic_nn::ops;
use mic_nn::params::Scope;
use serde::{Deserialize, Serialize};

use crate::Result;

/// Which regions the instance heads classify.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceLevels {
    /// Those of the finest level alone: the reference's head returns from inside its loop over
    /// levels, and the published numbers were reached that way. All other regions have logit 0,
    /// and the heads of other levels never learn.
    #[default]
    First,
    /// All, each with the head of its level: what the paper describes.
    All,
}

/// A classifier for each level: two hidden layers with ReLU and dropout, and one logit.
pub struct InstanceHead {
    levels: Vec<[Linear; 3]>,
    dropout: f64,
    seen: InstanceLevels,
    path: String,
}

impl InstanceHead {
    /// Declares `da_ins_fc1_level{l}`, `da_ins_fc2_level{l}` and `da_ins_fc3_level{l}` below
    /// `scope`.
    ///
    /// # Errors
    /// When they cannot be declared.
    pub fn new(
        inputs: usize,
        hidden: usize,
        levels: usize,
        dropout: f64,
        seen: InstanceLevels,
        scope: &Scope,
    ) -> Result<Self> {
        let linear = |number: usize, level: usize, inputs, outputs| {
            let scope = scope.sub(format!("da_ins_fc{number}_level{level}"));
            let weight = Init::Normal { std: 0.01 };
            Linear::new(&scope, inputs, outputs, weight, Init::Const(0.0))
        };
        let level = |l| -> Result<[Linear; 3]> {
            Ok([
                linear(1, l, inputs, hidden)?,
                linear(2, l, hidden, hidden)?,
                linear(3, l, hidden, 1)?,
            ])
        };
        Ok(Self {
            levels: (0..levels).map(level).collect::<Result<_>>()?,
            dropout,
            seen,
            path: scope.path().to_owned(),
        })
    }

    /// Logits (R) of features (R, C) for regions of the levels `levels`. `name` distinguishes the
    /// dropout of several passes; its sites are `<path>.<name>.level<l>.drop1` and `.drop2`.
    ///
    /// # Errors
    /// Features of another width.
    pub fn forward(
        &self,
        features: &Tensor,
        levels: &[usize],
        name: &str,
        mode: &Forward,
    ) -> Result<Tensor> {
        let mut logits = Tensor::zeros(levels.len(), DType::F32, &Device::Cpu)?;
        let seen = match self.seen {
            InstanceLevels::First => 1,
            InstanceLevels::All => self.levels.len(),
        };
        for (level, [fc1, fc2, fc3]) in self.levels.iter().enumerate().take(seen) {
            let rows = (0..levels.len()).filter(|&row| levels[row] == level);
            let rows: Vec<u32> = rows.map(|row| row as u32).collect();
            if rows.is_empty() {
                continue;
            }
            let rows = Tensor::from_slice(&rows, rows.len(), &Device::Cpu)?;
            let drop = |number: usize, x: &Tensor| {
                let site = format!("{}.{name}.level{level}.drop{number}", self.path);
                Dropout::new(site, self.dropout).forward(x, mode)
            };
            let x = ops::index_select(features, 0, &rows)?;
            let x = drop(1, &ops::relu(&fc1.forward(&x)?)?)?;
            let x = drop(2, &ops::relu(&fc2.forward(&x)?)?)?;
            let x = fc3.forward(&x)?.squeeze(1)?;
            logits = ops::scatter_add(&logits, 0, &rows, &x)?;
        }
        Ok(logits)
    }
}
