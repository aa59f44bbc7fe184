//! What a checkpoint says about itself.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::record::{BadSample, Evaluation};
use crate::{Error, Result};

/// The layout that this version writes and reads.
const FORMAT: u32 = 1;

/// The best evaluation so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Steps done before it.
    pub step: u64,
    /// Its main score.
    pub score: f64,
}

/// Where a run stands, apart from its tensors.
///
/// Random streams and samplers have no state of their own: every draw is a function of the seed,
/// its purpose and the step, so the next step's number is their position.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done; the number of the next step, whose batch and random streams come next.
    pub step: u64,
    /// Steps that were skipped because a loss or gradient was not finite.
    pub skipped: Vec<u64>,
    /// Training samples that could not be read and were replaced.
    #[serde(default)]
    pub bad_samples: Vec<BadSample>,
    /// The evaluations so far.
    pub evaluations: Vec<Evaluation>,
    /// The best of them.
    pub best: Option<Best>,
}

/// The contents of `state.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the layout.
    pub format: u32,
    /// The version of mic that wrote it.
    pub version: String,
    /// The task's program, such as `mic-seg`.
    pub program: String,
    /// The run's seed.
    pub seed: u64,
    /// The resolved configuration (TOML).
    pub config: String,
    /// Where the run stands.
    pub progress: Progress,
    /// The other files.
    pub files: Vec<FileEntry>,
}

/// A file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// The CRC-32 (IEEE) of its bytes.
    pub crc32: u32,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    format: u32,
    /// CRC-32 of the manifest's text.
    crc32: u32,
    /// The manifest as JSON, in a text so that its bytes are fixed.
    manifest: String,
}

impl Manifest {
    /// A manifest without files.
    pub fn new(program: &str, seed: u64, config: &str, progress: Progress) -> Self {
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            program: program.into(),
            seed,
            config: config.into(),
            progress,
            files: Vec::new(),
        }
    }

    pub(super) fn seal(&self) -> serde_json::Result<String> {
        let manifest = serde_json::to_string(self)?;
        let sealed = Sealed {
            format: self.format,
            crc32: crc32fast::hash(manifest.as_bytes()),
            manifest,
        };
        serde_json::to_string_pretty(&sealed).map(|text| text + "\n")
    }

    /// The manifest in the text of the file `path`.
    pub(super) fn unseal(path: &Path, text: &str) -> Result<Self> {
        let damaged = |reason: String| Error::damaged(path, reason);
        let foreign = |error: serde_json::Error| {
            damaged(format!("it is damaged or no checkpoint's state: {error}"))
        };
        let sealed: Sealed = serde_json::from_str(text).map_err(foreign)?;
        let sum = crc32fast::hash(sealed.manifest.as_bytes());
        if sealed.format != FORMAT {
            return Err(damaged(format!(
                "it has layout {}, this version of mic reads layout {FORMAT}; use the version that \
                 wrote it, or start from its weights with --init-from",
                sealed.format
            )));
        }
        if sum != sealed.crc32 {
            return Err(damaged(format!(
                "its checksum is {sum:08x}, it should be {:08x}: it is damaged",
                sealed.crc32
            )));
        }
        let manifest: Self = serde_json::from_str(&sealed.manifest).map_err(foreign)?;
        if manifest.format != sealed.format {
            return Err(damaged(
                "its two layout numbers differ: it is damaged".into(),
            ));
        }
        Ok(manifest)
    }
}
