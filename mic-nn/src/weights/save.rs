//! Writing safetensors.

use std::collections::HashMap;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};

use super::error::{Error, Result};
use crate::files::write_whole;

/// Name of a dtype in a header. Types that only candle has are not written.
fn name(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::F64 => "F64",
        DType::F32 => "F32",
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        DType::I64 => "I64",
        DType::I32 => "I32",
        DType::I16 => "I16",
        DType::U32 => "U32",
        DType::U8 => "U8",
        _ => return None,
    })
}

/// Writes tensors and texts to a safetensors file that `safetensors.torch.load_file` and
/// `load_state_dict(strict=True)` accept. Shapes are kept, those of scalars too; views are written
/// row by row; a tensor's bytes are made when it is its turn.
///
/// The file is complete or absent: see [`write_whole`].
///
/// # Errors
/// A name given twice, a type that the format lacks, an unwritable folder, a full disk: names the
/// file.
pub fn save(
    path: &Path,
    tensors: &[(String, Tensor)],
    metadata: &HashMap<String, String>,
) -> Result<()> {
    let failed = |source: io::Error| Error::Io {
        path: path.to_owned(),
        doing: "write",
        source,
    };
    // Large elements first, so that all are aligned; then by name, for files that do not depend on
    // the order of layers.
    let mut order: Vec<&(String, Tensor)> = tensors.iter().collect();
    let key = |(name, tensor): &&(String, Tensor)| {
        (
            std::cmp::Reverse(tensor.dtype().size_in_bytes()),
            name.clone(),
        )
    };
    order.sort_by_key(key);
    let header = header(&order, metadata).map_err(|e| failed(io::Error::other(e)))?;
    write_whole(path, |file| {
        let mut file = BufWriter::new(file);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        for (name, tensor) in order {
            write_values(tensor, &mut file)
                .map_err(|error| io::Error::new(error.kind(), format!("tensor {name}: {error}")))?;
        }
        file.flush()
    })
    .map_err(failed)
}

fn header(
    tensors: &[&(String, Tensor)],
    metadata: &HashMap<String, String>,
) -> std::result::Result<String, String> {
    let mut entries = serde_json::Map::new();
    if !metadata.is_empty() {
        let texts = metadata.iter().map(|(k, v)| (k.clone(), v.clone().into()));
        entries.insert(
            "__metadata__".into(),
            serde_json::Value::Object(texts.collect()),
        );
    }
    let mut at = 0;
    for (name, tensor) in tensors {
        let dtype = tensor.dtype();
        let Some(dtype_name) = self::name(dtype) else {
            return Err(format!(
                "tensor {name} is of {dtype:?}, which the format lacks"
            ));
        };
        let end = at + tensor.elem_count() * dtype.size_in_bytes();
        let entry = serde_json::json!({
            "dtype": dtype_name,
            "shape": tensor.dims(),
            "data_offsets": [at, end],
        });
        if entries.insert(name.clone(), entry).is_some() {
            return Err(format!("tensor {name} is given twice"));
        }
        at = end;
    }
    let mut text = serde_json::Value::Object(entries).to_string();
    // The data begin at a multiple of 8.
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    Ok(text)
}

/// Writes a tensor's values row by row, little-endian, a piece at a time.
pub(super) fn write_values(tensor: &Tensor, to: &mut impl Write) -> io::Result<()> {
    let tensor = tensor
        .to_device(&Device::Cpu)
        .and_then(|tensor| tensor.contiguous());
    let tensor = tensor.map_err(io::Error::other)?;
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        return Err(io::Error::other("it is not in main memory"));
    };
    let values = layout.start_offset()..layout.start_offset() + layout.shape().elem_count();
    macro_rules! little {
        ($values:expr) => {
            in_pieces(
                &$values[values],
                |value, bytes| {
                    bytes.copy_from_slice(&value.to_le_bytes());
                },
                to,
            )
        };
    }
    match storage {
        CpuStorage::F64(all) => little!(all),
        CpuStorage::F32(all) => little!(all),
        CpuStorage::F16(all) => little!(all),
        CpuStorage::BF16(all) => little!(all),
        CpuStorage::I64(all) => little!(all),
        CpuStorage::I32(all) => little!(all),
        CpuStorage::I16(all) => little!(all),
        CpuStorage::U32(all) => little!(all),
        CpuStorage::U8(all) => to.write_all(&all[values]),
        _ => Err(io::Error::other(format!(
            "cannot write {:?}",
            tensor.dtype()
        ))),
    }
}

fn in_pieces<T: Copy>(
    values: &[T],
    put: impl Fn(T, &mut [u8]),
    to: &mut impl Write,
) -> io::Result<()> {
    const PIECE: usize = 1 << 16;
    let size = size_of::<T>();
    let mut buffer = vec![0; size * PIECE.min(values.len())];
    for piece in values.chunks(PIECE) {
        let bytes = &mut buffer[..size_of_val(piece)];
        for (value, bytes) in piece.iter().zip(bytes.chunks_exact_mut(size)) {
            put(*value, bytes);
        }
        to.write_all(bytes)?;
    }
    Ok(())
}
