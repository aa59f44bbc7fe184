//! Failures by their exit code.

use std::fmt;

use mic_run::Refusal;
use mic_run::cli::STOPPED;

/// Why the program ends without success.
#[derive(Debug)]
pub enum Failure {
    /// Arguments or a configuration that cannot be run: exit code 2.
    Usage(String),
    /// A run that failed: exit code 1.
    Run(anyhow::Error),
    /// A run that a signal stopped; it is saved: exit code 3.
    Stopped(String),
}

impl Failure {
    /// What an error of a task amounts to.
    pub fn of<E>(error: E) -> Self
    where
        E: Refusal + std::error::Error + Send + Sync + 'static,
    {
        match error.refusal() {
            Ok(message) => Self::Usage(message),
            Err(other) => Self::Run(other.into()),
        }
    }

    /// The process's exit code.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Run(_) => 1,
            Self::Stopped(_) => STOPPED,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Stopped(message) => f.write_str(message),
            // The alternate form shows the causes behind the message.
            Self::Run(error) => write!(f, "{error:#}"),
        }
    }
}

impl From<mic_run::Error> for Failure {
    fn from(error: mic_run::Error) -> Self {
        match error {
            mic_run::Error::Usage(message) => Self::Usage(message),
            other => Self::Run(other.into()),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Run(error)
    }
}
