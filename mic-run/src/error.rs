//! The crate's error type.

use std::path::{Path, PathBuf};

/// What can go wrong around a run. Messages name the file or key, what was expected, and the mend.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A request that cannot be carried out as it was made (exit code 2).
    #[error("{0}")]
    Usage(String),
    /// A file or folder of the run that cannot be read or written.
    #[error("cannot access {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A checkpoint or record that is damaged, foreign or of another version.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A run that cannot go on.
    #[error("{0}")]
    Run(String),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// `std::result::Result` with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// An error of a task. Some of its values are requests that cannot be carried out as they were made, as
/// [`Error::Usage`] is among those of this crate.
pub trait Refusal: From<Error> {
    /// The message of such a request; another error comes back.
    ///
    /// # Errors
    /// That error.
    fn refusal(self) -> std::result::Result<String, Self>;
}

impl Error {
    /// Adds the file to an error of the operating system.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }
}
