//! What came at the first download, for files whose SHA-256 the manifest does not know.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache::{locked, replace};
use crate::manifest::HubFile;
use crate::{Error, Result};

const HEADER: &str = "\
# What came when these files were fetched first. A later download that differs is an error; remove an
# entry to accept another file.

";

/// The file of first downloads.
pub(crate) struct Ledger {
    path: PathBuf,
}

#[derive(Default, Deserialize, Serialize)]
struct Entries {
    #[serde(default)]
    file: Vec<Seen>,
}

/// What came.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Seen {
    repository: String,
    revision: String,
    file: String,
    pub(crate) commit: String,
    pub(crate) sha256: String,
}

impl Seen {
    fn is(&self, file: &HubFile) -> bool {
        self.repository == file.repository
            && self.revision == file.revision
            && self.file == file.file
    }
}

impl Ledger {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn entries(&self) -> Result<Entries> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Entries::default());
            }
            Err(error) => return Err(Error::io(&self.path)(error)),
        };
        toml::from_str(&text).map_err(|error| {
            Error::Usage(format!(
                "{} is damaged ({error}); mend or remove it",
                self.path.display()
            ))
        })
    }

    /// What came of a file at first.
    pub(crate) fn seen(&self, file: &HubFile) -> Result<Option<Seen>> {
        Ok(self.entries()?.file.into_iter().find(|seen| seen.is(file)))
    }

    /// Records what came; a file that is recorded already must be the same.
    pub(crate) fn record(&self, file: &HubFile, commit: &str, sha256: &str) -> Result<bool> {
        let _lock = locked(&self.path.with_extension("lock"), || ())?;
        let mut entries = self.entries()?;
        if let Some(seen) = entries.file.iter().find(|seen| seen.is(file)) {
            return match seen.sha256 == sha256 {
                true => Ok(false),
                false => Err(self.changed(file, seen, sha256)),
            };
        }
        entries.file.push(Seen {
            repository: file.repository.clone(),
            revision: file.revision.clone(),
            file: file.file.clone(),
            commit: commit.into(),
            sha256: sha256.into(),
        });
        let text = toml::to_string(&entries);
        let text = text.map_err(|error| Error::Usage(error.to_string()))?;
        replace(&self.path, |new| {
            std::fs::write(new, format!("{HEADER}{text}"))
        })?;
        Ok(true)
    }

    /// The error of a file that is not what came at first.
    pub(crate) fn changed(&self, file: &HubFile, seen: &Seen, found: &str) -> Error {
        Error::Changed {
            file: file.to_string(),
            recorded: seen.sha256.clone(),
            found: found.into(),
            ledger: self.path.clone(),
        }
    }
}
