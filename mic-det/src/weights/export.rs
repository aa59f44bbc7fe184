//! Writing a detector with the names of other programs.

use std::collections::HashMap;
use std::path::Path;

use mic_nn::weights::{self, Weights};

use super::names::{self, Names};
use crate::conventions::Conventions;
use crate::detector::Model;
use crate::{Error, Result};

/// Writes every tensor of the model to a safetensors file that loads there with
/// `load_state_dict(safetensors.torch.load_file(path))`: [`Names::Reference`] for
/// maskrcnn-benchmark, SADA and the published code, [`Names::Torchvision`] for
/// `torchvision.models.detection`, whose domain heads do not exist and are left out.
///
/// # Errors
/// A model of other conventions than the names' program has, names that no program expects of a
/// whole detector, and a file that cannot be written.
pub fn export(model: &Model, path: &Path, names: Names) -> Result<()> {
    let config = model.net.config();
    let state = model.store.state().into_iter().collect::<HashMap<_, _>>();
    let state = Weights::from(state);
    let tensors = match (names, config.conventions) {
        (Names::Reference, Conventions::Legacy) => state.rename(&names::to_reference())?,
        (Names::Torchvision, Conventions::Modern) => {
            let state = state.retain(|name| !name.starts_with("da_heads."));
            state.rename(&names::to_torchvision(config.body.depths.len()))?
        }
        (Names::Reference | Names::Torchvision, other) => {
            return Err(Error::Config(format!(
                "a detector with the conventions {other:?} would find other boxes under {}; export \
                 it with those of its own conventions",
                names.describe()
            )));
        }
        _ => {
            return Err(Error::Config(format!(
                "a whole detector cannot be written with {}; expected maskrcnn-benchmark's or \
                 torchvision's",
                names.describe()
            )));
        }
    };
    let tensors = tensors.iter().collect::<weights::Result<Vec<_>>>()?;
    Ok(weights::save(path, &tensors, &HashMap::new())?)
}
