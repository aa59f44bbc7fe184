//! Model weights in files: our own checkpoints, those of others in all their [forms](Form), and
//! files for the programs of others.
//!
//! [`open`] finds out what a file is and gives its tensors our names; [`Found::fill`] puts them into
//! a network and tells what matched, was missing and was not expected.

mod export;
mod fill;
mod form;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use mic_nn::weights::{self, Checkpoint, Weights};

pub use export::{Export, Layout, export};
pub use fill::{Loaded, Part, Unmatched};
pub use form::Form;

use crate::{Error, Result};

/// The weights file that a path stands for: a run folder's last checkpoint, the file in a
/// checkpoint's folder, or the path itself.
fn file_of(path: &Path) -> Cow<'_, Path> {
    if path.is_dir() {
        let names = [mic_run::folder::WEIGHTS, mic_run::checkpoint::WEIGHTS];
        let files = names.map(|name| path.join(name));
        if let Some(file) = files.into_iter().find(|file| file.is_file()) {
            return file.into();
        }
    }
    path.into()
}

fn run(error: weights::Error) -> Error {
    match error {
        weights::Error::File { .. } => Error::Run(format!("cannot read weights from {error}")),
        other => Error::Run(other.to_string()),
    }
}

/// A weights file and the network in it.
#[derive(Clone, Debug)]
pub struct Found {
    path: PathBuf,
    form: Form,
    weights: Weights,
    /// Other networks and what else the file has, with the number of their tensors.
    left_out: BTreeMap<String, usize>,
}

/// Opens a weights file in any of the [forms](Form). No tensor is read yet.
///
/// # Errors
/// A missing, foreign or truncated file, or one with the tensors of some other network: names the
/// file and the reason.
pub fn open(path: &Path) -> Result<Found> {
    let all = weights::load(&file_of(path)).map_err(run)?;
    let Some(form) = Form::of(&all) else {
        let some: Vec<&str> = all.names().take(3).collect();
        return Err(Error::Run(format!(
            "{}: its {} tensors ({}, ...) are of no network that is known here; expected a \
             segmentation network (backbone.*, decode_head.*, or the hub's segformer.*), a MiT, a \
             ResNet-V1c or a DINOv2",
            path.display(),
            all.len(),
            some.join(", ")
        )));
    };
    let mut left_out = BTreeMap::new();
    if form == Form::Training {
        let others = all.names().filter(|name| !name.starts_with("model."));
        for name in others {
            let network = name.split('.').next().unwrap_or(name);
            *left_out.entry(network.to_owned()).or_insert(0) += 1;
        }
    }
    Ok(Found {
        path: path.to_owned(),
        weights: form.network(all).map_err(|error| {
            let error = run(error);
            Error::Run(format!("{}: {error}", path.display()))
        })?,
        form,
        left_out,
    })
}

impl Found {
    /// What kind of file it is.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The network's tensors under our names.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }
}

/// All tensors of the network in a file that [`open`] knows, under our names.
///
/// # Errors
/// Those of [`open`], and a tensor that cannot be read.
pub fn read(path: &Path) -> Result<HashMap<String, Tensor>> {
    open(path)?.weights.tensors().map_err(run)
}

/// Writes tensors and string metadata to a safetensors file, which is complete or absent.
///
/// # Errors
/// An unwritable folder or a full disk: names the file.
pub fn write(
    path: &Path,
    tensors: &[(String, Tensor)],
    metadata: HashMap<String, String>,
) -> Result<()> {
    weights::save(path, tensors, &metadata).map_err(|error| Error::Run(error.to_string()))
}

/// The configuration (TOML) that a checkpoint was trained with; `None` in files that `mic-seg
/// train` did not write.
///
/// # Errors
/// A file that cannot be read: names it.
pub fn own_config(path: &Path) -> Result<Option<String>> {
    let file = Checkpoint::open(&file_of(path)).map_err(run)?;
    Ok(file.metadata().get("config").cloned())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn sample() -> Vec<(String, Tensor)> {
        let value = |v: f32| Tensor::new(&[v], &Device::Cpu).unwrap();
        vec![
            ("model.backbone.norm1.weight".into(), value(1.0)),
            ("ema_model.backbone.norm1.weight".into(), value(2.0)),
            ("imnet_model.backbone.norm1.weight".into(), value(3.0)),
        ]
    }

    #[test]
    fn the_student_is_read_back_and_other_models_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.safetensors");
        let metadata = HashMap::from([("config".to_string(), "seed = 1".to_string())]);
        write(&path, &sample(), metadata).unwrap();
        let read_back = read(&path).unwrap();
        assert_eq!(read_back.len(), 1);
        let weight = read_back["backbone.norm1.weight"].to_vec1::<f32>().unwrap();
        assert_eq!(weight, [1.0]);
        assert_eq!(own_config(&path).unwrap().unwrap(), "seed = 1");
        // Nothing but the file itself is left in the folder.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let bare = folder.path().join("bare.safetensors");
        write(&bare, &sample(), HashMap::new()).unwrap();
        assert_eq!(own_config(&bare).unwrap(), None);
    }

    #[test]
    fn missing_foreign_and_truncated_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("whole.safetensors");
        write(&whole, &sample(), HashMap::new()).unwrap();
        let bytes = std::fs::read(&whole).unwrap();
        let other = folder.path().join("other.safetensors");
        let [(_, tensor), ..] = &sample()[..] else {
            panic!()
        };
        write(
            &other,
            &[("lm_head.bias".into(), tensor.clone())],
            HashMap::new(),
        )
        .unwrap();
        let other = std::fs::read(&other).unwrap();
        let contents = [
            ("cut.safetensors", &bytes[..bytes.len() - 2]),
            ("header.safetensors", &bytes[..20]),
            ("text.safetensors", b"not a checkpoint".as_slice()),
            ("text.pth", b"not a checkpoint".as_slice()),
            ("language.safetensors", &other),
        ];
        for (name, content) in contents {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            let message = read(&path).unwrap_err().to_string();
            assert!(message.contains(name), "{message}");
        }
        let message = read(&folder.path().join("none.pth")).unwrap_err();
        assert!(message.to_string().contains("no such file"), "{message}");
    }
}
