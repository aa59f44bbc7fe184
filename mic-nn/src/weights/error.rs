//! The module's errors.

use std::io;
use std::path::{Path, PathBuf};

/// A weights file that cannot be used. Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `read` or `write`.
        doing: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The file is damaged, foreign, or lacks what was asked for.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was found, what was expected and how to mend it.
        reason: String,
    },
    /// Rename rules that do not fit the tensors.
    #[error("renaming weights: {0}")]
    Rename(String),
}

/// `std::result::Result` with this module's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        Self::wrap(error)
    }
}

/// Why a file cannot be parsed; the file's name is added at the module's edge.
#[derive(Debug)]
pub(super) struct Reason(pub(super) String);

pub(super) type Parse<T> = std::result::Result<T, Reason>;

impl Reason {
    pub(super) fn at(self, path: &Path) -> Error {
        Error::File {
            path: path.to_owned(),
            reason: self.0,
        }
    }

    /// Puts `context` and a colon before the reason.
    pub(super) fn within(self, context: impl std::fmt::Display) -> Self {
        Self(format!("{context}: {}", self.0))
    }
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<candle_core::Error> for Reason {
    fn from(error: candle_core::Error) -> Self {
        match error {
            // The reader of the message has no use for a backtrace.
            candle_core::Error::WithBacktrace { inner, .. } => Self(inner.to_string()),
            other => Self(other.to_string()),
        }
    }
}

/// Leaves the function with a [`Reason`].
macro_rules! refuse {
    ($($message:tt)*) => {
        return Err($crate::weights::error::Reason(format!($($message)*)))
    };
}
pub(super) use refuse;
