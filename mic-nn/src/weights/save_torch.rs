//! Writing the zip archives of `torch.save`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::error::{Error, Result};
use super::pickled::{self, Pickled, Written};
use super::save::write_values;
use crate::files::write_whole;

/// The folder in the archive; PyTorch takes any name.
const FOLDER: &str = "archive";
/// Where PyTorch puts the first byte of a storage.
const ALIGNMENT: u16 = 64;

/// Writes a value as `torch.save` does (an archive with a pickle of protocol 2 and one storage a
/// tensor), for `torch.load` of every PyTorch since 1.6, `weights_only=True` included. A tensor's
/// bytes are made when it is its turn.
///
/// The file is complete or absent: see [`write_whole`].
///
/// # Errors
/// A tensor of a type that PyTorch lacks, an unwritable folder, a full disk: names the file.
pub fn save_torch(path: &Path, value: &Pickled) -> Result<()> {
    let failed = |source: io::Error| Error::Io {
        path: path.to_owned(),
        doing: "write",
        source,
    };
    let written = pickled::write(value).map_err(|reason| failed(io::Error::other(reason)))?;
    write_whole(path, |file| archive(file, &written)).map_err(failed)
}

fn archive(file: &mut File, written: &Written) -> io::Result<()> {
    let mut archive = ZipWriter::new(BufWriter::new(file));
    let options = |bytes: usize| {
        SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .with_alignment(ALIGNMENT)
            .large_file(u32::try_from(bytes).is_err())
    };
    let mut entry = |name: &str, bytes: &[u8]| {
        archive.start_file(format!("{FOLDER}/{name}"), options(bytes.len()))?;
        archive.write_all(bytes)
    };
    entry("data.pkl", &written.bytes)?;
    entry("byteorder", b"little")?;
    for (key, tensor) in written.tensors.iter().enumerate() {
        let bytes = tensor.elem_count() * tensor.dtype().size_in_bytes();
        archive.start_file(format!("{FOLDER}/data/{key}"), options(bytes))?;
        write_values(tensor, &mut archive)?;
    }
    archive.start_file(format!("{FOLDER}/version"), options(0))?;
    archive.write_all(b"3\n")?;
    archive.finish()?.flush()
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::super::{Checkpoint, load};
    use super::*;

    fn sample() -> candle_core::Result<Vec<(String, Tensor)>> {
        let device = &Device::Cpu;
        let matrix = Tensor::arange(0f32, 6f32, device)?.reshape((2, 3))?;
        let named = |name: &str, tensor: Tensor| (name.to_owned(), tensor);
        Ok(vec![
            named("matrix", matrix.clone()),
            // A view is written row by row.
            named("turned", matrix.t()?),
            named("count", Tensor::new(1i64 << 40, device)?),
            named("bytes", Tensor::new(&[0u8, 255], device)?),
            named("half", matrix.to_dtype(DType::BF16)?),
            named("double", matrix.to_dtype(DType::F64)?),
            named("none", Tensor::zeros((0, 2), DType::F32, device)?),
        ])
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/file.pth");
        let tensors = sample().unwrap();
        let state = tensors.iter();
        let state = state.map(|(name, tensor)| (name.clone(), Pickled::Tensor(tensor.clone())));
        let meta = vec![
            ("iter".into(), Pickled::Int(40_000)),
            ("large".into(), Pickled::Int(-(1 << 40))),
            ("rate".into(), Pickled::Float(0.5)),
            ("name".into(), Pickled::Text("früh".into())),
            ("nothing".into(), Pickled::None),
            ("done".into(), Pickled::Bool(true)),
            ("empty".into(), Pickled::Tuple(Vec::new())),
            (
                "palette".into(),
                Pickled::List(vec![Pickled::Tuple(vec![Pickled::Int(255); 3])]),
            ),
        ];
        let value = Pickled::Dict(vec![
            ("meta".into(), Pickled::Dict(meta)),
            ("state_dict".into(), Pickled::OrderedDict(state.collect())),
        ]);
        save_torch(&path, &value).unwrap();
        let found = load(&path).unwrap();
        assert_eq!(found.len(), tensors.len());
        for (name, tensor) in &tensors {
            let read = found.tensor(name).unwrap();
            assert_eq!(
                (read.dims(), read.dtype()),
                (tensor.dims(), tensor.dtype()),
                "{name}"
            );
            let values = |t: &Tensor| {
                let all = t.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
                all.to_vec1::<f64>().unwrap()
            };
            assert_eq!(values(&read), values(tensor), "{name}");
        }
        let checkpoint = Checkpoint::open(&path).unwrap();
        let told = |key: &str| checkpoint.metadata()[&format!("meta/{key}")].clone();
        assert_eq!((told("iter"), told("rate")), ("40000".into(), "0.5".into()));
        assert_eq!((told("name"), told("done")), ("früh".into(), "true".into()));
        assert_eq!(told("large"), (-(1i64 << 40)).to_string());
        assert_eq!(
            (told("palette"), told("empty")),
            ("a list of 1".into(), "a tuple of 0".into())
        );
    }

    #[test]
    fn types_that_torch_lacks_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.pth");
        let tensor = Pickled::Tensor(Tensor::new(&[1u32], &Device::Cpu).unwrap());
        let value = Pickled::OrderedDict(vec![("index".into(), tensor)]);
        let message = save_torch(&path, &value).unwrap_err().to_string();
        assert!(
            message.contains("index") && message.contains("U32"),
            "{message}"
        );
        assert!(message.contains("file.pth") && !path.exists());
    }
}
