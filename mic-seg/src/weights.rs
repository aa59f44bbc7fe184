//! Model weights in files.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor, pickle, safetensors};

use crate::{Error, Result};

/// Prefixes under which the student's tensors stand in training checkpoints.
const STUDENT_PREFIXES: [&str; 2] = ["model.", "module."];
/// Prefixes of tensors that are not the student's.
const OTHER_PREFIXES: [&str; 4] = ["ema_model.", "imnet_model.", "mic.", "model_D."];

/// All tensors of a safetensors file or a PyTorch file (`.pth`, `.pt`, `.bin`; flat, or below
/// `state_dict` or `model`), with the student's prefix removed and other models left out.
///
/// # Errors
/// A missing, foreign or truncated file: names the file and the reason.
pub fn read(path: &Path) -> Result<HashMap<String, Tensor>> {
    let unreadable = |reason: String| {
        Error::Run(format!(
            "cannot read weights from {}: {reason}; expected a .safetensors file or a PyTorch \
             .pth file in zip format",
            path.display()
        ))
    };
    if !path.is_file() {
        return Err(unreadable("there is no such file".into()));
    }
    let extension = path.extension().and_then(|e| e.to_str());
    let tensors = match extension {
        Some("pth" | "pt" | "bin") => read_pickle(path).map_err(|e| unreadable(e.to_string()))?,
        _ => safetensors::load(path, &Device::Cpu).map_err(|e| unreadable(e.to_string()))?,
    };
    if tensors.is_empty() {
        return Err(unreadable("it holds no tensors".into()));
    }
    Ok(student_only(tensors))
}

fn read_pickle(path: &Path) -> candle_core::Result<HashMap<String, Tensor>> {
    let mut last = None;
    for key in [Some("state_dict"), Some("model"), None] {
        match pickle::read_all_with_key(path, key) {
            Ok(tensors) if !tensors.is_empty() => return Ok(tensors.into_iter().collect()),
            Ok(_) => {}
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error),
        None => Ok(HashMap::new()),
    }
}

fn student_only(tensors: HashMap<String, Tensor>) -> HashMap<String, Tensor> {
    tensors
        .into_iter()
        .filter(|(name, _)| !OTHER_PREFIXES.iter().any(|p| name.starts_with(p)))
        .map(|(name, tensor)| {
            let stripped = STUDENT_PREFIXES
                .iter()
                .fold(name.as_str(), |n, p| n.strip_prefix(p).unwrap_or(n));
            (stripped.to_string(), tensor)
        })
        .collect()
}

/// Writes tensors and string metadata to a safetensors file: a temporary file beside it first,
/// renamed when complete, so that no half-written file bears the name.
///
/// # Errors
/// An unwritable folder or a full disk: names the file.
pub fn write(
    path: &Path,
    tensors: &[(String, Tensor)],
    metadata: HashMap<String, String>,
) -> Result<()> {
    let failed = |reason: String| Error::Run(format!("cannot write {}: {reason}", path.display()));
    let contiguous = tensors
        .iter()
        .map(|(name, tensor)| Ok((name.clone(), tensor.contiguous()?)))
        .collect::<Result<Vec<_>>>()?;
    let bytes = ::safetensors::serialize(contiguous, Some(metadata))
        .map_err(|error| failed(error.to_string()))?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))
        .map_err(|error| failed(error.to_string()))?;
    std::io::Write::write_all(&mut file, &bytes)
        .and_then(|()| file.as_file().sync_all())
        .map_err(|error| failed(error.to_string()))?;
    share(file.as_file()).map_err(|error| failed(error.to_string()))?;
    file.persist(path)
        .map_err(|error| failed(error.error.to_string()))?;
    Ok(())
}

/// Temporary files are private to their owner; results are not.
#[cfg(unix)]
fn share(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn share(_: &std::fs::File) -> std::io::Result<()> {
    Ok(())
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
    let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let (_, header) =
        ::safetensors::SafeTensors::read_metadata(&bytes).map_err(|e| failed(e.to_string()))?;
    let value = header.metadata().as_ref().and_then(|m| m.get(key)).cloned();
    value.ok_or_else(|| failed(format!("its header has no entry {key:?}")))
}

#[cfg(test)]
mod tests {
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
