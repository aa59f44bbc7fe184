//! The crate's error type. Every message says what to do.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// What can go wrong between the Hub and a converted file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A request that cannot be carried out as it was made (exit code 2).
    #[error("{0}")]
    Usage(String),
    /// Nothing came from the Hub: no network, no such host, a proxy that refuses, a time-out.
    #[error(
        "{url} cannot be reached ({reason}){}; check the network, HF_ENDPOINT and HTTPS_PROXY, or use \
         what is in the cache with HF_HUB_OFFLINE=1",
        proxy_note(proxy)
    )]
    Unreachable {
        /// What was asked for.
        url: String,
        /// The reason of the network's layers.
        reason: String,
        /// The proxy in between, as the environment names it.
        proxy: Option<String>,
    },
    /// 401.
    #[error(
        "the Hub refuses {repository} (401): {}",
        if *token {
            "the token is wrong or expired; make a new one at https://huggingface.co/settings/tokens \
             and put it into HF_TOKEN"
        } else {
            "the repository is private, gated or gone; if you have access, put a token of \
             https://huggingface.co/settings/tokens into HF_TOKEN"
        }
    )]
    Unauthorized {
        /// The repository.
        repository: String,
        /// Whether a token was sent.
        token: bool,
    },
    /// 403.
    #[error(
        "the Hub forbids {repository} (403){}; accept its terms at {page}, and use a token (HF_TOKEN) \
         that may read it",
        detail(said)
    )]
    Forbidden {
        /// The repository.
        repository: String,
        /// Its page.
        page: String,
        /// What the Hub said.
        said: String,
    },
    /// 404.
    #[error("{0}")]
    Gone(String),
    /// 429.
    #[error(
        "the Hub answers {repository} with too many requests (429); {}, or set HF_TOKEN, whose limit \
         is higher. What has come stays and the download goes on",
        match wait {
            Some(wait) => format!("try again in {} s", wait.as_secs()),
            None => "try again in some minutes".into(),
        }
    )]
    TooMany {
        /// The repository.
        repository: String,
        /// How long to wait, where the Hub said so.
        wait: Option<Duration>,
    },
    /// 5xx and what else is no answer to a request for a file.
    #[error(
        "the Hub answers {url} with {status}{}; try again later (https://status.huggingface.co tells \
         its state), or use the cache with HF_HUB_OFFLINE=1",
        detail(said)
    )]
    Refused {
        /// What was asked for.
        url: String,
        /// The status code.
        status: u16,
        /// What the Hub said.
        said: String,
    },
    /// An answer that a Hub does not give.
    #[error(
        "{url} does not answer as the Hub does ({reason}); check HF_ENDPOINT, and that no proxy or \
         log-in page is in between"
    )]
    Malformed {
        /// What was asked for.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The connection broke again and again.
    #[error(
        "{file} stopped at {got} of {size} bytes, {attempts} times in a row without another byte \
         ({reason}); the part is kept: the same command goes on from there"
    )]
    Truncated {
        /// The file.
        file: String,
        /// Bytes that have come.
        got: u64,
        /// Bytes in all.
        size: u64,
        /// Tries.
        attempts: u32,
        /// The last reason.
        reason: String,
    },
    /// Bytes that are not those that were promised.
    #[error(
        "{file} is not what it should be: its SHA-256 is {found}, {source_of_truth} says {expected}; \
         nothing was kept. Try again; if it stays so, the file or the way to it has been tampered with"
    )]
    WrongHash {
        /// The file.
        file: String,
        /// SHA-256 or git hash that was expected.
        expected: String,
        /// What came.
        found: String,
        /// Who says so.
        source_of_truth: String,
    },
    /// The Hub now offers another file than at the first download.
    #[error(
        "{file} has changed on the Hub: {recorded} was recorded at the first download, now it is \
         {found}; nothing was replaced. If you want the new one, remove its entry from {}",
        ledger.display()
    )]
    Changed {
        /// The file.
        file: String,
        /// SHA-256 of the first download.
        recorded: String,
        /// SHA-256 now.
        found: String,
        /// Where the first one is recorded.
        ledger: PathBuf,
    },
    /// No room.
    #[error(
        "the disk of {} is full: {need} bytes more are needed{}; free some room or put the cache \
         elsewhere with HF_HOME. Nothing half-written is left",
        path.display(),
        match free { Some(free) => format!(", {free} are free"), None => String::new() }
    )]
    DiskFull {
        /// Where.
        path: PathBuf,
        /// Bytes that are missing.
        need: u64,
        /// Bytes that are free, where known.
        free: Option<u64>,
    },
    /// A file that is not in the cache while the Hub must not be asked.
    #[error(
        "{file} is not in the cache {} and HF_HUB_OFFLINE forbids to fetch it; unset HF_HUB_OFFLINE, or \
         copy the folder {folder} into the cache from a machine that has it",
        cache.display()
    )]
    Offline {
        /// The file.
        file: String,
        /// The cache.
        cache: PathBuf,
        /// The repository's folder in it.
        folder: String,
    },
    /// A file or folder that cannot be read or written.
    #[error("cannot access {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// Weights that do not fit the network that they are for.
    #[error("{0}")]
    Weights(String),
    /// Data sets that are not as they should be; the text has been printed.
    #[error("{0}")]
    Data(String),
    /// A file of a data set.
    #[error(transparent)]
    Set(#[from] mic_data::Error),
    /// Printing.
    #[error(transparent)]
    Run(#[from] mic_run::Error),
}

/// `std::result::Result` with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Adds the file to an error of the operating system.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    /// The bare reason of a connection that broke.
    pub(crate) fn cause(&self) -> String {
        match self {
            Self::Unreachable { reason, .. } => reason.clone(),
            other => other.to_string(),
        }
    }

    /// Whether the same request may go through a moment later.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TooMany { .. } => true,
            Self::Refused { status, .. } => matches!(status, 408 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }
}

fn detail(said: &str) -> String {
    match said.trim() {
        "" => String::new(),
        said => format!(": {said}"),
    }
}

fn proxy_note(proxy: &Option<String>) -> String {
    match proxy {
        Some(proxy) => format!("; the environment names the proxy {proxy}"),
        None => String::new(),
    }
}
