//! Hashes of files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// SHA-256 of what has been added.
#[derive(Clone, Default)]
pub(crate) struct Hash(Sha256);

impl Hash {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// In hexadecimal.
    pub(crate) fn finish(self) -> String {
        let digits = self.0.finalize();
        digits.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// SHA-256 of a file's first `length` bytes, to go on with.
pub(crate) fn of_start(file: &mut File, path: &Path, length: u64) -> Result<Hash> {
    let mut hash = Hash::default();
    let mut buffer = vec![0; 1 << 20];
    let mut file = file.take(length);
    loop {
        match file.read(&mut buffer).map_err(Error::io(path))? {
            0 => return Ok(hash),
            count => hash.add(&buffer[..count]),
        }
    }
}

/// SHA-256 of a file.
pub(crate) fn of(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    Ok(of_start(&mut file, path, u64::MAX)?.finish())
}

/// Whether a text is a SHA-256 in hexadecimal, as the Hub's identifiers of large files are.
pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a text is a commit.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
