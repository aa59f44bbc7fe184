//! Asking the Hub.

use std::path::PathBuf;
use std::time::Duration;

use futures::Stream;
use hf_hub::repository::{HFRepository, RepoTypeModel};
use hf_hub::{HFClient, HFError, HFResult, split_id};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_LENGTH, ETAG, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};

use crate::digest::is_commit;
use crate::manifest::HubFile;
use crate::{Error, Result, Settings};

const AGENT: &str = concat!("mic-hub/", env!("CARGO_PKG_VERSION"));

/// Redirects within the Hub that are followed: to a repository's new name, say.
const REDIRECTS: usize = 5;

/// What the Hub says of a file.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    /// The commit that the revision is.
    pub(crate) commit: String,
    /// Identifier of the content: its SHA-256 for large files.
    pub(crate) etag: String,
    /// Bytes.
    pub(crate) size: u64,
}

/// A connection to the Hub.
pub(crate) struct Hub {
    client: HFClient,
    /// Follows no redirect: what the Hub says of a large file is in the answer that leads elsewhere.
    /// `HFRepository::get_file_metadata` follows it and finds the answer without a commit.
    heads: Client,
    settings: Settings,
}

impl Hub {
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        let usage = |error: String| {
            Error::Usage(format!(
                "cannot talk to {}: {error}; check HF_ENDPOINT and the proxy variables",
                settings.endpoint
            ))
        };
        let http = || {
            Client::builder()
                .user_agent(AGENT)
                .connect_timeout(settings.stall.min(Duration::from_secs(15)))
                .read_timeout(settings.stall)
        };
        let client = http().build().map_err(|error| usage(reason(&error)))?;
        let heads = http().redirect(Policy::none()).build();
        let heads = heads.map_err(|error| usage(reason(&error)))?;
        let mut hub = HFClient::builder()
            .endpoint(&settings.endpoint)
            .cache_dir(&settings.cache)
            .client(client)
            // Tries are counted here, where broken downloads count as well.
            .retry_max_attempts(0);
        if let Some(token) = &settings.token {
            hub = hub.token(token);
        }
        Ok(Self {
            client: hub.build().map_err(|error| usage(error.to_string()))?,
            heads,
            settings: settings.clone(),
        })
    }

    fn repository(&self, file: &HubFile) -> HFRepository<RepoTypeModel> {
        let (owner, name) = split_id(&file.repository);
        self.client.model(owner, name)
    }

    /// Where the file lies in the cache, if it does.
    pub(crate) async fn cached(&self, file: &HubFile) -> Option<PathBuf> {
        let repository = self.repository(file);
        let found = repository
            .download_file()
            .filename(&file.file)
            .revision(&file.revision)
            .local_files_only(true);
        found.send().await.ok()
    }

    /// Asks for a file's commit, size and identifier.
    pub(crate) async fn look(&self, file: &HubFile) -> Result<Remote> {
        let HubFile {
            repository,
            revision,
            file: path,
            ..
        } = file;
        let revision = revision.replace('/', "%2F");
        let url = format!(
            "{}/{repository}/resolve/{revision}/{path}",
            self.settings.endpoint
        );
        let malformed = |reason: &str| Error::Malformed {
            url: url.clone(),
            reason: reason.into(),
        };
        let mut next = Url::parse(&url)
            .map_err(|error| Error::Usage(format!("HF_ENDPOINT: {url} is no address: {error}")))?;
        for _ in 0..REDIRECTS {
            let response = self.head(next.clone()).await?;
            if !response.status().is_success() && !response.status().is_redirection() {
                return Err(self.refused(file, response.status(), response.headers(), next));
            }
            match within(&next, &response) {
                Some(place) => next = place,
                None => return remote(&response).map_err(|reason| malformed(&reason)),
            }
        }
        Err(malformed("it leads in circles"))
    }

    async fn head(&self, url: Url) -> Result<Response> {
        let mut request = self.heads.head(url.clone());
        if let Some(token) = &self.settings.token {
            request = request.bearer_auth(token);
        }
        // Compressed answers have other sizes.
        let sent = request.header(ACCEPT_ENCODING, "identity").send().await;
        sent.map_err(|error| self.unreachable(url.as_str(), reason(&error)))
    }

    /// The bytes of a file from `start` on.
    pub(crate) async fn bytes(
        &self,
        file: &HubFile,
        remote: &Remote,
        start: u64,
    ) -> Result<impl Stream<Item = HFResult<impl AsRef<[u8]>>> + Unpin> {
        let repository = self.repository(file);
        let sent = repository
            .download_file_stream()
            .filename(&file.file)
            .revision(&remote.commit)
            .maybe_range((start > 0).then_some(start..remote.size))
            .send()
            .await;
        let (_, stream) = sent.map_err(|error| self.error(file, error))?;
        Ok(stream)
    }

    fn unreachable(&self, url: &str, reason: String) -> Error {
        Error::Unreachable {
            url: url.into(),
            reason,
            proxy: self.settings.proxy.clone(),
        }
    }

    /// An error of the library in this crate's words.
    pub(crate) fn error(&self, file: &HubFile, error: HFError) -> Error {
        let own = |status: StatusCode, code: Option<&str>, said: &str, url: &str| {
            self.status(file, status, code, said, url, None)
        };
        match error {
            HFError::RateLimited {
                retry_after,
                context,
            } => self.status(file, context.status, None, "", &context.url, retry_after),
            HFError::Http { context }
            | HFError::AuthRequired { context }
            | HFError::Forbidden { context }
            | HFError::RepoNotFound {
                context: Some(context),
                ..
            }
            | HFError::RevisionNotFound {
                context: Some(context),
                ..
            }
            | HFError::EntryNotFound {
                context: Some(context),
                ..
            } => own(
                context.status,
                context.error_code.as_deref(),
                context.server_message.as_deref().unwrap_or_default(),
                &context.url,
            ),
            HFError::Request { source, url } => {
                let url = url.unwrap_or_else(|| self.settings.endpoint.clone());
                self.unreachable(&url, reason(&source))
            }
            HFError::MalformedResponse { what, url } => Error::Malformed {
                url: url.unwrap_or_else(|| self.settings.endpoint.clone()),
                reason: what,
            },
            other => self.unreachable(&self.settings.endpoint, reason(&other)),
        }
    }

    fn refused(&self, file: &HubFile, status: StatusCode, headers: &HeaderMap, url: Url) -> Error {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let wait = text(RETRY_AFTER.as_str()).and_then(|text| text.trim().parse().ok());
        let said = text("x-error-message").unwrap_or_default();
        let wait = wait.map(Duration::from_secs);
        self.status(file, status, text("x-error-code"), said, url.as_str(), wait)
    }

    fn status(
        &self,
        file: &HubFile,
        status: StatusCode,
        code: Option<&str>,
        said: &str,
        url: &str,
        wait: Option<Duration>,
    ) -> Error {
        let repository = file.repository.clone();
        match status.as_u16() {
            401 => Error::Unauthorized {
                repository,
                token: self.settings.token.is_some(),
            },
            403 => Error::Forbidden {
                page: format!("{}/{repository}", self.settings.endpoint),
                repository,
                said: said.into(),
            },
            404 | 410 => Error::Gone(self.gone(file, code)),
            407 => self.unreachable(
                url,
                "the proxy asks for a user and a password (407): http://user:password@host".into(),
            ),
            429 => Error::TooMany { repository, wait },
            status => Error::Refused {
                url: url.into(),
                status,
                said: said.into(),
            },
        }
    }

    fn gone(&self, file: &HubFile, code: Option<&str>) -> String {
        let HubFile {
            repository,
            revision,
            file,
            ..
        } = file;
        let page = format!("{}/{repository}", self.settings.endpoint);
        match code {
            Some("RepoNotFound") => format!(
                "the Hub has no repository {repository} (404): it was renamed or removed, or is \
                 private and needs HF_TOKEN; look at {page}, and set its new name in the manifest \
                 (--manifest)"
            ),
            Some("RevisionNotFound") => format!(
                "{repository} has no revision {revision} any more (404): its history was rewritten; \
                 choose a commit of {page}/commits/main and set it in the manifest (--manifest)"
            ),
            Some("EntryNotFound") => format!(
                "{repository} has no file {file} at revision {revision} (404); look at \
                 {page}/tree/{revision}, and set the file in the manifest (--manifest)"
            ),
            _ => format!(
                "{page} has no {file} at revision {revision} (404): repository, revision or file is \
                 gone, or HF_ENDPOINT is no Hub; look at the page, and mend the manifest (--manifest)"
            ),
        }
    }
}

