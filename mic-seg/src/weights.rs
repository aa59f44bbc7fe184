//! Model weights in files.

use std::collections::HashMap;
use std::path::Path;

use candle_core::Tensor;
use mic_nn::weights::{self, Checkpoint};

use crate::{Error, Result};

/// Prefixes under which the student's tensors stand in training checkpoints.
const STUDENT_PREFIXES: [&str; 2] = ["model.", "module."];
/// Prefixes of tensors that are not the student's.
const OTHER_PREFIXES: [&str; 6] = [
    "ema_model.",
    "imnet_model.",
    "mic.",
    "mic_teacher.",
    "model_D.",
    "optimizer_D.",
];

/// The weights file that a path stands for: a run folder's last checkpoint, the file in a
/// checkpoint's folder, or the path itself.
fn file_of(path: &Path) -> std::borrow::Cow<'_, Path> {
    if path.is_dir() {
        let names = [mic_run::folder::WEIGHTS, mic_run::checkpoint::WEIGHTS];
        let files = names.map(|name| path.join(name));
        if let Some(file) = files.into_iter().find(|file| file.is_file()) {
            return file.into();
        }
    }
    path.into()
}

/// All tensors of a weights file that [`weights::load`] reads, with the student's prefix removed
/// and other models left out.
///
/// # Errors
/// A missing, foreign or truncated file: names the file and the reason.
pub fn read(path: &Path) -> Result<HashMap<String, Tensor>> {
    let read = || {
        let weights = weights::load(&file_of(path))?;
        let student = weights.retain(|name| !OTHER_PREFIXES.iter().any(|p| name.starts_with(p)));
        let student = STUDENT_PREFIXES
            .iter()
            .fold(student, |w, prefix| w.strip(prefix));
        student.tensors()
    };
    read().map_err(|error| match error {
        weights::Error::File { .. } => Error::Run(format!("cannot read weights from {error}")),
        other => Error::Run(other.to_string()),
    })
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

/// A string of a safetensors file's metadata.
///
/// # Errors
/// A file that cannot be read, or that lacks the entry.
pub fn read_metadata(path: &Path, key: &str) -> Result<String> {
    let failed = |reason: String| {
        Error::Run(format!(
            "{}: {reason}; expected a checkpoint written by mic-seg train",
            path.display()
        ))
    };
    let checkpoint =
        Checkpoint::open(&file_of(path)).map_err(|error| Error::Run(error.to_string()))?;
    let value = checkpoint.metadata().get(key).cloned();
    value.ok_or_else(|| failed(format!("its header has no entry {key:?}")))
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
        assert_eq!(read_metadata(&path, "config").unwrap(), "seed = 1");
        let missing = read_metadata(&path, "epoch").unwrap_err().to_string();
        assert!(missing.contains("epoch") && missing.contains("checkpoint.safetensors"));
        // Nothing but the file itself is left in the folder.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn missing_foreign_and_truncated_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join("whole.safetensors");
        write(&whole, &sample(), HashMap::new()).unwrap();
        let bytes = std::fs::read(&whole).unwrap();
        let contents = [
            ("cut.safetensors", &bytes[..bytes.len() - 2]),
            ("header.safetensors", &bytes[..20]),
            ("text.safetensors", b"not a checkpoint".as_slice()),
            ("text.pth", b"not a checkpoint".as_slice()),
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
