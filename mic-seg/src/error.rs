//! The crate's error type.

/// What can go wrong in training, evaluation and prediction. Messages name the key, file or
/// tensor, what was expected and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A configuration that cannot be run (exit code 2).
    #[error("{0}")]
    Config(String),
    /// A run that failed (exit code 1).
    #[error("{0}")]
    Run(String),
    /// A loss or gradient that is not finite.
    #[error(transparent)]
    NonFinite(#[from] mic_run::NonFinite),
    /// The run around the training failed.
    #[error(transparent)]
    Harness(mic_run::Error),
    /// Data that cannot be read.
    #[error(transparent)]
    Data(#[from] mic_data::Error),
    /// A step of the method failed.
    #[error(transparent)]
    Method(#[from] mic_core::Error),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// `std::result::Result` with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl From<mic_run::Error> for Error {
    fn from(error: mic_run::Error) -> Self {
        match error {
            mic_run::Error::Usage(message) => Self::Config(message),
            other => Self::Harness(other),
        }
    }
}

impl mic_run::Refusal for Error {
    fn refusal(self) -> std::result::Result<String, Self> {
        match self {
            Self::Config(message) => Ok(message),
            other => Err(other),
        }
    }
}