/// Where a redirect leads, if it stays within the Hub; what the Hub says is at its end.
fn within(from: &Url, response: &Response) -> Option<Url> {
    if !response.status().is_redirection() {
        return None;
    }
    let place = response.headers().get(LOCATION)?.to_str().ok()?;
    let relative = place.starts_with('/') && !place.starts_with("//");
    relative.then(|| from.join(place).ok()).flatten()
}

fn remote(response: &Response) -> std::result::Result<Remote, String> {
    let text = |name: &str| response.headers().get(name)?.to_str().ok();
    let commit = text("x-repo-commit").filter(|commit| is_commit(commit));
    let etag = text("x-linked-etag").or_else(|| text(ETAG.as_str()));
    let etag = etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"'));
    // It becomes a file's name.
    let plain = |etag: &&str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=128).contains(&etag.len()) && etag.bytes().all(fits)
    };
    let size = text("x-linked-size").or_else(|| match response.status().is_redirection() {
        true => None,
        false => text(CONTENT_LENGTH.as_str()),
    });
    let missing = |what: &str| format!("its answer has no {what}");
    Ok(Remote {
        commit: commit.ok_or_else(|| missing("X-Repo-Commit"))?.into(),
        etag: etag.filter(plain).ok_or_else(|| missing("ETag"))?.into(),
        size: size
            .and_then(|size| size.trim().parse().ok())
            .filter(|size| *size > 0)
            .ok_or_else(|| missing("size"))?,
    })
}

/// The innermost reasons, which tell most.
fn reason(error: &dyn std::error::Error) -> String {
    let mut text = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let told = error.to_string();
        if !text.iter().any(|before: &String| before.contains(&told)) {
            text.push(told);
        }
        next = error.source();
    }
    text.split_off(text.len().saturating_sub(2)).join(": ")
}
