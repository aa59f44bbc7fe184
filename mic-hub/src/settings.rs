//! Where the Hub and its cache are, from the environment variables of `huggingface_hub`.

use std::path::{Path, PathBuf};
use std::time::Duration;

const ENDPOINT: &str = "https://huggingface.co";

/// Variables that name a proxy.
const PROXIES: [&str; 6] = [
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "HTTP_PROXY",
    "http_proxy",
];

/// How files are fetched.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Base address of the Hub or of a mirror (`HF_ENDPOINT`).
    pub endpoint: String,
    /// The cache (`HF_HUB_CACHE`, else `HF_HOME/hub`, else `~/.cache/huggingface/hub`).
    pub cache: PathBuf,
    /// Access token (`HF_TOKEN`, else the file that `hf auth login` writes).
    pub token: Option<String>,
    /// Take files from the cache alone (`HF_HUB_OFFLINE`).
    pub offline: bool,
    /// Tries in a row that bring nothing before a download is given up.
    pub attempts: u32,
    /// Wait before the second try; every further one waits twice as long.
    pub pause: Duration,
    /// The proxy that the environment names, without its password.
    pub proxy: Option<String>,
    /// Silence after which a connection counts as broken (`HF_HUB_DOWNLOAD_TIMEOUT`).
    pub stall: Duration,
}

impl Settings {
    /// As the environment says.
    pub fn from_env() -> Self {
        Self::from(&|name| std::env::var(name).ok())
    }

    /// As the variables say that `get` knows. Empty ones count as unset.
    pub fn from(get: &dyn Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| get(name).filter(|value| !value.trim().is_empty());
        let home = PathBuf::from(get("HOME").unwrap_or_else(|| "/tmp".into()));
        let path = |name: &str| get(name).map(|value| expanded(&value, &home));
        let hf_home = path("HF_HOME").unwrap_or_else(|| {
            let cache = path("XDG_CACHE_HOME").unwrap_or_else(|| home.join(".cache"));
            cache.join("huggingface")
        });
        let cache = path("HF_HUB_CACHE")
            .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
            .unwrap_or_else(|| hf_home.join("hub"));
        let token = match get("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            Some(_) => None,
            None => get("HF_TOKEN").or_else(|| {
                let file = path("HF_TOKEN_PATH").unwrap_or_else(|| hf_home.join("token"));
                std::fs::read_to_string(file).ok()
            }),
        };
        let seconds = get("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|value| value.parse().ok());
        Self {
            endpoint: get("HF_ENDPOINT")
                .unwrap_or_else(|| ENDPOINT.into())
                .trim_end_matches('/')
                .to_owned(),
            cache,
            token: token
                .map(|token| token.trim().to_owned())
                .filter(|token| !token.is_empty()),
            offline: get("HF_HUB_OFFLINE")
                .or_else(|| get("TRANSFORMERS_OFFLINE"))
                .is_some_and(|value| yes(&value)),
            attempts: 5,
            pause: Duration::from_secs(1),
            proxy: PROXIES
                .iter()
                .find_map(|name| get(name))
                .map(|url| without_password(&url)),
            stall: Duration::from_secs(seconds.unwrap_or(30).max(1)),
        }
    }

    /// Where the SHA-256 of files that are not pinned is kept: beside the cache.
    pub fn ledger(&self) -> PathBuf {
        let name = self.cache.file_name().unwrap_or_default();
        let name = format!("{}.mic-lock.toml", name.to_string_lossy());
        self.cache.with_file_name(name)
    }
}

/// What `huggingface_hub` takes for true.
fn yes(value: &str) -> bool {
    matches!(
        value.trim().to_uppercase().as_str(),
        "1" | "ON" | "YES" | "TRUE"
    )
}

/// `http://user:password@host` without `user:password`, to be shown.
fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}://{host}")
}

fn expanded(value: &str, home: &Path) -> PathBuf {
    match value.strip_prefix('~') {
        Some("") => home.to_owned(),
        Some(rest) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Settings {
        Settings::from(&|name| {
            let found = pairs.iter().find(|pair| pair.0 == name);
            found.map(|pair| pair.1.to_owned())
        })
    }

    #[test]
    fn the_cache_is_where_python_looks_for_it() {
        let home = ("HOME", "/home/a");
        let cache = |more: &[(&str, &str)]| with(&[&[home], more].concat()).cache;
        assert_eq!(cache(&[]), Path::new("/home/a/.cache/huggingface/hub"));
        assert_eq!(
            cache(&[("XDG_CACHE_HOME", "/x")]),
            Path::new("/x/huggingface/hub")
        );
        assert_eq!(cache(&[("HF_HOME", "~/hf")]), Path::new("/home/a/hf/hub"));
        assert_eq!(
            cache(&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/c")]),
            Path::new("/c")
        );
        assert_eq!(
            with(&[home]).ledger(),
            Path::new("/home/a/.cache/huggingface/hub.mic-lock.toml")
        );
    }

    #[test]
    fn the_token_comes_from_the_variable_then_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        std::fs::write(folder.path().join("token"), "from-file\n").unwrap();
        let token = |more: &[(&str, &str)]| with(&[&[("HF_HOME", home)], more].concat()).token;
        assert_eq!(token(&[]).as_deref(), Some("from-file"));
        assert_eq!(token(&[("HF_TOKEN", " a ")]).as_deref(), Some("a"));
        assert_eq!(token(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
    }

    #[test]
    fn passwords_of_proxies_are_not_shown() {
        let proxy = with(&[("HTTPS_PROXY", "http://me:secret@proxy:3128")]).proxy;
        assert_eq!(proxy.as_deref(), Some("http://proxy:3128"));
    }

    #[test]
    fn offline_is_what_python_takes_for_true() {
        let offline = |value| with(&[("HF_HUB_OFFLINE", value)]).offline;
        assert!(["1", "true", "ON", "yes"].into_iter().all(offline));
        assert!(!["0", "false", "", "no"].into_iter().any(offline));
        assert!(with(&[("TRANSFORMERS_OFFLINE", "1")]).offline);
    }
}
