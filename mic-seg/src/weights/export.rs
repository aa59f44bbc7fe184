//! Checkpoints of ours in the form that the original programs read.

use std::path::Path;

use candle_core::Tensor;
use mic_data::Classes;
use mic_nn::weights::{Pickled, save, save_torch};

use super::{file_of, own_config, run};
use crate::config::Config;
use crate::uda::{STUDENT, TEACHER};
use crate::{Error, Result};

/// How names in the file begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// `model.*`, as the published checkpoints of MIC, HRDA and DAFormer.
    #[default]
    Published,
    /// The same and the teacher as `ema_model.*`, as their training writes.
    WithTeacher,
    /// `backbone.*`, `decode_head.*`, as MMSegmentation has networks without domain adaptation.
    Plain,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Number of tensors.
    pub tensors: usize,
    /// The classes in the file's description.
    pub classes: usize,
}

/// Writes the network of a checkpoint of `mic-seg train` to `out`: a file of `torch.save` with
/// `state_dict` and `meta` (`CLASSES`, `PALETTE`) as MMSegmentation's loaders expect, or
/// safetensors if the name ends so.
///
/// # Errors
/// [`Error::Config`] for another ending than `.pth`, `.pt` and `.safetensors`, and for a checkpoint
/// without configuration or, where it is asked for, without teacher; else a file that cannot be read
/// or written.
pub fn export(checkpoint: &Path, out: &Path, layout: Layout) -> Result<Export> {
    let ending = out.extension().unwrap_or_default().to_string_lossy();
    let torch = match ending.as_ref() {
        "pth" | "pt" => true,
        "safetensors" => false,
        _ => {
            return Err(Error::Config(format!(
                "{}: expected a name that ends in .pth, .pt or .safetensors",
                out.display()
            )));
        }
    };
    let classes = classes(checkpoint)?;
    let tensors = tensors(checkpoint, layout)?;
    let written = Export {
        tensors: tensors.len(),
        classes: classes.len(),
    };
    if torch {
        save_torch(out, &file(tensors, &classes)).map_err(run)?;
    } else {
        let names = serde_json::to_string(classes.names())
            .map_err(|error| Error::Run(format!("cannot write the classes: {error}")))?;
        let about = [("format".into(), "pt".into()), ("classes".into(), names)];
        save(out, &tensors, &about.into()).map_err(run)?;
    }
    Ok(written)
}

fn classes(checkpoint: &Path) -> Result<Classes> {
    let Some(text) = own_config(checkpoint)? else {
        return Err(Error::Config(format!(
            "{} was not written by mic-seg train: it says nothing of its classes",
            checkpoint.display()
        )));
    };
    let name = format!("configuration in {}", checkpoint.display());
    Ok(Config::from_toml_str(&text, &name, &[])?.classes)
}

/// The tensors in the order of the file, under the layout's names.
fn tensors(checkpoint: &Path, layout: Layout) -> Result<Vec<(String, Tensor)>> {
    let all = mic_nn::weights::load(&file_of(checkpoint)).map_err(run)?;
    let has = |prefix: &str| all.names().any(|name| name.starts_with(prefix));
    if layout == Layout::WithTeacher && !has(TEACHER) {
        return Err(Error::Config(format!(
            "{} has no teacher ({TEACHER}*)",
            checkpoint.display()
        )));
    }
    let wanted = all.retain(|name| {
        let teacher = layout == Layout::WithTeacher && name.starts_with(TEACHER);
        name.starts_with(STUDENT) || teacher
    });
    let named = match layout {
        Layout::Plain => wanted.strip(STUDENT),
        Layout::Published | Layout::WithTeacher => wanted,
    };
    named
        .iter()
        .collect::<mic_nn::weights::Result<_>>()
        .map_err(run)
}

/// The dictionary that MMCV's `load_checkpoint` and MMSegmentation's test program read.
fn file(tensors: Vec<(String, Tensor)>, classes: &Classes) -> Pickled {
    let names = classes.names().iter().cloned().map(Pickled::Text);
    let channel = |&value: &u8| Pickled::Int(i64::from(value));
    let colour = |colour: &[u8; 3]| Pickled::List(colour.iter().map(channel).collect());
    let palette = classes.palette().iter().map(colour);
    let entry = |key: &str, value: Pickled| (key.to_owned(), value);
    let program = concat!("mic-seg ", env!("CARGO_PKG_VERSION"));
    let meta = vec![
        entry("CLASSES", Pickled::Tuple(names.collect())),
        entry("PALETTE", Pickled::List(palette.collect())),
        entry("exported_by", Pickled::Text(program.into())),
    ];
    let state = tensors.into_iter();
    let state = state.map(|(name, tensor)| (name, Pickled::Tensor(tensor)));
    Pickled::Dict(vec![
        entry("meta", Pickled::Dict(meta)),
        entry("state_dict", Pickled::OrderedDict(state.collect())),
    ])
}
