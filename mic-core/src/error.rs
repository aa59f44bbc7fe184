//! The crate's error type.

/// What can go wrong in a step of the method. Messages name the value, the expectation and the mend.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A configuration value outside its range.
    #[error("invalid configuration: {0}")]
    Config(String),
    /// A tensor whose shape, dtype or content does not fit the call.
    #[error("{0}")]
    Input(String),
    /// A candle operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// Lets `?` pass this crate's errors through functions that return candle's own `Result`.
impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Tensor(inner) => inner,
            other => Self::wrap(other),
        }
    }
}

/// `std::result::Result` with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

pub(crate) fn config<T>(message: String) -> Result<T> {
    Err(Error::Config(message))
}

pub(crate) fn input<T>(message: String) -> Result<T> {
    Err(Error::Input(message))
}
